"""Machine: its facts, and what the load generator spent on it."""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
import sys
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def processor_name() -> str | None:
    """Return the processor's name; `None` where the machine does not say."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or None
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def clock_source() -> str | None:
    """Return the kernel's clock source, such as `tsc`; `None` where it does not say."""
    try:
        return _CLOCK_SOURCE.read_text().strip()
    except OSError:
        return None


def usable_processors() -> int:
    """Return how many processors this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host_facts() -> dict[str, Any]:
    """Return what `run.json` says of this machine.

    Its name is the label `instance` of what is pushed, without which two machines would overwrite
    each other's figures.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "hostname": platform.node(),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "processors": usable_processors(),
        "clock": time.get_clock_info("perf_counter").implementation,
        "clock_source": clock_source(),
        "open_files": {
            "soft": None if soft == resource.RLIM_INFINITY else soft,
            "hard": None if hard == resource.RLIM_INFINITY else hard,
        },
    }


PERIOD_NS = 5_000_000
_TIMER_NS = 1_500_000
"""uvloop's timers are this coarse: a beat within it is on time."""


class Heartbeat:
    """Beats every 5 ms and notes by how much each beat is late, in ns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._planned_ns = 0
        self.lags: array[int] = array("q")

    def start(self) -> None:
        """Begin to beat."""
        self._planned_ns = time.perf_counter_ns() + PERIOD_NS
        self._handle = self._loop.call_later(PERIOD_NS * 1e-9, self._beat)

    def _beat(self) -> None:
        late_ns = time.perf_counter_ns() - self._planned_ns - _TIMER_NS
        self.lags.append(max(late_ns, 0))
        self.start()

    def stop(self) -> None:
        """Beat no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


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
