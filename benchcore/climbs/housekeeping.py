"""Housekeeping: what a running level does in small slices, between its reads.

Requests that have ended become rows, arrivals are folded into seconds, and a second is closed once
all that had come by its end has been taken. It knows neither client nor socket: records and times
come in, rows and seconds go out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchcore.base.clock import NS
from benchcore.client.records import Record
from benchcore.climbs.requests import Tally
from benchcore.climbs.watch import SoFar
from benchcore.load.closed_loop import InFlight
from benchcore.load.level_plan import Stage
from benchcore.metrics.throughput import Row, Second, Timeline
from benchcore.runs.sinks import FanOut, LevelHead, RequestRow

ROWS_A_SLICE = 24
VISITS_A_SLICE = 12
PIECES_A_SLICE = 16
GROWTH = 20
"""All slices grow with what waits, by a twentieth of it, so that none falls behind for good."""


def slice_of(least: int, waiting: int) -> int:
    """Return how much of what waits one slice takes."""
    return max(least, waiting // GROWTH)


@dataclass(slots=True)
class _Boundary:
    """The end of a second, and what of that second has not been taken yet.

    Args:
        visits: what returns the requests that were on their way then.
        ended: requests that had ended by then and wait to become rows.
        pieces: arrivals that had been taken by then and wait to be folded; `None` until all visits
            are made and all rows are taken, which add to them.
    """

    visits: list[Callable[[], Record]]
    ended: int
    pieces: int | None = None


class Housekeeping:
    """Keeps the books of one level while it runs.

    Args:
        level: its name.
        repeat: of the climb.
        sinks: take seconds that are closed.
        tally: takes rows of requests.
        so_far: counts for the live line.
        on_the_way: returns of each request that is on its way what returns it, brought up to date.
        at_boundary: called at the end of each second.
        rows_at_once: so many requests become rows in one part of a slice.
        on_second: takes the number of each second that is closed, the mean number of requests on
            their way in it, and what is in it.
    """

    def __init__(
        self,
        level: str,
        repeat: int,
        *,
        sinks: FanOut,
        tally: Tally,
        so_far: SoFar,
        on_the_way: Callable[[], list[Callable[[], Record]]],
        at_boundary: Callable[[], None],
        rows_at_once: int = ROWS_A_SLICE,
        on_second: Callable[[int, float, Second], None] | None = None,
    ) -> None:
        self.rows: list[Row] = []
        """The seconds that are closed."""
        self._head = LevelHead(level, repeat, 0)
        self._sinks = sinks
        self._tally = tally
        self._so_far = so_far
        self._in_flight = InFlight(0)
        self._on_the_way = on_the_way
        self._at_boundary = at_boundary
        self._rows_at_once = rows_at_once
        self._on_second = on_second
        self._ended: deque[tuple[Record, Stage]] = deque()
        self._timeline = Timeline(0)
        self._boundary: _Boundary | None = None
        self._boundary_ns = NS

    def begin(self, start_ns: int, in_flight: InFlight) -> None:
        """Begin the first second.

        Args:
            start_ns: of the level.
            in_flight: how many requests are on their way.
        """
        self._head = LevelHead(self._head.level, self._head.repeat, start_ns)
        self._timeline = Timeline(start_ns)
        self._boundary_ns = start_ns + NS
        self._in_flight = in_flight

    def ended(self, record: Record, stage: Stage) -> None:
        """Take a request that has ended: as little work as can be."""
        self._ended.append((record, stage))

    @property
    def is_pressing(self) -> bool:
        """Whether so much waits that a slice is worth its while, or a second is to be closed."""
        return (
            self._boundary is not None
            or len(self._ended) >= ROWS_A_SLICE
            or self._timeline.waiting >= PIECES_A_SLICE
        )

    def slice(self, now_ns: int) -> Iterator[None]:
        """Do a little of what waits, and close a second where all of it has been taken.

        Between its parts it yields: there the caller may do what is due.
        """
        boundary = self._boundary
        left = slice_of(ROWS_A_SLICE, len(self._ended))
        while left > 0 and self._ended:
            written = self._write(min(left, self._rows_at_once))
            left -= written
            if boundary is not None:
                boundary.ended -= written
            yield
        self._tally.slice()
        if boundary is not None and boundary.visits:
            visits = boundary.visits
            for _ in range(min(slice_of(VISITS_A_SLICE, len(visits)), len(visits))):
                self._timeline.visit(visits.pop()())
            yield
        waiting = self._timeline.waiting
        if waiting:
            self._timeline.fold(slice_of(PIECES_A_SLICE, waiting))
            yield
        if boundary is None:
            if now_ns >= self._boundary_ns:
                self._boundary = _Boundary(self._on_the_way(), len(self._ended))
                self._at_boundary()
            return
        if boundary.pieces is not None:
            boundary.pieces -= waiting - self._timeline.waiting
        elif not boundary.visits and boundary.ended <= 0:
            boundary.pieces = self._timeline.waiting
        if boundary.pieces is not None and boundary.pieces <= 0:
            self._boundary = None
            self._boundary_ns += NS
            self._close_second(now_ns)
            yield
            self._sinks.flush()

    def write_all(self) -> None:
        """Make rows of all requests that have ended."""
        self._write(len(self._ended))

    def finish(self, over_ns: int) -> None:
        """Take all that waits and close every second, the last one where the level ended in it."""
        self.write_all()
        while self._timeline.waiting:
            self._timeline.fold(1000)
        length_ns = over_ns - self._head.start_ns
        while self._timeline.closed < length_ns // NS:
            self._close_second(over_ns)
        if length_ns % NS:
            self._close_second(over_ns, length_ns % NS / NS)
        self._sinks.flush()

    @property
    def tokens_per_second(self) -> float | None:
        """Token events of the last second that is closed; `None`: there is none yet."""
        return self.rows[-1].tokens if self.rows else None

    def _write(self, most: int) -> int:
        """Make rows of up to `most` requests that have ended; returns of how many."""
        rows = []
        for _ in range(min(most, len(self._ended))):
            record, stage = self._ended.popleft()
            self._timeline.ended(record)
            self._so_far.note(record)
            rows.append(RequestRow(self._head, record, stage.value))
        self._tally.write(rows)
        return len(rows)

    def _close_second(self, now_ns: int, share: float = 1.0) -> None:
        """Close the next second, or the share of one that the level had of it."""
        self._in_flight.area(now_ns)
        number = self._timeline.closed
        mean = self._in_flight.mean_of_second(number) / share
        second = self._timeline.close()
        if self._on_second is not None:
            self._on_second(number, mean, second)
        row = second.row(number, mean)
        self.rows.append(row)
        self._sinks.second(self._head, row)
