"""Plan: the levels of a climb, with their schedules drawn."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from benchcore.client.descriptors import SPARE_DESCRIPTORS
from benchcore.clock import NS
from benchcore.config.climb import ClimbConfig
from benchcore.load.arrivals import Arrival, offsets_ns
from benchcore.load.level import LevelPlan
from benchcore.seeds import stream
from benchcore.workload.protocol import Workload

DEFAULT_MAX_INFLIGHT = 10_000
RAMP_PER_USER_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """One workload of a climb, with the climb it is put through."""

    name: str
    workload: Workload
    config: ClimbConfig


@dataclass(frozen=True, slots=True)
class Step:
    """One level of a climb to come."""

    part: Part
    repeat: int
    level: float
    name: str

    @property
    def connections(self) -> int:
        """Connections it may need at once."""
        if self.part.config.concurrency:
            return int(self.level)
        return max_inflight(self.part.config)


def max_inflight(config: ClimbConfig) -> int:
    """Return the cap of an open loop: as asked, else what this process can hold."""
    if config.max_inflight is not None:
        return config.max_inflight
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = DEFAULT_MAX_INFLIGHT if hard == resource.RLIM_INFINITY else hard - SPARE_DESCRIPTORS
    return max(1, min(DEFAULT_MAX_INFLIGHT, room))


def steps(parts: list[Part]) -> Iterator[Step]:
    """Yield the levels in order: each part's climb, `repeats` times."""
    for part in parts:
        config = part.config
        levels: tuple[float, ...] = config.concurrency or config.rate
        prefix = f"{part.name}-" if len(parts) > 1 else ""
        letter = "c" if config.concurrency else "r"
        for repeat in range(1, config.repeats + 1):
            for level in levels:
                yield Step(part, repeat, level, f"{prefix}{letter}{level:g}")


def _ns(seconds: float) -> int:
    return round(seconds * NS)


def longest_seconds(step: Step) -> float | None:
    """Return how long a level takes at most, without its idle wait; `None`: it has no bound.

    That is its warm-up where it is a time, its window, and what its last requests may take.
    """
    config = step.part.config
    _, window = config.window(step.level)
    if window is None:
        return None
    return (config.warmup_seconds or 0.0) + window + config.drain_seconds


def level_plan(step: Step, e2e_seconds: float | None = None) -> LevelPlan:
    """Return what the level does; the schedule of an open loop is drawn here, drain included.

    Args:
        step: which level.
        e2e_seconds: how long one request took, alone: a drain that the user does not set is at
            least twice as long. `None`: unknown.
    """
    config = step.part.config
    users = int(step.level) if config.concurrency else None
    requests, window_seconds = config.window(step.level)
    warmup_requests = config.warmup_requests
    if warmup_requests is None:
        warmup_requests = (users or 1) if config.warmup_seconds is None else 0
    warmup_ns = _ns(config.warmup_seconds or 0.0)
    follows = "drain_seconds" not in config.model_fields_set
    drain_seconds = config.drain_seconds
    if follows:
        drain_seconds = max(drain_seconds, 2 * (e2e_seconds or 0.0))
    drain_ns = _ns(drain_seconds)
    window_ns = None if window_seconds is None else _ns(window_seconds)
    if users is not None:
        ramp_ns = (
            users * RAMP_PER_USER_NS
            if config.ramp_seconds is None and users > 1
            else _ns(config.ramp_seconds or 0.0)
        )
        return LevelPlan(
            name=step.name,
            mode="closed",
            concurrency=users,
            requests=requests,
            window_ns=window_ns,
            warmup_requests=warmup_requests,
            warmup_ns=warmup_ns,
            drain_ns=drain_ns,
            drain_follows=follows,
            ramp_ns=ramp_ns,
            think_ns=_ns(config.think_time_seconds),
        )
    rate = step.level
    # The load goes on until the last measured request has ended, and the warm-up may wait for
    # answers: the schedule has room for both, however the draw falls.
    waits_ns = _ns(2 * (warmup_requests + (requests or 0)) / rate) + drain_ns
    horizon_ns = warmup_ns + waits_ns + (window_ns or 0) + drain_ns
    schedule_ns = offsets_ns(
        Arrival.parse(config.arrival),
        rate,
        horizon_ns,
        stream(config.seed, "arrivals", step.name, step.repeat),
        fewest=warmup_requests + (requests or 0) + math.ceil(rate * drain_seconds),
    )
    return LevelPlan(
        name=step.name,
        mode="open",
        rate=rate,
        schedule_ns=schedule_ns,
        requests=requests,
        window_ns=window_ns,
        warmup_requests=warmup_requests,
        warmup_ns=warmup_ns,
        drain_ns=drain_ns,
        drain_follows=follows,
        max_inflight=max_inflight(config),
    )
