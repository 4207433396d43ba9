"""Scenario: a server, how it is started, and what is done with it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchcore.config.launch import Launch
from benchcore.config.provider import ScenarioTarget
from benchcore.config.slo import check_slos


class Health(BaseModel):
    """When a server counts as up: its health endpoint answers 200, and then one real request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field("/health", pattern=r"^/[^?#\s]*$", description="asked first")
    limit_seconds: float = Field(
        1200.0, gt=0, allow_inf_nan=False, description="how long it may take to come up"
    )
    request: bool = Field(default=True, description="also make one real request")
    request_seconds: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="how long one try may take; a first request may have to wait for a compiler",
    )


class Scenario(BaseModel):
    """A scenario as it is for one run type, without its stages, which have models of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="by which it is known everywhere"
    )
    description: str = Field("", description="one line for people")
    model: str | None = Field(None, min_length=1, description="asked of the server when left out")
    quant: str = Field("", description="quantisation of the model, for labels")
    labels: dict[str, str] = Field(default_factory=dict, description="facts of your own")
    gpus: int | None = Field(None, ge=1, description="that the server has, for figures per GPU")
    priority: int = Field(0, description="of a matrix the highest goes first")
    target: ScenarioTarget = Field(ScenarioTarget(), description="whom it asks, and how")
    launch: Launch | None = Field(None, description="how the server is started")
    health: Health = Field(Health(), description="when it counts as up")
    slos: tuple[str, ...] = Field((), description="METRIC:LIMIT of a good request")
    stages: dict[str, Any] = Field(
        default_factory=dict,
        description="settings by stage, under pr and daily what differs; false: left out",
    )

    @field_validator("slos")
    @classmethod
    def _slos_are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_slos(value)

    @model_validator(mode="after")
    def _has_a_server(self) -> Self:
        here = self.target.base_url is not None or self.target.provider is not None
        if here and self.launch is not None:
            raise ValueError("a scenario has a target's address or a launch, not both")
        if not here and self.launch is None:
            raise ValueError("give target.base_url, target.provider or launch: whom should it ask?")
        if self.target.base_url is not None and self.target.provider is not None:
            raise ValueError("target: give provider or base_url, not both")
        return self
