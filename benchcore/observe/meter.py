"""Meter: what the load generator and its machine spent between two marks."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_CGROUP = Path("/sys/fs/cgroup/cpu.stat")


@dataclass(frozen=True, slots=True)
class Mark:
    """Counters at one instant; `None` where the machine has none."""

    mono_ns: int
    thread_cpu_ns: int
    process_cpu_ns: int
    jiffies: tuple[int, int] | None
    """Stolen and total processor time of the machine."""
    throttled_us: int | None
    run_delay_ns: int | None
    """How long this thread has waited for a processor."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent between two marks; shares between 0 and 1, `None`: unknown."""

    cpu_share: float
    process_cpu_seconds: float
    steal_share: float | None
    throttled_share: float | None
    run_delay_share: float | None
    collector_seconds: float
    """The longest pause of the garbage collector."""


def _jiffies() -> tuple[int, int] | None:
    try:
        with _STAT.open() as lines:
            fields = [int(text) for text in lines.readline().split()[1:9]]
    except OSError:
        return None
    return fields[7], sum(fields)


def _throttled_us() -> int | None:
    try:
        text = _CGROUP.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "throttled_usec":
            return int(value)
    return None


def _run_delay_ns() -> int | None:
    # The second number of schedstat (kernel documentation, scheduler/sched-stats).
    try:
        return int(_SCHEDSTAT.read_text().split()[1])
    except OSError:
        return None


def mark() -> Mark:
    """Read the counters; costs some tens of microseconds."""
    return Mark(
        mono_ns=time.perf_counter_ns(),
        thread_cpu_ns=time.thread_time_ns(),
        process_cpu_ns=time.process_time_ns(),
        jiffies=_jiffies(),
        throttled_us=_throttled_us(),
        run_delay_ns=_run_delay_ns(),
    )


@dataclass(slots=True)
class CollectorWatch:
    """Notes the pauses of the garbage collector while it is installed."""

    pauses_ns: list[int] = field(default_factory=list)
    _begun_ns: int = 0

    def _on_collection(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._begun_ns = time.perf_counter_ns()
        else:
            self.pauses_ns.append(time.perf_counter_ns() - self._begun_ns)

    def __enter__(self) -> CollectorWatch:
        gc.callbacks.append(self._on_collection)
        return self

    def __exit__(self, *exc: object) -> None:
        gc.callbacks.remove(self._on_collection)


def spent(before: Mark, after: Mark, pauses_ns: list[int]) -> Spent:
    """Return what was spent between two marks.

    Args:
        before: the first mark.
        after: the second.
        pauses_ns: pauses of the collector between them.
    """
    wall_ns = max(after.mono_ns - before.mono_ns, 1)
    steal = None
    if before.jiffies is not None and after.jiffies is not None:
        total = after.jiffies[1] - before.jiffies[1]
        steal = (after.jiffies[0] - before.jiffies[0]) / total if total > 0 else None
    throttled = None
    if before.throttled_us is not None and after.throttled_us is not None:
        throttled = (after.throttled_us - before.throttled_us) * 1000 / wall_ns
    delay = None
    if before.run_delay_ns is not None and after.run_delay_ns is not None:
        delay = (after.run_delay_ns - before.run_delay_ns) / wall_ns
    return Spent(
        cpu_share=(after.thread_cpu_ns - before.thread_cpu_ns) / wall_ns,
        process_cpu_seconds=(after.process_cpu_ns - before.process_cpu_ns) * 1e-9,
        steal_share=steal,
        throttled_share=throttled,
        run_delay_share=delay,
        collector_seconds=max(pauses_ns, default=0) * 1e-9,
    )
