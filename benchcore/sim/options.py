"""What a simulated server is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from benchcore.sim.faults import RandomFault
from benchcore.sim.profile import SimProfile


class SimOptions(BaseModel):
    """Where the simulator listens, how it behaves, what it records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: SimProfile = Field(default_factory=SimProfile.named)
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65_535, description="0 picks a free port")
    uds: Path | None = Field(None, description="listen on this Unix socket instead")
    certfile: Path | None = Field(None, description="serve TLS with this certificate")
    keyfile: Path | None = Field(None, description="key of the certificate")
    api_key: SecretStr | None = Field(None, description="bearer key that requests must carry")
    expired_key: SecretStr | None = Field(None, description="bearer key that has expired")
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1, description="a larger body gets a 413")
    max_waiting: int | None = Field(
        None, ge=1, description="waiting requests beyond which a new one gets a 429"
    )
    breaks: tuple[str, ...] = Field((), description="functional checks that shall fail, by id")
    seed: int = Field(0, description="answers, jitter and random faults")
    faults: tuple[str, ...] = Field((), description="random faults: error_event:5@0.1")
    truth: Path | None = Field(None, description="log the true send times here, as JSON lines")

    @field_validator("faults")
    @classmethod
    def _faults_parse(cls, faults: tuple[str, ...]) -> tuple[str, ...]:
        for fault in faults:
            RandomFault.parse(fault)
        return faults

    @field_validator("breaks")
    @classmethod
    def _breaks_are_known(cls, breaks: tuple[str, ...]) -> tuple[str, ...]:
        if breaks:
            # The tables are large, and only wanted here.
            from benchcore.sim.breaks.catalogue import known_break

            for name in breaks:
                known_break(name)
        return breaks

    @model_validator(mode="after")
    def _expired_key_needs_a_key(self) -> Self:
        if self.expired_key is not None and self.api_key is None:
            raise ValueError("expired_key goes with api_key: give both")
        return self

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            raise ValueError("keyfile and certfile go together: give both")
        return self
