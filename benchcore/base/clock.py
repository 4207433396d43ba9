"""Clock: what time it is, and calling back at an instant, by the kernel's timer where there is one.

Intervals are integer nanoseconds of CLOCK_MONOTONIC (`time.perf_counter_ns` on Linux);
`loop.time()` measures nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

NS = 1_000_000_000
"""Nanoseconds in a second."""
NEVER_NS = 1 << 62
"""An instant that does not come."""


class Timer(Protocol):
    """A pending call that can be taken back."""

    def cancel(self) -> None:
        """Take the call back; a second time does nothing."""
        ...


class Clock(Protocol):
    """Time as the load generator sees it."""

    def now_ns(self) -> int:
        """Return the monotonic clock in nanoseconds."""
        ...

    def call_at(self, when_ns: int, call: Callable[[], None]) -> Timer:
        """Call `call` once `now_ns()` has reached `when_ns`, never before."""
        ...


class _LoopTimer:
    """A call on the event loop that never runs early.

    uvloop rounds a delay to milliseconds, so a timer may fire before its instant: look again.
    """

    __slots__ = ("_call", "_handle", "_loop", "_when_ns")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, when_ns: int, call: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._when_ns = when_ns
        self._call = call
        self._handle: asyncio.Handle
        self._arm()

    def _arm(self) -> None:
        wait_ns = self._when_ns - time.perf_counter_ns()
        self._handle = self._loop.call_later(max(wait_ns, 0) / NS, self._check)

    def _check(self) -> None:
        if time.perf_counter_ns() >= self._when_ns:
            self._call()
        else:
            self._arm()

    def cancel(self) -> None:
        self._handle.cancel()


def wait_awake(until_ns: int) -> None:
    """Let the time pass until an instant, without giving the processor away."""
    while time.perf_counter_ns() < until_ns:
        pass


class _HeldTimer:
    """A call that waits for a clock's one timer."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None] | None) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = None


class LoopClock:
    """The real clock, with timers on an event loop.

    On Linux they wait for one kernel timer, armed for the earliest of them; elsewhere for those of
    the loop, which tick in milliseconds.

    Args:
        loop: the event loop; left out: the running one.
        exact: use the kernel's timer where there is one.
        lead_ns: let that timer wake the loop so long before each instant, and pass the rest of the
            time awake: a process that sleeps is back some 40 µs late.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        exact: bool = True,
        lead_ns: int = 0,
    ) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._order = itertools.count()
        self._held: list[tuple[int, int, _HeldTimer]] = []
        self._armed_ns = 0
        self._lead_ns = lead_ns
        self._running = False
        self._timer: TimerDescriptor | None = None
        if exact:
            try:
                self._timer = TimerDescriptor()
            except OSError:  # what it is then, `exact` says
                return
            self._loop.add_reader(self._timer.descriptor, self._run_due)

    @staticmethod
    def kind() -> str:
        """Return what the clocks of this machine wait for: `timerfd`, or `event loop`."""
        try:
            TimerDescriptor().close()
        except OSError:
            return "event loop"
        return "timerfd"

    @property
    def exact(self) -> bool:
        """Whether calls come at their instant, not at a loop's next tick."""
        return self._timer is not None

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.perf_counter_ns()

    def call_at(self, when_ns: int, call: Callable[[], None]) -> Timer:
        """Call `call` on the loop once the clock has reached `when_ns`, never before."""
        if self._timer is None:
            return _LoopTimer(self._loop, when_ns, call)
        timer = _HeldTimer(call)
        heapq.heappush(self._held, (when_ns, next(self._order), timer))
        if not self._running and (not self._armed_ns or when_ns < self._armed_ns):
            self._arm(when_ns)
        return timer

    def _arm(self, when_ns: int) -> None:
        assert self._timer is not None
        self._timer.arm(max(when_ns - self._lead_ns, 1) if when_ns else 0)
        self._armed_ns = when_ns

    def _run_due(self) -> None:
        held, now_ns = self._held, time.perf_counter_ns()
        if self._lead_ns and held and 0 < (early_ns := held[0][0] - now_ns) <= self._lead_ns:
            wait_awake(now_ns + early_ns)
            now_ns = time.perf_counter_ns()
        # What they ask for in turn waits for the next round: the loop has others to serve.
        due = []
        while held and held[0][0] <= now_ns:
            due.append(heapq.heappop(held)[2])
        self._running = True
        try:
            for timer in due:
                call, timer.call = timer.call, None
                if call is not None:
                    call()
        finally:
            self._running = False
            while held and held[0][2].call is None:
                heapq.heappop(held)
            if self._timer is not None:  # else one of them has closed the clock
                self._arm(held[0][0] if held else 0)

    def close(self) -> None:
        """Give the kernel's timer back; what still waits is not called."""
        if self._timer is not None:
            timer, self._timer = self._timer, None
            self._loop.remove_reader(timer.descriptor)
            timer.close()
            self._held.clear()


class FakeClock:
    """A clock that stands still until told to move; for tests of anything that takes a `Clock`."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._order = itertools.count()
        self._timers: list[tuple[int, int, _HeldTimer]] = []

    def now_ns(self) -> int:
        """Return the instant it was last moved to."""
        return self._now_ns

    def call_at(self, when_ns: int, call: Callable[[], None]) -> Timer:
        """Keep `call` until the clock is moved to `when_ns`; calls of one instant run in order."""
        timer = _HeldTimer(call)
        heapq.heappush(self._timers, (when_ns, next(self._order), timer))
        return timer

    @property
    def pending(self) -> int:
        """How many calls are still to come."""
        return sum(timer.call is not None for _, _, timer in self._timers)

    def advance_to(self, when_ns: int) -> None:
        """Move to `when_ns`, running what falls due on the way at its own instant."""
        while self._timers and self._timers[0][0] <= when_ns:
            due_ns, _, timer = heapq.heappop(self._timers)
            self._now_ns = max(self._now_ns, due_ns)
            if timer.call is not None:
                timer.call()
        self._now_ns = max(self._now_ns, when_ns)

    def advance(self, by_ns: int) -> None:
        """Move on by `by_ns`."""
        self.advance_to(self._now_ns + by_ns)


def utc_now() -> str:
    """Return the time of day in UTC, ISO 8601 to the second; never for measuring."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def stamp_of(instant: str) -> str:
    """Return such a time as the names of folders have it: yyyymmddThhmmssZ."""
    return instant.replace("-", "").replace(":", "")


# The kernel's high-resolution timer (Linux, timerfd_create(2)): an event loop's own timers tick in
# milliseconds.

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same bits
_ABSOLUTE: Final = 1
_NS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


@cache
def _libc() -> Any:
    """Return the C library's functions, for a Python before 3.13."""
    return ctypes.CDLL(None, use_errno=True)


class TimerDescriptor:
    """One timer on CLOCK_MONOTONIC.

    Raises:
        OSError: there is none here: another system, or no descriptors are left.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._setting = _Itimerspec()
        if sys.version_info >= (3, 13):
            self.descriptor = os.timerfd_create(_CLOCK_MONOTONIC, flags=_FLAGS)
        else:
            self.descriptor = self._checked(_libc().timerfd_create(_CLOCK_MONOTONIC, _FLAGS))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def arm(self, when_ns: int) -> None:
        """Be readable from `when_ns` on, at once where that has passed; not readable until then.

        Args:
            when_ns: in ns of CLOCK_MONOTONIC; 0: never.
        """
        if sys.version_info >= (3, 13):
            os.timerfd_settime_ns(self.descriptor, flags=os.TFD_TIMER_ABSTIME, initial=when_ns)
        else:
            value = self._setting.value
            value.seconds, value.nanoseconds = divmod(when_ns, _NS)
            setting = ctypes.byref(self._setting)
            self._checked(_libc().timerfd_settime(self.descriptor, _ABSOLUTE, setting, None))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)
