"""Options: how fast and large a simulated server is, and what it is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from benchcore.sim.faults import RandomFault


class SimProfile(BaseModel):
    """How fast and how large the simulated server is.

    Every field can be overridden by name, for example
    ``SimProfile.named("default", decode_base_seconds=0.005)``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field("sim-1", min_length=1, description="name that /v1/models lists")
    max_model_len: int = Field(32_768, ge=2, description="prompt and answer together, tokens")

    max_running: int = Field(48, ge=1, description="sequences in one batch; the knee")
    prefill_tokens_per_second: float = Field(
        80_000.0, gt=0, allow_inf_nan=False, description="rate at which prompts are read"
    )
    prefill_chunk_tokens: int = Field(
        512, ge=1, description="prompt tokens that one engine step reads at most"
    )
    decode_base_seconds: float = Field(
        0.005, gt=0, allow_inf_nan=False, description="duration of a step with an empty batch"
    )
    decode_per_sequence_seconds: float = Field(
        0.00004, ge=0, allow_inf_nan=False, description="what each sequence adds to a step"
    )
    step_jitter: float = Field(
        0.0, ge=0, le=0.3, description="standard deviation of a step's duration, as a fraction"
    )

    block_tokens: int = Field(16, ge=1, description="tokens in one KV-cache block")
    blocks: int = Field(4096, ge=1, description="KV-cache blocks")
    prefix_cache: bool = Field(default=True, description="reuse blocks of equal prompt prefixes")

    answer_tokens_median: float = Field(
        128.0, ge=1, allow_inf_nan=False, description="answer length where EOS is allowed: median"
    )
    answer_tokens_sigma: float = Field(
        0.4, ge=0, le=3, description="answer length: sigma of the lognormal"
    )
    reasoning_tokens: int = Field(0, ge=0, description="reasoning tokens before each answer")
    reasoning_key: Literal["reasoning_content", "reasoning"] = Field(
        "reasoning_content", description="name of the reasoning field in chat deltas"
    )
    finish_with_last_token: bool = Field(
        default=False,
        description="put finish_reason in the last token's chunk, as vLLM does, not in its own",
    )

    request_metrics: bool = Field(
        default=False,
        description="say in each answer how long it took, as vLLM does with "
        "--enable-per-request-metrics",
    )

    ability: float | None = Field(
        None, ge=0, le=1, description="fraction of known questions answered right; left out: 0.7"
    )
    ability_unparsable: float = Field(
        0.0, ge=0, le=1, description="fraction of them answered without an answer"
    )
    ability_cut: float = Field(
        0.0, ge=0, le=1, description="fraction of them cut off in the middle"
    )
    ability_batch: int | None = Field(
        None, ge=1, description="requests in hand above which ability_beyond is in force"
    )
    ability_beyond: float = Field(
        0.0, ge=0, le=1, description="fraction answered right above ability_batch"
    )

    @model_validator(mode="after")
    def _fractions_fit(self) -> Self:
        most = max(self.ability or 0.0, self.ability_beyond if self.ability_batch else 0.0)
        if most + self.ability_unparsable + self.ability_cut > 1:
            raise ValueError("ability, ability_unparsable and ability_cut are more than 1 together")
        return self

    @model_validator(mode="after")
    def _one_sequence_always_fits(self) -> Self:
        if self.blocks * self.block_tokens < self.max_model_len:
            raise ValueError(
                f"blocks × block_tokens = {self.blocks * self.block_tokens} cannot hold one "
                f"sequence of max_model_len = {self.max_model_len} tokens"
            )
        return self

    @classmethod
    def named(cls, name: str = "default", **overrides: object) -> SimProfile:
        """Returns a built-in profile with some fields replaced.

        Args:
            name: one of ``PROFILES``.
            **overrides: field names and values; text is parsed as pydantic parses it.

        Raises:
            ValueError: the profile or a field is unknown, or a value is out of range
                (pydantic's ``ValidationError`` is one).
        """
        if name not in PROFILES:
            raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
        for field in overrides:
            if field not in cls.model_fields:
                known = ", ".join(cls.model_fields)
                raise ValueError(f"a profile has no field {field!r}: choose one of {known}")
        return cls.model_validate({**PROFILES[name], **overrides})


PROFILES: dict[str, dict[str, object]] = {
    # About 16 ms to the first token, 9 to 11 ms a token, 4,400 tokens/s at most: light enough
    # for two cores shared with the load generator. 64 users are 16 more than fit the batch.
    "default": {},
    "fast": {
        "max_running": 256,
        "prefill_tokens_per_second": 1_000_000.0,
        "prefill_chunk_tokens": 8192,
        "decode_base_seconds": 0.002,
        "decode_per_sequence_seconds": 0.00001,
        "blocks": 16_384,
        "answer_tokens_median": 16.0,
    },
    "slow": {
        "max_running": 8,
        "prefill_tokens_per_second": 2_000.0,
        "decode_base_seconds": 0.033,
        "decode_per_sequence_seconds": 0.001,
    },
    "knee": {
        "max_running": 8,
        "prefill_tokens_per_second": 20_000.0,
        "decode_base_seconds": 0.010,
        "decode_per_sequence_seconds": 0.0005,
        "blocks": 2048,
    },
}
"""Built-in profiles: name to the fields in which it differs from the model's defaults."""


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
            from benchcore.sim.breaks import known_break

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
