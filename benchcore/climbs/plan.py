"""Plan: the levels of a climb with their schedules, and when it goes no higher."""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchcore.base.clock import NS
from benchcore.base.seeds import stream
from benchcore.client.connection import SPARE_DESCRIPTORS
from benchcore.config.climb import ClimbConfig
from benchcore.config.limits import parse_duration_ns
from benchcore.load.level import LevelPlan
from benchcore.load.open_loop import Arrival, offsets_ns
from benchcore.workload.kinds import Workload
from benchcore.workload.named import load_workload
from benchcore.workload.synthetic import Synthetic


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """What the rules look at.

    Args:
        name: the level.
        failure_rate: between 0 and 1; `None`: nothing was scheduled.
        throughput: output tokens per second, or requests per second; `None`: unknown.
        broken_slos: the SLOs that its own percentiles break, as text.
    """

    name: str
    failure_rate: float | None
    throughput: float | None
    broken_slos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopRules:
    """When to stop before the next level.

    Args:
        failures: stop where the failure rate passes this share.
        slo: stop where an SLO is broken.
        flat: stop where throughput no longer grows.
        gain: what growth is: this share over the last level that grew.
        patience: stop after so many levels in a row without it.
    """

    failures: float | None = None
    slo: bool = False
    flat: bool = False
    gain: float = 0.05
    patience: int = 1

    def reason(self, levels: Sequence[LevelFigures]) -> str | None:
        """Return why the climb ends after these levels, or `None` to go on."""
        if not levels:
            return None
        last = levels[-1]
        if (
            self.failures is not None
            and last.failure_rate is not None
            and last.failure_rate > self.failures
        ):
            return (
                f"{last.name}: {last.failure_rate:.1%} of the requests failed, "
                f"more than {self.failures:.1%}"
            )
        if self.slo and last.broken_slos:
            return f"{last.name}: {', '.join(last.broken_slos)}"
        if self.flat:
            return self._flat_reason(levels)
        return None

    def _flat_reason(self, levels: Sequence[LevelFigures]) -> str | None:
        grown: float | None = None
        without = 0
        for level in levels:
            if level.throughput is None:
                continue
            # Not over the best level: one that creeps up by less each time would never grow.
            if grown is None or level.throughput > grown * (1 + self.gain):
                grown, without = level.throughput, 0
            else:
                without += 1
        if without >= self.patience:
            return (
                f"throughput grew by less than {self.gain:.0%} over {without} level(s), "
                f"up to {levels[-1].name}"
            )
        return None


DEFAULT_MAX_INFLIGHT = 10_000
RAMP_PER_USER_NS = 10_000_000
LONGEST_RAMP_NS = 1_000_000_000
"""However many users there are, the last of them begins by then."""


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
            min(users * RAMP_PER_USER_NS, LONGEST_RAMP_NS)
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


SHAPE: Final = (
    "input_tokens",
    "output_tokens",
    "language",
    "shared_prefix_tokens",
    "ignore_eos",
)
"""What a user may say of the prompts of any workload."""
_LOAD_OF_FILE: Final = {
    "duration": "duration_seconds",
    "ramp": "ramp_seconds",
    "think_time": "think_time_seconds",
}
_INSTEAD: Final = (
    ("concurrency", "rate"),
    ("requests", "duration_seconds"),
    ("warmup_requests", "warmup_seconds"),
)
"""Of these, what the user says replaces what the file says of the others too."""
_LEVELS: Final = (1, 8, 64)


def climb_parts(
    workload: str | Path | None,
    shape: Mapping[str, Any],
    given: Mapping[str, Any],
    seed: int,
) -> list[Part]:
    """Return the parts of a climb.

    Args:
        workload: a named one, or a file; `None`: synthetic prompts.
        shape: what the user says of the prompts, by the names of `SHAPE`.
        given: what the user says of the climb, as fields of `ClimbConfig`.
        seed: of prompts and arrivals.

    Raises:
        ConfigError: the workload will not do.
        pydantic.ValidationError: the climb will not.
    """
    if workload is None:
        made = Synthetic(seed=seed, **shape)
        return [Part(made.name, made, climb_config(given, {}, seed))]
    spec = load_workload(workload, seed=seed, **shape)
    return [
        Part(part.name, part.workload, climb_config(given, part.load, seed)) for part in spec.parts
    ]


def climb_config(given: Mapping[str, Any], load: Mapping[str, Any], seed: int) -> ClimbConfig:
    """Return a climb: what the user says, laid over what a workload's file asks for.

    Raises:
        pydantic.ValidationError: the two do not make a climb.
    """
    base = _load_fields(load)
    for group in _INSTEAD:
        if any(name in given for name in group):
            for name in group:
                base.pop(name, None)
    if "rate" in given:
        for name in ("ramp_seconds", "think_time_seconds"):
            base.pop(name, None)
    if "concurrency" in given:
        base.pop("max_inflight", None)
    fields = {**base, **given, "seed": seed}
    if "concurrency" not in fields and "rate" not in fields:
        fields["concurrency"] = _LEVELS
    return ClimbConfig(**fields)


def _load_fields(load: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in load.items():
        if key == "duration":
            found["duration_seconds"] = _seconds(value)
        elif key == "warmup":
            # A number of requests, or a time with its unit.
            if str(value).strip().isdigit():
                found["warmup_requests"] = int(value)
            else:
                found["warmup_seconds"] = _seconds(value)
        elif key == "stagger":
            found.update({} if value else {"ramp_seconds": 0.0})
        else:
            found[_LOAD_OF_FILE.get(key, key)] = tuple(value) if isinstance(value, list) else value
    return found


def _seconds(value: Any) -> float:
    return parse_duration_ns(str(value)) * 1e-9
