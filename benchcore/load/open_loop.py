"""Open loop: sessions begin when the schedule says, whatever the server does."""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

from benchcore.base.clock import NEVER_NS, NS, Clock, Timer
from benchcore.config.climb import Arrival
from benchcore.config.shapes import Hold, Shape
from benchcore.load.closed_loop import Begin
from benchcore.load.session_run import SessionEnd

__all__ = ["Arrival", "offsets_ns"]


def offsets_ns(
    arrival: Arrival, rate: float, horizon_ns: int, stream: random.Random, *, fewest: int = 0
) -> list[int]:
    """Return when each request is due, in ns from the start, ascending, before `horizon_ns`.

    The gaps have the mean 1/rate. Offsets are whole microseconds, so that a last-bit difference
    between two machines' logarithms does not show.

    Args:
        arrival: how they are spaced.
        rate: requests per second.
        horizon_ns: where the schedule ends.
        stream: draws, from `random()` alone.
        fewest: the schedule goes on beyond the horizon until it has so many.
    """
    if rate <= 0 or not math.isfinite(rate):
        raise ValueError(f"rate {rate} is not a positive number")
    found: list[int] = []
    seconds = 0.0
    gaps = _gaps(arrival, stream)
    # The first request of a random schedule comes after its first gap, of a constant one at once.
    if arrival.kind != "constant":
        seconds = next(gaps) / rate
    count = 0
    # Judged as rounded: the last one may round up to the horizon itself.
    while (offset_ns := round(seconds * 1e6) * 1000) < horizon_ns or count < fewest:
        found.append(offset_ns)
        count += 1
        # No running sum where the sum is known: it would drift over a million gaps.
        seconds = count / rate if arrival.kind == "constant" else seconds + next(gaps) / rate
    return found


def shaped_offsets_ns(
    arrival: Arrival, shape: Shape, stream: random.Random, after_ns: int = 0
) -> list[int]:
    """Return when each request of a shape is due, in ns from the start, ascending.

    Constant arrivals are as many as the shape's area; random ones are in the mean.

    Args:
        arrival: how they are spaced: a process of rate 1, whose time the shape's integral changes.
        shape: the rate over time.
        stream: draws, from `random()` alone.
        after_ns: for this long after its end the shape goes on with its last rate.
    """

    def areas() -> Iterator[float]:
        if arrival.kind == "constant":
            yield from map(float, itertools.count())
        area = 0.0
        for gap in _gaps(arrival, stream):
            area += gap
            yield area

    whole = shape
    if after_ns > 0 and shape.last > 0:
        whole = Shape(shape.text, (*shape.pieces, Hold(shape.last, after_ns / NS)))
    return [round(at * 1e6) * 1000 for at in whole.instants(areas())]


def _gaps(arrival: Arrival, stream: random.Random) -> Iterator[float]:
    """Yield random gaps with mean 1."""
    while True:
        if arrival.kind == "poisson":
            yield -math.log(1.0 - stream.random())
        else:
            yield _gamma(arrival.shape, stream) / arrival.shape


def _gamma(shape: float, stream: random.Random) -> float:
    """Draw from gamma(shape, 1) by the method of Marsaglia and Tsang (2000)."""
    if shape < 1.0:
        # Their boost: gamma(a) = gamma(a + 1) · U^(1/a).
        boost: float = (1.0 - stream.random()) ** (1.0 / shape)
        return _gamma(shape + 1.0, stream) * boost
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        radius = math.sqrt(-2.0 * math.log(1.0 - stream.random()))
        x = radius * math.cos(2.0 * math.pi * stream.random())
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(1.0 - stream.random()) < 0.5 * x * x + d - d * v + d * math.log(v):
            return d * v


class OpenLoop:
    """Begins at instants fixed beforehand; a late one shortens the next wait and shifts nothing.

    Args:
        clock: what time it is.
        begin: begins a session.
        drop: takes the planned instant (ns) of a session for which there was no room.
        schedule_ns: when each session is due, from the start, ascending.
        max_inflight: how many may be under way.
        more: asked for more where the schedule is not whole yet; returns whether there is more.
        on_next: told when the next session is due, so that a reader can look at it too.
        on_exhausted: told once when the last session of the schedule has begun.
    """

    def __init__(
        self,
        clock: Clock,
        begin: Begin,
        drop: Callable[[int], None],
        schedule_ns: Sequence[int],
        *,
        max_inflight: int,
        more: Callable[[], bool] = lambda: False,
        on_next: Callable[[int], None] = lambda _due_ns: None,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._begin = begin
        self._more = more
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
        """When the next session is due."""
        if self._stopped or not self._has_next():
            return NEVER_NS
        return self._start_ns + self._schedule[self._next]

    def _has_next(self) -> bool:
        return self._next < len(self._schedule) or self._more()

    def run_due(self) -> None:
        """Begin all that has fallen due."""
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
                self._begin(due_ns, self._ended)
        self._running = False
        self._on_next(self.due_ns)
        tell = self._on_exhausted
        if tell is not None and not self._stopped and not self._has_next():
            self._on_exhausted = None
            tell()

    def _wake(self) -> None:
        self.run_due()
        due_ns = self.due_ns
        if due_ns < NEVER_NS:
            self._timer = self._clock.call_at(due_ns, self._wake)

    def _ended(self, _end: SessionEnd) -> None:
        self._in_flight -= 1
