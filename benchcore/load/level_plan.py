"""Level plan: what a level does, what it needs of its sender, and what it leaves."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, Protocol

from benchcore.client.records import Outcome, Phase, Record
from benchcore.load.closed_loop import Shifts
from benchcore.load.session_run import SessionTally
from benchcore.workload.sessions import WHOLE, LiveSession, Share


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """What a level does; times in ns.

    Args:
        name: `c64`, `r4`; with the workload before it where a climb has several.
        mode: closed or open loop.
        concurrency: users of a closed loop.
        schedule_ns: of an open loop, when each session is due, drain included.
        replay: the schedule is that of the sessions themselves; it grows as they are read.
        shifts: of a closed loop, when each user works; `None`: always.
        changes: the load is not meant to be steady.
        rate: of an open loop, sessions per second, in the mean; `None`: their own times.
        requests: the window ends when so many have been scheduled in it.
        window_ns: the window is at most this long.
        warmup_requests: the window begins when so many have ended …
        warmup_ns: … and so much time has passed.
        drain_ns: how long measured requests may take to end once the window has.
        drain_follows: the drain is twice as long as the longest request has shown, if that is more.
        ramp_ns: users start spread over this time.
        think_ns: pause of a user after a session.
        max_inflight: of an open loop, sessions at once; what does not fit is dropped.
        share: which of the users and sessions are run from here.
    """

    name: str
    mode: Literal["closed", "open"]
    concurrency: int | None = None
    rate: float | None = None
    schedule_ns: Sequence[int] = ()
    replay: bool = False
    changes: bool = False
    shifts: Sequence[Shifts] | None = None
    requests: int | None = None
    window_ns: int | None = None
    warmup_requests: int = 0
    warmup_ns: int = 0
    drain_ns: int = 60_000_000_000
    drain_follows: bool = False
    ramp_ns: int = 0
    think_ns: int = 0
    max_inflight: int = 10_000
    share: Share = WHOLE

    def dealt(self, share: Share) -> LevelPlan:
        """Return what one worker does of this: sessions and users are dealt out like cards."""
        return replace(
            self,
            schedule_ns=self.schedule_ns[share.worker :: share.of],
            requests=None if self.requests is None else share.part(self.requests),
            warmup_requests=share.part(self.warmup_requests),
            max_inflight=max(share.part(self.max_inflight), 1),
            share=share,
        )

    @property
    def own_users(self) -> int:
        """How many users of a closed loop are run from here."""
        return self.share.part(self.concurrency or 0)


class Conductor(Protocol):
    """Says for several workers at once when a window opens and closes; it is told of this one.

    It may be told the same several times.
    """

    def warm(self) -> None:
        """The share of the warm-up is over."""
        ...

    def filled(self, latest_ns: int) -> None:
        """The share of the measured requests is scheduled, the last of them for that instant."""
        ...

    def drained(self) -> None:
        """The window is closed, and none of the measured requests is on its way any more."""
        ...


class Sender(Protocol):
    """What has sessions, sends their turns and can take them back."""

    def next(self) -> LiveSession | None:
        """Return the next session; `None`: there are no more."""
        ...

    def read_on(self) -> bool:
        """Read one more session, and its time into the schedule; returns whether there is one."""
        ...

    def coming(self, live: LiveSession, place: int) -> None:
        """Take note of a turn that is due later and may be prepared."""
        ...

    def start(
        self, live: LiveSession, place: int, scheduled_ns: int, on_done: Callable[[Record], None]
    ) -> Any:
        """Send a turn of a session; returns what `cancel` takes."""
        ...

    def cancel(self, exchange: Any, outcome: Outcome, phase: Phase | None, error: str) -> None:
        """End a request now; nothing happens where it has ended."""
        ...


class Stage(Enum):
    """Where a level is."""

    WARMUP = "warmup"
    WINDOW = "window"
    DRAIN = "drain"
    OVER = "over"


@dataclass(slots=True)
class LevelRecords:
    """What a level measured.

    Args:
        measured: every request scheduled inside the window, in the order of scheduling.
        others: unmeasured requests that were on their way inside the window.
        planned: of an open loop, how many the schedule has inside the window.
        scheduled: how many were planned in the window, counted at the plan.
        sent: how many of them were handed to the client, counted at the send.
        ended: how they ended, counted at the end.
        area_in_window: integral of the requests in flight over the window, in requests × ns.
        interrupted: whether the user ended it.
        exhausted: whether the schedule of an open loop ended before the window did, which that of a
            replay may.
        sessions: those that ended inside the window; nothing where they are not counted.
        begun: sessions that were planned to begin in the window.
        left_open: those of them that had not ended when the level was over.
    """

    measured: Sequence[Record] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)
    planned: int | None = None
    scheduled: int = 0
    sent: int = 0
    ended: Counter[Outcome] = field(default_factory=Counter)
    start_ns: int = 0
    window_start_ns: int = 0
    window_end_ns: int = 0
    over_ns: int = 0
    area_in_window: int = 0
    interrupted: bool = False
    exhausted: bool = False
    sessions: SessionTally = field(default_factory=SessionTally)
    begun: int = 0
    left_open: int = 0

    def count_planned(self, schedule_ns: Sequence[int] | None) -> None:
        """Count from a schedule alone what the window should have held.

        Args:
            schedule_ns: of an open loop; `None`: the window was made to end where it did.
        """
        if schedule_ns is None:
            self.planned = self.scheduled
            return
        first = bisect_left(schedule_ns, self.window_start_ns - self.start_ns)
        planned = bisect_left(schedule_ns, self.window_end_ns - self.start_ns) - first
        # A session's later turns are in no schedule: their instants are what came before them.
        self.planned = self.scheduled - self.begun + planned

    def add(self, other: LevelRecords) -> None:
        """Add the counts of another worker, whose window is the same; not its requests."""
        known = self.planned is not None and other.planned is not None
        self.planned = (self.planned or 0) + (other.planned or 0) if known else None
        self.scheduled += other.scheduled
        self.sent += other.sent
        self.ended += other.ended
        self.window_end_ns = min(self.window_end_ns, other.window_end_ns)
        self.over_ns = max(self.over_ns, other.over_ns)
        self.area_in_window += other.area_in_window
        self.interrupted |= other.interrupted
        self.exhausted |= other.exhausted
        self.sessions.join(other.sessions)
        self.begun += other.begun
        self.left_open += other.left_open

    def move(self, by_ns: int) -> None:
        """Add to each instant, except to those of the requests, which are elsewhere."""
        self.start_ns += by_ns
        self.window_start_ns += by_ns
        self.window_end_ns += by_ns
        self.over_ns += by_ns

    @property
    def counts_agree(self) -> bool:
        """Whether plan, send and end, counted apart, tell the same."""
        unsent = self.ended[Outcome.DROPPED]
        return self.scheduled == self.ended.total() == self.sent + unsent
