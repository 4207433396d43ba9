"""Plan: the levels of a climb with their schedules, and when it goes no higher."""

from __future__ import annotations

import math
import resource
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from benchcore.base.clock import NEVER_NS, NS
from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.client.connection import SPARE_DESCRIPTORS
from benchcore.config.climb import LEVELS, ClimbConfig
from benchcore.config.limits import Slo, parse_duration_ns
from benchcore.config.shapes import Shape
from benchcore.load.closed_loop import Shifts
from benchcore.load.level_plan import LevelPlan
from benchcore.load.open_loop import Arrival, offsets_ns, shaped_offsets_ns
from benchcore.runs.run import SHAPED, Level, Run
from benchcore.workload.kinds import Workload, is_timed
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

    @classmethod
    def of(cls, level: Level, slos: Sequence[Slo]) -> Self:
        """Return those of a level.

        Args:
            level: that is over.
            slos: of its figures.
        """
        broken = []
        for slo in slos:
            p99 = level.figure(f"{slo.metric}.p99")
            if p99 is not None and round(p99 * NS) > slo.limit_ns:
                broken.append(f"{slo} broken: p99 {p99 * 1e3:.1f} ms")
        throughput = level.output_token_throughput
        return cls(
            name=level.level,
            failure_rate=level.failure_rate,
            throughput=level.request_throughput if throughput is None else throughput,
            broken_slos=tuple(broken),
        )


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


MOST_SCHEDULED = 20_000_000
"""Requests of an open loop's level: each takes some 40 bytes before the first is sent."""
DEFAULT_MAX_INFLIGHT = 10_000
LONGEST_RAMP_SECONDS = 1.0
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
        if self.part.config.closed:
            return math.ceil(self.level)
        return max_inflight(self.part.config)


class StepSource(Protocol):
    """Says which level comes next, once the one before is over."""

    def __call__(self, run: Run, parts: Sequence[Part]) -> Iterator[Step]:
        """Yield the levels; each is in `run.levels` by the time that the next is asked for."""
        ...


def max_inflight(config: ClimbConfig) -> int:
    """Return the cap of an open loop: as asked, else what this process can hold."""
    if config.max_inflight is not None:
        return config.max_inflight
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = DEFAULT_MAX_INFLIGHT if hard == resource.RLIM_INFINITY else hard - SPARE_DESCRIPTORS
    return max(1, min(DEFAULT_MAX_INFLIGHT, room))


def steps(parts: list[Part]) -> Iterator[Step]:
    """Yield the levels in order: each part's climb, `repeats` times.

    Raises:
        ConfigError: a workload is to be replayed that has no times of its own, or a schedule would
            not fit in memory.
    """
    for part in parts:
        config = part.config
        if config.speed and not is_timed(part.workload):
            raise ConfigError(
                f"workload {part.name} has no times of its own: speed replays a trace; give "
                "concurrency, rate or shape"
            )
        kind = next(name for name in LEVELS if getattr(config, name))
        prefix = f"{part.name}-" if len(parts) > 1 else ""
        for repeat in range(1, config.repeats + 1):
            for level in config.levels:
                name = _SHAPED.get(kind, f"{kind[0]}{level:g}")
                due = _scheduled(config, level)
                if due > MOST_SCHEDULED:
                    raise ConfigError(
                        f"{prefix}{name}: {due:,.0f} requests would be due, and a schedule holds "
                        f"{MOST_SCHEDULED:,}; give a lower rate or a shorter time, or share it "
                        "among several load generators"
                    )
                yield Step(part, repeat, level, f"{prefix}{name}")


def _scheduled(config: ClimbConfig, level: float) -> float:
    """Return how many requests the schedule of a level has, the least that it may be drained."""
    if config.shape is not None:
        shape = Shape.parse(config.shape)
        return shape.area + shape.last * config.drain_seconds
    if config.closed or config.speed:
        return 0.0
    requests, window_seconds = config.window(level)
    seconds = (config.warmup_seconds or 0.0) + (window_seconds or 0.0) + config.drain_seconds
    return level * seconds + (requests or 0) + (config.warmup_requests or 0)


_SHAPED: Final = dict(zip(("shape", "user_shape"), SHAPED, strict=True))
"""What the level of a shape is called; others are their kind's first letter and a number."""


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


def level_plan(
    step: Step, e2e_seconds: float | None = None, ttft_seconds: float | None = None
) -> LevelPlan:
    """Return what the level does; the schedule of an open loop is drawn here, drain included.

    Args:
        step: which level.
        e2e_seconds: how long one request took, alone: a drain that the user does not set is at
            least twice as long. `None`: unknown.
        ttft_seconds: how long its first token took: the users' starts are spread over it, unless
            the user says otherwise. `None`: unknown.
    """
    config = step.part.config
    users = math.ceil(step.level) if config.closed else None
    shape = Shape.parse(config.shape) if config.shape is not None else None
    changes = bool(config.shape or config.user_shape or config.speed)
    requests, window_seconds = config.window(step.level)
    warmup_requests = config.warmup_requests
    if warmup_requests is None:
        # A shape and a trace begin with the window.
        warmup_requests = (users or 1) if config.warmup_seconds is None and not changes else 0
    warmup_ns = _ns(config.warmup_seconds or 0.0)
    follows = "drain_seconds" not in config.model_fields_set
    drain_seconds = config.drain_seconds
    if follows:
        drain_seconds = max(drain_seconds, 2 * (e2e_seconds or 0.0))
    drain_ns = _ns(drain_seconds)
    window_ns = None if window_seconds is None else _ns(window_seconds)
    common: dict[str, Any] = {
        "name": step.name,
        "requests": requests,
        "window_ns": window_ns,
        "warmup_requests": warmup_requests,
        "warmup_ns": warmup_ns,
        "drain_ns": drain_ns,
        "drain_follows": follows,
        "changes": changes,
    }
    if users is not None:
        shifts = None if config.user_shape is None else _shifts(config.user_shape, users)
        ramp_seconds = config.ramp_seconds or 0.0
        if config.ramp_seconds is None and users > 1 and shifts is None:
            first = LONGEST_RAMP_SECONDS if ttft_seconds is None else ttft_seconds
            ramp_seconds = min(first, LONGEST_RAMP_SECONDS)
        return LevelPlan(
            **common,
            mode="closed",
            concurrency=users,
            ramp_ns=_ns(ramp_seconds),
            think_ns=_ns(config.think_time_seconds),
            shifts=shifts,
        )
    limit = max_inflight(config)
    if config.speed:
        return LevelPlan(
            **common, mode="open", schedule_ns=array("q"), replay=True, max_inflight=limit
        )
    draws = stream(config.seed, "arrivals", step.name, step.repeat)
    if shape is not None:
        offsets = shaped_offsets_ns(Arrival.parse(config.arrival), shape, draws, drain_ns)
        return LevelPlan(
            **common,
            mode="open",
            rate=shape.mean,
            schedule_ns=[warmup_ns + at_ns for at_ns in offsets],
            max_inflight=limit,
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
        draws,
        fewest=warmup_requests + (requests or 0) + math.ceil(rate * drain_seconds),
    )
    return LevelPlan(**common, mode="open", rate=rate, schedule_ns=schedule_ns, max_inflight=limit)


def _shifts(shape: str, users: int) -> list[Shifts]:
    """Return when each of the users of a shape works: while its value is that user's number."""

    def ns(seconds: float) -> int:
        return NEVER_NS if math.isinf(seconds) else _ns(seconds)

    parsed = Shape.parse(shape)
    return [
        [(ns(begin), ns(end)) for begin, end in parsed.above(float(user))]
        for user in range(1, users + 1)
    ]


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
    LEVELS,
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
    from benchcore.workload.named import load_workload  # with YAML, which prompts do without

    spec = load_workload(workload, seed=seed, **shape)
    parts = []
    for part in spec.parts:
        config = climb_config(given, part.load, seed, timed=is_timed(part.workload))
        parts.append(Part(part.name, part.workload, config))
    return parts


def climb_config(
    given: Mapping[str, Any], load: Mapping[str, Any], seed: int, *, timed: bool = False
) -> ClimbConfig:
    """Return a climb: what the user says, laid over what a workload's file asks for.

    Args:
        given: what the user says.
        load: what the workload's file says.
        seed: of prompts and arrivals.
        timed: the workload has times of its own, at which it is replayed unless told otherwise.

    Raises:
        pydantic.ValidationError: the two do not make a climb.
    """
    base = _load_fields(load)
    for group in _INSTEAD:
        if any(name in given for name in group):
            for name in group:
                base.pop(name, None)
    if any(name in given for name in ("rate", "speed", "shape")):
        for name in ("ramp_seconds", "think_time_seconds"):
            base.pop(name, None)
    if "concurrency" in given or "user_shape" in given:
        base.pop("max_inflight", None)
    fields = {**base, **given, "seed": seed}
    if not any(fields.get(name) for name in LEVELS):
        fields |= {"speed": (1.0,)} if timed else {"concurrency": _LEVELS}
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
