"""Ensemble: several workers run one level, whose window is the same for all of them.

It knows neither processes nor messages: what workers have come to goes in, what they are told comes
out, and what time it is, is said.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

from benchcore.base.clock import NEVER_NS
from benchcore.load.level_plan import LevelPlan, Stage
from benchcore.workload.sessions import Share

OPEN_AHEAD_NS: Final = 10_000_000
"""A window whose instant nobody could know beforehand opens so long after it is known."""

Tell = Callable[..., None]
"""Takes a worker's place, what it is told (`open`, `close`, `finish`) and what belongs to that."""


class Ensemble:
    """Conducts the levels of several workers.

    Args:
        plan: of the whole level.
        count: how many workers there are.
        tell: tells one of them something.
        open_ahead_ns: how long what is told may be on its way.
    """

    def __init__(
        self, plan: LevelPlan, count: int, tell: Tell, *, open_ahead_ns: int = OPEN_AHEAD_NS
    ) -> None:
        self.stage = Stage.WARMUP
        self.start_ns = 0
        self.window_start_ns = self.window_end_ns = NEVER_NS
        self._plan = plan
        self._count = count
        self._tell = tell
        self._open_ahead_ns = open_ahead_ns
        self._begun = self._stopped = False
        # The places of those that run, and of those that have not come so far yet.
        self._running = set(range(count))
        self._cold, self._unfilled, self._undrained = (set(self._running) for _ in range(3))
        self._latest_ns = 0

    def begin(self, start_ns: int) -> None:
        """Let the level begin; where its window opens is told at once if that is known."""
        self._begun, self.start_ns = True, start_ns
        if not self._plan.warmup_requests:
            self._open(start_ns + self._plan.warmup_ns)

    def stop(self) -> None:
        """Conduct no more: the workers have been interrupted, and end by themselves."""
        self._stopped = True

    # What the workers have come to.

    def warm(self, place: int) -> None:
        """A worker's share of the warm-up is over."""
        self._cold.discard(place)

    def filled(self, place: int, latest_ns: int) -> None:
        """A worker's measured requests are all scheduled, the last of them for that instant."""
        self._unfilled.discard(place)
        self._latest_ns = max(self._latest_ns, latest_ns)

    def drained(self, place: int) -> None:
        """None of a worker's measured requests is on its way any more."""
        self._undrained.discard(place)

    def over(self, place: int) -> None:
        """A worker's level is over, or the worker is no more: nobody waits for it."""
        for places in (self._running, self._cold, self._unfilled, self._undrained):
            places.discard(place)

    # What comes of that.

    def look(self, now_ns: int) -> None:
        """Open, close and end the level where all workers have come so far."""
        if not self._begun or self._stopped or not self._running:
            return
        if self.window_start_ns == NEVER_NS:
            if not self._cold:
                self._open(now_ns + self._open_ahead_ns)
            return
        if self.stage is Stage.WARMUP and now_ns >= self.window_start_ns:
            self.stage = Stage.WINDOW
        if self.stage is Stage.WINDOW:
            if not self._unfilled:
                self.window_end_ns = min(self._latest_ns, self.window_end_ns)
                self._tell_all("close", self.window_end_ns)
            elif now_ns < self.window_end_ns:
                return
            self.stage = Stage.DRAIN
        if self.stage is Stage.DRAIN and not self._undrained:
            self.stage = Stage.OVER
            self._tell_all("finish")

    def _open(self, at_ns: int) -> None:
        """Open the window at one instant, each worker with its share of the requests."""
        plan, count = self._plan, self._count
        self.window_start_ns = at_ns
        if plan.window_ns is not None:
            self.window_end_ns = at_ns + plan.window_ns
        first = 0
        if plan.mode == "open" and plan.requests is not None:
            # The sessions that begin in it are the next ones of the schedule, whose-ever they are.
            first = bisect_left(plan.schedule_ns, at_ns - self.start_ns)
        for place in sorted(self._running):
            own = Share((place - first) % count, count)
            share = None if plan.requests is None else own.part(plan.requests)
            self._tell(place, "open", at_ns, share)

    def _tell_all(self, *message: Any) -> None:
        for place in sorted(self._running):
            self._tell(place, *message)
