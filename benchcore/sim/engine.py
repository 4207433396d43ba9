"""The engine: the batching model run against the real clock."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchcore.sim.batching import Batch, Sequence, Step
    from benchcore.sim.telemetry import Metrics

_CLOCK_MONOTONIC: Final = 1
_TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1


class Alarm(Protocol):
    """Calls back once for each time it is set; may be early or late, the callee looks."""

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        ...

    def close(self) -> None:
        """Never rings again."""
        ...


class LoopAlarm:
    """An alarm on the event loop's own timers: to about a millisecond."""

    __slots__ = ("_handle", "_loop", "_ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        delay = max(0, due_ns - time.monotonic_ns()) / 1e9
        self._handle = self._loop.call_later(delay, self._ring)

    def close(self) -> None:
        """Never rings again."""
        if self._handle is not None:
            self._handle.cancel()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerfdAlarm:
    """An alarm on a Linux timer descriptor: to some tens of microseconds.

    Event loops round their timers to milliseconds, a tenth of a decode step.

    Raises:
        OSError: the kernel gave no descriptor.
    """

    __slots__ = ("_fd", "_libc", "_loop", "_ring", "_spec")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Itimerspec()
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop.add_reader(self._fd, self._readable)

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(max(1, due_ns), 1_000_000_000)
        spec = ctypes.byref(self._spec)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        """Never rings again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set again since the loop saw it
        self._ring()


def alarm(ring: Callable[[], None]) -> Alarm:
    """Returns the finest alarm of this platform, on the running loop."""
    return TimerfdAlarm(ring) if sys.platform == "linux" else LoopAlarm(ring)


_LATE_STEPS: Final = 2
"""A step that ends later than this many of its own durations starts the schedule anew."""


class Engine:
    """Runs one step after the other, each ending at an absolute time.

    A step begins when the one before was due to end, not when its alarm rang, so lateness of
    the loop does not add up. Tokens are handed to their owners from inside the step: a token
    costs no task switch.
    """

    __slots__ = (
        "_alarm",
        "_due_ns",
        "_loop",
        "_metrics",
        "_start_handle",
        "_step",
        "batch",
    )

    def __init__(self, batch: Batch, metrics: Metrics) -> None:
        self.batch = batch
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._alarm = alarm(self._ring)
        self._step: Step | None = None
        self._due_ns = 0
        self._start_handle: asyncio.Handle | None = None

    def submit(self, sequence: Sequence) -> None:
        """Puts a sequence in the queue; an idle engine starts in this turn of the loop."""
        self.batch.add(sequence, time.monotonic_ns())
        self.wake()

    def abort(self, sequence: Sequence) -> None:
        """Takes a sequence out; one that has ended already is left alone."""
        self.batch.abort(sequence)

    def wake(self) -> None:
        """Looks for work if the engine is idle."""
        if self._step is None and self._start_handle is None:
            self._start_handle = self._loop.call_soon(self._start)

    def close(self) -> None:
        """Stops for good."""
        if self._start_handle is not None:
            self._start_handle.cancel()
        self._alarm.close()

    def _start(self) -> None:
        self._start_handle = None
        self._begin(time.monotonic_ns())

    def _begin(self, start_ns: int) -> None:
        self._step = self.batch.schedule(start_ns)
        if self._step is not None:
            self._due_ns = start_ns + self._step.duration_ns
            self._alarm.set(self._due_ns)
        elif held_until_ns := self.batch.held_until(start_ns):
            self._alarm.set(held_until_ns)

    def _ring(self) -> None:
        step = self._step
        now = time.monotonic_ns()
        if step is None:
            if self._start_handle is None:
                self._begin(now)
            return
        if now < self._due_ns:
            self._alarm.set(self._due_ns)
            return
        emitted = self.batch.complete(step, now)
        for sequence in emitted:
            owner = sequence.owner
            if owner is not None:
                owner.emit(sequence.choice)
        self._metrics.step(step, emitted, now)
        late = now - self._due_ns > _LATE_STEPS * step.duration_ns
        self._begin(now if late else self._due_ns)
