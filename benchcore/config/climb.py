"""Climb: its levels, how requests arrive, what a good one meets, how long and when to stop."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchcore.base.errors import ConfigError
from benchcore.config.alerts import Threshold
from benchcore.config.limits import check_levels, check_slos
from benchcore.config.shapes import Shape

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

LEVELS = ("concurrency", "rate", "speed", "shape", "user_shape")
"""The fields that say what load there is, of which a climb has one."""

Positive = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]


class ClimbFields(BaseModel):
    """What can be set for a climb; times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    concurrency: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="closed loop: the number of users at each level, in ascending order"
    )
    rate: tuple[Positive, ...] = Field(
        (), description="open loop: the requests per second at each level, in ascending order"
    )
    speed: tuple[Positive, ...] = Field(
        (),
        description="replay: sessions begin at their trace's own times, at each level so many "
        "times faster",
    )
    shape: str | None = Field(
        None,
        description="open loop: a rate that changes over time, such as ramp:1..20/60s,hold:20/5m",
    )
    user_shape: str | None = Field(
        None, description="closed loop: a number of users that changes, written like shape"
    )
    arrival: str = Field(
        "poisson", description="how arrivals are spaced: constant, poisson or gamma:SHAPE"
    )
    max_inflight: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="open loop: the most requests (sessions, where they have several turns) in "
        "flight at once; further ones are dropped",
    )
    requests: Annotated[int, Field(ge=1)] | None = Field(
        None, description="the window ends when this many requests have been scheduled"
    )
    duration_seconds: Positive | None = Field(
        None, description="the length of the window, in seconds"
    )
    warmup_requests: Annotated[int, Field(ge=0)] | None = Field(
        None, description="how many requests end before the window; one per user by default"
    )
    warmup_seconds: Seconds | None = Field(
        None, description="the time before the window, in seconds"
    )
    drain_seconds: Positive = Field(
        60.0, description="how long after the window its requests may still take, in seconds"
    )
    grace_seconds: Seconds = Field(
        5.0, description="how long requests may still take after an interrupt, in seconds"
    )
    repeats: Annotated[int, Field(ge=1)] = Field(
        1, description="how many times the whole climb is run"
    )
    ramp_seconds: Seconds | None = Field(
        None,
        description="closed loop: users start spread over this; by default one TTFT, 1 s at most",
    )
    think_time_seconds: Seconds = Field(
        0.0, description="closed loop: how long a user pauses after an answer, in seconds"
    )
    slos: tuple[str, ...] = Field((), description="the limits of a good request, as METRIC:LIMIT")
    stop_on_failures: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="do not climb past a level whose failure rate exceeds this"
    )
    stop_on_slo: bool = Field(
        False, description="do not climb past a level whose p99 breaks an SLO"
    )
    stop_when_flat: bool = Field(
        False, description="do not climb past a level where throughput is flat"
    )
    flat_gain: Positive = Field(
        0.05, description="throughput that grows by less than this share is flat"
    )
    flat_patience: Annotated[int, Field(ge=1)] = Field(
        1, description="stop after this many flat levels in a row"
    )
    count_failures: bool = Field(
        False, description="report percentiles in which failures count as infinitely long, too"
    )
    before_level: str | None = Field(None, description="a shell command to run before each level")
    reset_prefix_cache: bool = Field(
        False, description="ask the server to empty its prefix cache before each level"
    )
    idle_seconds: Seconds = Field(
        60.0, description="how long to wait for an idle server before each level, in seconds"
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        1,
        description="how many processes of this machine send the load together; auto: as many as "
        "the load needs by what doctor has measured",
    )
    fleet: str | None = Field(
        None,
        description="the address of a Dask scheduler on whose cluster the workers run, such as "
        "tls://head:8786; local:N starts one of N processes here",
    )
    seed: int = Field(0, description="the seed that prompts, their order and arrivals derive from")
    source_ips: tuple[str, ...] = Field(
        (), description="addresses of this machine that connections come from, in turn"
    )
    watch: tuple[str, ...] = Field(
        (), description="thresholds that are told of while a level runs, such as gpu_memory > 95 %"
    )
    gpu: str = Field(
        "auto",
        description="which GPUs of this machine to read: auto (all, where the target is here), "
        "all, none, or numbers or UUIDs, with their roles where they differ, as "
        "prefill=0,1;decode=2,3",
    )
    gpu_price: Positive | None = Field(
        None, description="the price of a GPU for an hour, for the cost of a million tokens"
    )
    gpu_count: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many GPUs are paid for; by default, those that are read"
    )
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

    @field_validator("shape", "user_shape")
    @classmethod
    def _shape_is_one(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                Shape.parse(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("watch")
    @classmethod
    def _watch_is_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                Threshold.parse(text)
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
        given = [name for name in LEVELS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                "a climb has levels of concurrency or of rate, or a speed, a shape or a "
                "user_shape: give one of them"
            )
        if self.closed and self.max_inflight is not None:
            raise ValueError(
                "max_inflight is for an open loop: a closed one is limited by its users"
            )
        if self.fleet is not None and self.workers == "auto":
            raise ValueError(
                "workers auto goes by what this machine can drive: with a fleet, give a number, or "
                "nothing for one worker a thread"
            )
        if not self.closed and (self.ramp_seconds is not None or self.think_time_seconds):
            raise ValueError(
                "ramp and think time are for a closed loop: an open one has a schedule"
            )
        if self.user_shape is not None and self.ramp_seconds is not None:
            raise ValueError("ramp does not go with user_shape, which says when users start")
        check_levels(self.concurrency, self.rate)
        check_levels((), self.speed)
        return self

    @property
    def closed(self) -> bool:
        """Whether it is a closed loop."""
        return bool(self.concurrency or self.user_shape)

    @property
    def levels(self) -> tuple[float, ...]:
        """Its levels: users, requests per second or speeds; of a shape, its highest value."""
        if self.shape is not None or self.user_shape is not None:
            return (Shape.parse(self.shape or self.user_shape or "").highest,)
        return self.concurrency or self.rate or self.speed

    def window(self, level: float) -> tuple[int | None, float | None]:
        """Return how many requests, and how many seconds at most, a window has.

        Args:
            level: users of a closed loop, requests per second of an open one.
        """
        if self.requests is None and self.duration_seconds is None:
            if self.speed:
                return None, None  # the whole trace
            shape = self.shape or self.user_shape
            if shape is not None:
                return None, Shape.parse(shape).seconds
            if self.concurrency:
                requests = max(DEFAULT_REQUESTS, DEFAULT_PER_USER * int(level))
                return requests, DEFAULT_WINDOW_SECONDS
            # A queue that only grows takes a while to show.
            seconds = max(DEFAULT_REQUESTS / level, DEFAULT_OPEN_SECONDS)
            return None, min(seconds, DEFAULT_WINDOW_SECONDS)
        return self.requests, self.duration_seconds
