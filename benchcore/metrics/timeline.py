"""Timeline: what happened in each second of a level."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import Outcome, Record
from benchcore.clock import NS
from benchcore.metrics.figures import ttft_ns
from benchcore.metrics.histograms import Histogram
from benchcore.metrics.percentiles import nearest_rank


@dataclass(slots=True)
class Second:
    """One second: counts, and latencies of what ended in it."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    tokens: int = 0
    ttfts_ns: list[int] = field(default_factory=list)
    gaps: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One second that is over; latencies in seconds, `None` where nothing arrived.

    Tokens are token events; a gap of an arrival with several events is shared out over them.
    """

    second: int
    in_flight: float
    sent: int
    done: int
    failed: int
    tokens: int
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None
    itl_p50_seconds: float | None
    itl_p99_seconds: float | None


class Timeline:
    """Folds records into seconds, a little at a time, while they are still growing.

    Args:
        start_ns: where second 0 begins.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._seconds: dict[int, Second] = {}
        self._seen: dict[int, int] = {}  # id(record) → arrivals folded
        self._gaps: deque[tuple[int, array[int]]] = deque()
        self.closed = 0
        """Seconds closed so far."""

    def _second(self, at_ns: int) -> Second:
        # What comes late for a closed second, by its stamp, is counted in the first open one.
        number = max((at_ns - self._start_ns) // NS, self.closed)
        found = self._seconds.get(number)
        if found is None:
            found = self._seconds[number] = Second()
        return found

    def ended(self, record: Record) -> None:
        """Take a request that has ended; the last time it is seen."""
        self._take(record)
        self._seen.pop(id(record), None)
        second = self._second(record.done_ns)
        if record.outcome is Outcome.OK:
            second.done += 1
            ttft = ttft_ns(record)
            if ttft is not None:
                second.ttfts_ns.append(ttft)
        elif record.outcome is not Outcome.CANCELLED:
            second.failed += 1

    def visit(self, record: Record) -> None:
        """Take what a request on its way has received since the last visit.

        One that has ended meanwhile is left to `ended`: it may have been taken by that already.
        """
        if record.outcome is None:
            self._take(record)

    def _take(self, record: Record) -> None:
        stamps = record.stamps
        known = self._seen.get(id(record))
        if known is None and record.sent_ns:
            self._seen[id(record)] = 0
            self._second(record.sent_ns).sent += 1
        seen = known or 0
        count = len(stamps)
        if count == seen:
            return
        self._seen[id(record)] = count
        events = record.events
        fresh = stamps[seen - 1 if seen else 0 :]
        first = self._start_ns
        low = max((fresh[0 if not seen else 1] - first) // NS, self.closed)
        high = max((fresh[-1] - first) // NS, self.closed)
        if low == high and events is None:
            self._second(fresh[-1]).tokens += count - seen
            if len(fresh) > 1:
                self._gaps.append((low, fresh))
            return
        for place in range(seen, count):
            stamp = stamps[place]
            carried = 1 if events is None else events[place]
            self._second(stamp).tokens += carried
            if place:
                number = max((stamp - first) // NS, self.closed)
                gap = (stamp - stamps[place - 1]) // carried
                self._gaps.append((number, array("q", [0, gap])))

    @property
    def waiting(self) -> int:
        """Pieces that `fold` has not taken yet."""
        return len(self._gaps)

    def fold(self, most: int = 24) -> None:
        """Take up to `most` pieces into the histograms: a slice of well under a millisecond."""
        by_second: dict[int, list[NDArray[np.int64]]] = {}
        for _ in range(min(most, len(self._gaps))):
            number, fresh = self._gaps.popleft()
            stamps = np.frombuffer(fresh, dtype=np.int64)
            gaps = stamps[1:] - stamps[:-1]
            by_second.setdefault(max(number, self.closed), []).append(gaps)
        for number, pieces in by_second.items():
            second = self._second(self._start_ns + number * NS)
            if second.gaps is None:
                second.gaps = Histogram()
            second.gaps.add(np.concatenate(pieces))

    def close(self, in_flight: float) -> Row:
        """Close the next second and return its row.

        Args:
            in_flight: mean number of requests on their way in it.
        """
        number = self.closed
        second = self._seconds.pop(number, None) or Second()
        self.closed += 1
        ttfts = sorted(second.ttfts_ns)
        gaps = second.gaps
        return Row(
            second=number,
            in_flight=in_flight,
            sent=second.sent,
            done=second.done,
            failed=second.failed,
            tokens=second.tokens,
            ttft_p50_seconds=nearest_rank(ttfts, 0.5) / NS if ttfts else None,
            ttft_p99_seconds=nearest_rank(ttfts, 0.99) / NS if ttfts else None,
            itl_p50_seconds=gaps.percentile(0.5) / NS if gaps is not None else None,
            itl_p99_seconds=gaps.percentile(0.99) / NS if gaps is not None else None,
        )
