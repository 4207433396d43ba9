"""Clock: what time it is, and calling back at an instant.

Intervals are integer nanoseconds of CLOCK_MONOTONIC (`time.perf_counter_ns` on Linux);
`loop.time()` measures nothing.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

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


class LoopClock:
    """The real clock, with timers on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.perf_counter_ns()

    def call_at(self, when_ns: int, call: Callable[[], None]) -> Timer:
        """Call `call` on the loop once the clock has reached `when_ns`, never before."""
        return _LoopTimer(self._loop, when_ns, call)


class _FakeTimer:
    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None] | None) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = None


class FakeClock:
    """A clock that stands still until told to move; for tests of anything that takes a `Clock`."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._order = itertools.count()
        self._timers: list[tuple[int, int, _FakeTimer]] = []

    def now_ns(self) -> int:
        """Return the instant it was last moved to."""
        return self._now_ns

    def call_at(self, when_ns: int, call: Callable[[], None]) -> Timer:
        """Keep `call` until the clock is moved to `when_ns`; calls of one instant run in order."""
        timer = _FakeTimer(call)
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
