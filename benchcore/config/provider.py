"""Provider: a server that is already running, and how it may be asked."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Asking(BaseModel):
    """How a server may be asked, wherever it is. Secrets are named, and never written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key_env: str | None = Field(
        None, pattern=_VARIABLE, description="variable that holds the key"
    )
    api_key_file: str | None = Field(None, min_length=1, description="file that holds the key")
    headers: dict[str, str] = Field(
        default_factory=dict, description="of every request; none of them a secret"
    )
    header_envs: dict[str, str] = Field(
        default_factory=dict, description="headers by the variables that hold their values"
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="fields of every request body"
    )
    omit: tuple[str, ...] = Field((), description="fields that no request body has")
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="fields of request bodies by the names under which they are sent, such as "
        "max_tokens: max_completion_tokens",
    )
    path: str | None = Field(
        None,
        pattern=r"^/",
        description="of the endpoint, exactly as it is asked, behind the path of the address",
    )
    dialect: str | None = Field(
        None, description="the engine that it is, for the checks; guessed when left out"
    )
    rate_limit: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="requests a second that it allows: evals keep to it, checks go one at a time, "
        "a climb must be given rates up to it",
    )
    insecure: bool = Field(default=False, description="do not check its certificate")
    ca_file: str | None = Field(None, min_length=1, description="certificates to trust")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key_env is not None and self.api_key_file is not None:
            raise ValueError("give api_key_env or api_key_file, not both")
        return self


class Provider(Asking):
    """A server that is already running."""

    base_url: str = Field(
        min_length=1, description="its address, with or without /v1; unix:PATH for a socket"
    )
    model: str | None = Field(None, min_length=1, description="asked of it when left out")


class ProvidersFile(BaseModel):
    """Servers by name, for scenarios to refer to: `providers.yaml` beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    providers: dict[str, Provider] = Field(min_length=1, description="by name")


class ScenarioTarget(Asking):
    """Whom a scenario asks, or how it asks what it launches."""

    provider: str | None = Field(
        None, min_length=1, description="one of providers.yaml; what stands here besides counts"
    )
    base_url: str | None = Field(
        None, min_length=1, description="the address, where there is no provider and no launch"
    )
