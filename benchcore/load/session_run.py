"""SessionRun: runs the turns of one session, each when those that it waits for have ended."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from benchcore.base.clock import Clock, Timer
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.workload.sessions import LiveSession


@dataclass(slots=True)
class SessionEnd:
    """How a session went; instants in ns.

    Args:
        start_ns: when it was planned to begin.
        done_ns: when its last turn ended.
        turns: how many of its turns ended as they should.
        failed: how many did not.
        unreached: how many were never asked, since one before them had failed.
        cancelled: whether it was ended by us: the level was over.
    """

    start_ns: int
    done_ns: int = 0
    turns: int = 0
    failed: int = 0
    unreached: int = 0
    cancelled: bool = False


@dataclass(slots=True)
class SessionTally:
    """Counts the sessions of a level whose last turn ended inside its window.

    Args:
        ended: of those, with all their turns.
        failed: with a turn that failed.
        turns: their turns that ended as they should.
        unreached: their turns that were never asked.
        lasted_ns: shape (ended,), from the planned begin of each to its end.
    """

    ended: int = 0
    failed: int = 0
    turns: int = 0
    unreached: int = 0
    lasted_ns: array[int] = field(default_factory=lambda: array("q"))

    def add(self, end: SessionEnd) -> None:
        """Count one."""
        self.turns += end.turns
        self.unreached += end.unreached
        if end.failed:
            self.failed += 1
        else:
            self.ended += 1
            self.lasted_ns.append(end.done_ns - end.start_ns)

    def join(self, other: SessionTally) -> None:
        """Add those of another worker."""
        self.ended += other.ended
        self.failed += other.failed
        self.turns += other.turns
        self.unreached += other.unreached
        self.lasted_ns += other.lasted_ns


def end_of(start_ns: int, record: Record) -> SessionEnd:
    """Return how a session of one turn went."""
    end = SessionEnd(start_ns, record.done_ns)
    if record.outcome is Outcome.OK:
        end.turns = 1
    elif record.outcome is Outcome.CANCELLED:
        end.cancelled = True
    else:
        end.failed = 1
    return end


Emit = Callable[[LiveSession, int, int, Callable[[Record], None]], None]
"""Send a turn: of which session, its place, planned for when (ns), and what takes its record."""
Coming = Callable[[LiveSession, int], None]
"""Told of a turn that is due later, so that it can be prepared."""


class SessionRun:
    """Runs one session.

    Args:
        live: the session.
        clock: what time it is.
        emit: sends a turn.
        start_ns: when it begins.
        over: called once when no turn is on its way or due any more.
        coming: told of turns that wait for their instant.
    """

    __slots__ = (
        "_children",
        "_clock",
        "_coming",
        "_emit",
        "_latest",
        "_left",
        "_over",
        "_stopped",
        "_timers",
        "_told",
        "_waiting",
        "end",
        "live",
    )

    def __init__(
        self,
        live: LiveSession,
        clock: Clock,
        emit: Emit,
        start_ns: int,
        over: Callable[[SessionEnd], None],
        coming: Coming = lambda _live, _place: None,
    ) -> None:
        self.live = live
        self.end = SessionEnd(start_ns, start_ns)
        self._clock = clock
        self._emit = emit
        self._over = over
        self._coming = coming
        turns = live.session.turns
        self._left = len(turns)
        self._waiting = [len(turn.after) for turn in turns]
        self._latest = [start_ns] * len(turns)
        self._children: dict[int, list[int]] = {}
        for place, turn in enumerate(turns):
            for other in turn.after:
                self._children.setdefault(other, []).append(place)
        self._timers: dict[int, Timer] = {}
        self._stopped = False
        self._told = False

    @property
    def has_turns_left(self) -> bool:
        """Whether there are turns that may still be sent."""
        return not self._stopped and any(count >= 0 for count in self._waiting)

    def start(self) -> None:
        """Send the turns that wait for none, each at its time."""
        roots = [place for place, turn in enumerate(self.live.session.turns) if not turn.after]
        for place in roots:
            self._plan(place)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _plan(self, place: int) -> None:
        """Send a turn whose ancestors have ended, now or when it is due."""
        if self._stopped:
            return
        turn = self.live.session.turns[place]
        due_ns = max(self._latest[place] + turn.wait_ns, self.end.start_ns + turn.at_ns)
        if due_ns <= self._clock.now_ns():
            self._send(place, due_ns)
            return

        def due() -> None:
            del self._timers[place]
            self._send(place, due_ns)

        self._timers[place] = self._clock.call_at(due_ns, due)
        self._coming(self.live, place)

    def _send(self, place: int, due_ns: int) -> None:
        if self._stopped:
            return
        self._waiting[place] = -1
        self._emit(self.live, place, due_ns, lambda record: self._ended(place, record))

    def _ended(self, place: int, record: Record) -> None:
        end = self.end
        end.done_ns = max(end.done_ns, record.done_ns)
        self._left -= 1
        if record.outcome is Outcome.CANCELLED:
            end.cancelled = True
            self.stop()
            self._left = 0
        elif record.outcome in FAILED or record.outcome is Outcome.DROPPED:
            end.failed += 1
            self._give_up(place)
        else:
            end.turns += 1
            for child in self._children.get(place, ()):
                if self._waiting[child] < 0:
                    continue  # given up: another that it waits for has failed
                self._latest[child] = max(self._latest[child], record.done_ns)
                self._waiting[child] -= 1
                if not self._waiting[child]:
                    self._plan(child)
        if self._left <= 0 and not self._told:
            self._told = True
            self._over(end)

    def _give_up(self, place: int) -> None:
        """Ask nothing that waits for a turn that failed, nor what waits for that."""
        for child in self._children.get(place, ()):
            if self._waiting[child] >= 0:
                self._waiting[child] = -1
                self._left -= 1
                self.end.unreached += 1
                self._give_up(child)
