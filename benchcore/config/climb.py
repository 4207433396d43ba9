"""Climb: its levels, how requests arrive, what a good one meets, how long and when to stop."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchcore.base.errors import ConfigError
from benchcore.config.limits import check_levels, check_slos

LEAST_SHAPE = 0.01


@dataclass(frozen=True, slots=True)
class Arrival:
    """How arrivals are spaced: `constant`, `poisson`, or `gamma` with a shape (1 is Poisson)."""

    kind: Literal["constant", "poisson", "gamma"] = "poisson"
    shape: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `constant`, `poisson` or `gamma:SHAPE`.

        Raises:
            ConfigError: it is none of these.
        """
        kind, _, shape = text.strip().partition(":")
        if kind in ("constant", "poisson") and not shape:
            return cls(kind)  # type: ignore[arg-type]
        if kind == "gamma":
            try:
                value = float(shape)
            except ValueError:
                value = 0.0
            # A smaller shape puts all requests into a few bursts without end.
            if math.isfinite(value) and value >= LEAST_SHAPE:
                return cls("gamma", value)
        raise ConfigError(
            f"arrival {text!r} is not constant, poisson or gamma:SHAPE with a SHAPE of "
            f"{LEAST_SHAPE} or more"
        )

    def __str__(self) -> str:
        return f"gamma:{self.shape:g}" if self.kind == "gamma" else self.kind


DEFAULT_REQUESTS = 500
"""Requests of a level where nothing else is said: enough for its p99 (459) …"""
DEFAULT_PER_USER = 4
"""… and at least so many per user …"""
DEFAULT_OPEN_SECONDS = 10.0
"""… in an open loop no shorter than this …"""
DEFAULT_WINDOW_SECONDS = 120.0
"""… but no longer than this, and then the level says that its p99 rests on too few."""

Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


class ClimbFields(BaseModel):
    """What may be said of a climb; times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    concurrency: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="closed loop: users of each level, ascending"
    )
    rate: tuple[Positive, ...] = Field(
        (), description="open loop: requests per second of each level, ascending"
    )
    arrival: str = Field("poisson", description="constant, poisson or gamma:SHAPE")
    max_inflight: Annotated[int, Field(ge=1)] | None = Field(
        None, description="open loop: requests in flight at once; what does not fit is dropped"
    )
    requests: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the window ends when so many are scheduled"
    )
    duration_seconds: Positive | None = Field(None, description="length of the window")
    warmup_requests: Annotated[int, Field(ge=0)] | None = Field(
        None, description="requests that end before the window; one per user when left out"
    )
    warmup_seconds: Seconds | None = Field(None, description="time before the window")
    drain_seconds: Positive = Field(60.0, description="how long the window's requests may take on")
    grace_seconds: Seconds = Field(5.0, description="the same after an interrupt")
    repeats: Annotated[int, Field(ge=1)] = Field(1, description="how often the climb is done")
    ramp_seconds: Seconds | None = Field(
        None, description="closed loop: starts are spread over it; 10 ms per user when left out"
    )
    think_time_seconds: Seconds = Field(0.0, description="pause of a user after an answer")
    slos: tuple[str, ...] = Field((), description="METRIC:LIMIT of a good request")
    stop_on_failures: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="climb no higher past this failure rate"
    )
    stop_on_slo: bool = Field(False, description="climb no higher where an SLO breaks at p99")
    stop_when_flat: bool = Field(False, description="climb no higher where throughput is flat")
    flat_gain: Positive = Field(0.05, description="growth that is not flat")
    flat_patience: Annotated[int, Field(ge=1)] = Field(
        1, description="stop after so many flat levels"
    )
    count_failures: bool = Field(False, description="also count failures as infinitely long")
    before_level: str | None = Field(None, description="shell command before each level")
    reset_prefix_cache: bool = Field(False, description="ask the server to, before each level")
    idle_seconds: Seconds = Field(60.0, description="how long to wait for an idle server")
    seed: int = Field(0, description="prompts, order and arrivals derive from it")
    kernel_stamps: bool = Field(True, description="use the kernel's receive stamps")
    save_events: bool = Field(False, description="keep every arrival in events.jsonl")
    save_text: bool = Field(False, description="keep every text in texts.jsonl")

    @field_validator("arrival")
    @classmethod
    def _arrival_is_one(cls, value: str) -> str:
        try:
            Arrival.parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return value

    @field_validator("slos")
    @classmethod
    def _slos_are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_slos(value)


class ClimbConfig(ClimbFields):
    """What a climb does: levels of one kind, and what goes with them."""

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Self:
        if bool(self.concurrency) == bool(self.rate):
            raise ValueError("a climb has levels of concurrency or of rate: give one of them")
        if self.concurrency and self.max_inflight is not None:
            raise ValueError("max_inflight is of an open loop: a closed one has its users")
        if self.rate and (self.ramp_seconds is not None or self.think_time_seconds):
            raise ValueError("ramp and think time are of a closed loop: an open one has a schedule")
        check_levels(self.concurrency, self.rate)
        return self

    def window(self, level: float) -> tuple[int | None, float | None]:
        """Return how many requests, and how many seconds at most, a window has.

        Args:
            level: users of a closed loop, requests per second of an open one.
        """
        if self.requests is None and self.duration_seconds is None:
            if self.concurrency:
                requests = max(DEFAULT_REQUESTS, DEFAULT_PER_USER * int(level))
                return requests, DEFAULT_WINDOW_SECONDS
            # A queue that only grows takes a while to show.
            seconds = max(DEFAULT_REQUESTS / level, DEFAULT_OPEN_SECONDS)
            return None, min(seconds, DEFAULT_WINDOW_SECONDS)
        return self.requests, self.duration_seconds
