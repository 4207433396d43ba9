"""Timeline: what happened in each second of a level."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import FAILED, Outcome, Record
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
        # Second, stamps, and whether they are gaps already.
        self._pieces: deque[tuple[int, array[int], bool]] = deque()
        self.closed = 0
        """Seconds closed so far."""

    def _number(self, at_ns: int) -> int:
        # What comes late for a closed second, by its stamp, is counted in the first open one.
        return max((at_ns - self._start_ns) // NS, self.closed)

    def _open(self, number: int) -> Second:
        found = self._seconds.get(number)
        if found is None:
            found = self._seconds[number] = Second()
        return found

    def _second(self, at_ns: int) -> Second:
        return self._open(self._number(at_ns))

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
        elif record.outcome in FAILED:
            second.failed += 1

    def visit(self, record: Record) -> None:
        """Take what a request on its way has received since the last visit.

        One that has ended meanwhile is left to `ended`: it may have been taken by that already.
        """
        if record.outcome is None:
            self._take(record)

    def _take(self, record: Record) -> None:
        known = self._seen.get(id(record))
        if known is None and record.sent_ns:
            self._seen[id(record)] = 0
            self._second(record.sent_ns).sent += 1
        seen, count = known or 0, len(record.stamps)
        if count == seen:
            return
        self._seen[id(record)] = count
        if record.events is None:
            self._take_singles(record.stamps, seen)
        else:
            self._take_several(record, record.events, seen)

    def _take_singles(self, stamps: array[int], place: int) -> None:
        """Take arrivals of one event each and one choice: whole slices."""
        count = len(stamps)
        while place < count:
            number = self._number(stamps[place])
            limit_ns = self._start_ns + (number + 1) * NS
            stop = count if stamps[-1] < limit_ns else bisect_left(stamps, limit_ns, place, count)
            self._open(number).tokens += stop - place
            begin = max(place - 1, 0)
            if stop - begin > 1:
                self._pieces.append((number, stamps[begin:stop], False))
            place = stop

    def _take_several(self, record: Record, events: array[int], seen: int) -> None:
        """Take arrivals of which some have several events or other choices."""
        stamps, lanes = record.stamps, record.lanes
        gaps: dict[int, array[int]] = {}
        for place in range(seen, len(stamps)):
            number, carried = self._number(stamps[place]), events[place]
            self._open(number).tokens += carried
            before = place - 1
            while lanes is not None and before >= 0 and lanes[before] != lanes[place]:
                before -= 1
            if before >= 0:
                gap = (stamps[place] - stamps[before]) // carried
                gaps.setdefault(number, array("q")).extend([gap] * carried)
        self._pieces.extend((number, found, True) for number, found in gaps.items())

    @property
    def waiting(self) -> int:
        """Pieces that `fold` has not taken yet."""
        return len(self._pieces)

    def fold(self, most: int = 24) -> None:
        """Take up to `most` pieces into the histograms: a slice of well under a millisecond."""
        by_second: dict[int, list[NDArray[np.int64]]] = {}
        for _ in range(min(most, len(self._pieces))):
            number, piece, are_gaps = self._pieces.popleft()
            values = np.frombuffer(piece, dtype=np.int64)
            gaps = values if are_gaps else values[1:] - values[:-1]
            by_second.setdefault(max(number, self.closed), []).append(gaps)
        for number, pieces in by_second.items():
            second = self._open(number)
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
