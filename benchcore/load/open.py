"""Open loop: requests leave when the schedule says, whatever the server does."""

from collections.abc import Callable, Sequence

from benchcore.client.records import Record
from benchcore.clock import NEVER_NS, Clock, Timer
from benchcore.load.closed import Emit


class OpenLoop:
    """Sends at instants fixed beforehand; a late one shortens the next wait and shifts nothing.

    Args:
        clock: what time it is.
        emit: sends a request.
        drop: takes the planned instant (ns) of a request for which there was no room.
        schedule_ns: when each request is due, from the start, ascending.
        max_inflight: how many may be on their way.
        on_next: told when the next request is due, so that a reader can look at it too.
        on_exhausted: told once when the last request of the schedule has left.
    """

    def __init__(
        self,
        clock: Clock,
        emit: Emit,
        drop: Callable[[int], None],
        schedule_ns: Sequence[int],
        *,
        max_inflight: int,
        on_next: Callable[[int], None] = lambda _due_ns: None,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._emit = emit
        self._drop = drop
        self._schedule = schedule_ns
        self._max_inflight = max_inflight
        self._on_next = on_next
        self._on_exhausted: Callable[[], None] | None = on_exhausted
        self._next = 0
        self._start_ns = 0
        self._in_flight = 0
        self._timer: Timer | None = None
        self._stopped = False
        self._running = False

    def start(self, start_ns: int) -> None:
        """Begin the schedule."""
        self._start_ns = start_ns
        self._wake()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._on_next(NEVER_NS)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def due_ns(self) -> int:
        """When the next request is due."""
        if self._stopped or self._next >= len(self._schedule):
            return NEVER_NS
        return self._start_ns + self._schedule[self._next]

    def run_due(self) -> None:
        """Send all that has fallen due."""
        if self._running:
            return  # a send that fails at once comes back here through its end
        self._running = True
        now_ns = self._clock.now_ns()
        while (due_ns := self.due_ns) <= now_ns:
            self._next += 1
            if self._in_flight >= self._max_inflight:
                self._drop(due_ns)
            else:
                self._in_flight += 1
                self._emit(due_ns, self._ended)
        self._running = False
        self._on_next(self.due_ns)
        tell = self._on_exhausted
        if tell is not None and not self._stopped and self._next >= len(self._schedule):
            self._on_exhausted = None
            tell()

    def _wake(self) -> None:
        self.run_due()
        due_ns = self.due_ns
        if due_ns < NEVER_NS:
            self._timer = self._clock.call_at(due_ns, self._wake)

    def _ended(self, _record: Record) -> None:
        self._in_flight -= 1
