"""Open loop: requests leave when the schedule says, whatever the server does."""

import math
import random
from collections.abc import Callable, Iterator, Sequence

from benchcore.base.clock import NEVER_NS, Clock, Timer
from benchcore.client.records import Record
from benchcore.config.climb import Arrival
from benchcore.load.closed_loop import Emit

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
