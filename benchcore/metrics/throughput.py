"""Throughput: what happened inside a window, and in each of its seconds."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchcore.base.clock import NS
from benchcore.base.stored import Count, Number, Stored
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.metrics.batches import FINER, batch_count, batch_of, course, lasts, rate_interval
from benchcore.metrics.figures import BLOCK, e2e_ns, mean_e2e_ns, running_tokens, ttft_ns
from benchcore.metrics.percentiles import Histogram, nearest_rank
from benchcore.metrics.spool import chosen, is_ok, is_streamed


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates per second of window; `None` where the window has no length or nothing tells."""

    requests: float | None
    output_tokens: float | None
    input_tokens: float | None
    total_tokens: float | None


def tokens_inside(record: Record, start_ns: int, end_ns: int) -> float | None:
    """Return the output tokens stamped inside a window: events, scaled to the request's usage.

    `None` for a plain answer, whose tokens have no stamps.
    """
    if not record.streamed:
        return None
    first, last = _arrivals_inside(record, start_ns, end_ns)
    if _is_one_each(record):
        return float(last - first)
    return float(arrival_tokens(record)[first:last].sum()) if first < last else 0.0


def _arrivals_inside(record: Record, start_ns: int, end_ns: int) -> tuple[int, int]:
    """Return from which arrival to before which one they are inside: stamps do not fall."""
    return bisect_right(record.stamps, start_ns), bisect_right(record.stamps, end_ns)


def _is_one_each(record: Record) -> bool:
    """Return whether each arrival of a stream is one output token, as it is in nearly all."""
    if record.events is not None or record.tokens is not None:
        return False
    tokens = record.output_tokens
    return tokens is None or tokens == record.token_events


def arrival_tokens(record: Record) -> NDArray[np.float64]:
    """Return the output tokens of each arrival of a stream: events, scaled to its usage."""
    running = running_tokens(record)
    if running is not None:
        return np.frombuffer(running, dtype=np.int64).astype(np.float64)
    if record.events is None:
        events = np.ones(len(record.stamps))
    else:
        events = np.frombuffer(record.events, dtype=np.int64).astype(np.float64)
    tokens = record.output_tokens
    return events if tokens is None else events * (tokens / record.token_events)


def throughput(records: Iterable[Record], start_ns: int, end_ns: int) -> Throughput:
    """Return the rates of a window.

    Requests count where they ended `ok` inside it: failing fast must not look like being fast.
    Prompt tokens count at the first token of the answer. The window's end belongs to it and its
    begin does not: where the N-th request is scheduled at the end of the one before, that one is
    the N-th to have ended.

    Args:
        records: every request that was on its way inside the window, measured or not.
        start_ns: where the window begins.
        end_ns: where it ends.
    """
    seconds = (end_ns - start_ns) / NS
    if seconds <= 0:
        return Throughput(None, None, None, None)
    ended = 0
    output = 0.0
    prompt = 0
    streamed = False
    prompt_known = True
    for record in records:
        if record.outcome is Outcome.OK and start_ns < record.done_ns <= end_ns:
            ended += 1
        tokens = tokens_inside(record, start_ns, end_ns)
        if tokens is None:
            continue
        streamed = True
        output += tokens
        if start_ns < record.first_token_ns <= end_ns:
            if record.usage is None or record.usage.prompt_tokens is None:
                # Cut off before its usage came: the length that was sent is not the server's word.
                prompt_known = prompt_known and record.outcome is not Outcome.OK
            else:
                prompt += record.usage.prompt_tokens
    input_rate = prompt / seconds if streamed and prompt_known else None
    output_rate = output / seconds if streamed else None
    return Throughput(
        requests=ended / seconds,
        output_tokens=output_rate,
        input_tokens=input_rate,
        total_tokens=None
        if input_rate is None or output_rate is None
        else input_rate + output_rate,
    )


class RateIntervals(Stored):
    """The 95 % intervals of the rates of a level."""

    intervals_95: dict[str, list[Number]] = Field(default_factory=dict)
    """By name, per second; absent where too few batches fit."""
    batches: Count | None = None
    """Of equal length that they rest on; 0: too few fit."""
    doubtful: list[str] = Field(default_factory=list)
    """Those that may be too narrow: what happens in one batch reaches over more."""


def rate_intervals(records: Iterable[Record], start_ns: int, end_ns: int) -> RateIntervals:
    """Return how well the rates of a window are known, by batch means (Conway 1963).

    Args:
        records: every request that was on its way inside the window, measured or not.
        start_ns: where the window begins.
        end_ns: where it ends.
    """
    ok = chosen(records, is_ok)
    done = np.fromiter((r.done_ns for r in ok if start_ns < r.done_ns <= end_ns), dtype=np.int64)
    batches = batch_count(len(done), end_ns - start_ns, mean_e2e_ns(ok))
    if not batches:
        return RateIntervals.complete(batches=0)
    counts = {
        "request_throughput": np.bincount(
            batch_of(done, start_ns, end_ns, batches), minlength=batches
        ).astype(np.float64)
    }
    streamed = chosen(records, is_streamed)
    if any(True for _ in streamed):
        counts["output_token_throughput"] = _tokens_by_batch(streamed, start_ns, end_ns, batches)
    found = RateIntervals.complete(batches=batches)
    far = _lasts(ok, start_ns, end_ns, batches)
    for name, counted in counts.items():
        whole = name == "request_throughput"
        low, high, doubtful = rate_interval(counted, (end_ns - start_ns) / NS, whole=whole)
        found.intervals_95[name] = [low, high]
        if far or doubtful:
            found.doubtful.append(name)
    return found


def _lasts(ok: Iterable[Record], start_ns: int, end_ns: int, batches: int) -> bool:
    """Return whether what makes requests slow or fast lasts for a good part of a batch."""
    scheduled, took = array("q"), array("q")
    for record in ok:
        if start_ns <= record.scheduled_ns <= end_ns and (took_ns := e2e_ns(record)):
            scheduled.append(record.scheduled_ns)
            took.append(took_ns)
    if len(took) < 2:
        return False
    at, lasted = np.asarray(scheduled), np.asarray(took)
    finer = batch_of(at, start_ns, end_ns, batches * FINER)
    return lasts(course(np.log(lasted), finer, batches * FINER))


def _tokens_by_batch(
    records: Iterable[Record], start_ns: int, end_ns: int, batches: int
) -> NDArray[np.float64]:
    counts = _one_each_by_batch(records, start_ns, end_ns, batches)
    if counts is not None:
        return counts
    counts = np.zeros(batches)
    for record in records:
        first, last = _arrivals_inside(record, start_ns, end_ns)
        if first < last:
            stamps = np.frombuffer(record.stamps, dtype=np.int64)[first:last]
            number = batch_of(stamps, start_ns, end_ns, batches)
            counts += np.bincount(number, arrival_tokens(record)[first:last], minlength=batches)
    return counts


def _one_each_by_batch(
    records: Iterable[Record], start_ns: int, end_ns: int, batches: int
) -> NDArray[np.float64] | None:
    """Return the counts where every arrival is one token; `None`: one of them is not."""
    counts = np.zeros(batches)
    together = array("q")

    def count() -> None:
        stamps = np.frombuffer(together, dtype=np.int64)
        inside = stamps[(stamps > start_ns) & (stamps <= end_ns)]
        if len(inside):
            number = batch_of(inside, start_ns, end_ns, batches)
            counts[:] += np.bincount(number, minlength=batches)

    for record in records:
        if not _is_one_each(record):
            return None
        together += record.stamps
        if len(together) >= BLOCK:
            count()
            together = array("q")
    count()
    return counts


def overlap_ns(records: Iterable[Record], start_ns: int, end_ns: int) -> int:
    """Return the time that requests spent on their way inside a window, summed, in ns.

    The right side of Little's law for a path (Stidham, 1974): mean in-flight times the window.
    A request is on its way from when its connection is asked for; one that never left, such as
    where nothing answered, from when it was planned; one that was dropped, never.
    """
    total = 0
    for record in records:
        if record.outcome is Outcome.DROPPED:
            continue
        if not record.sent_ns:
            begin = record.scheduled_ns
        elif record.retried:
            begin = record.sent_ns  # it connected after that
        else:
            begin = record.sent_ns - record.connect_ns
        # A request may have ended before it was let go: its slot is taken until then.
        gone_ns = record.released_ns or record.done_ns
        total += max(0, min(gone_ns, end_ns) - max(begin, start_ns))
    return total


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


@dataclass(slots=True)
class Second:
    """One second: counts, and latencies of what ended in it."""

    sent: int = 0
    done: int = 0
    failed: int = 0
    tokens: int = 0
    ttfts_ns: list[int] = field(default_factory=list)
    gaps: Histogram | None = None

    def add(self, other: Second) -> None:
        """Add the same second as another process has counted it."""
        self.sent += other.sent
        self.done += other.done
        self.failed += other.failed
        self.tokens += other.tokens
        self.ttfts_ns += other.ttfts_ns
        if other.gaps is not None:
            if self.gaps is None:
                self.gaps = Histogram()
            self.gaps.merge(other.gaps)

    def row(self, number: int, in_flight: float) -> Row:
        """Return it as the row of a timeline.

        Args:
            number: which second, from 0.
            in_flight: mean number of requests on their way in it.
        """
        ttfts = sorted(self.ttfts_ns)
        gaps = self.gaps
        return Row(
            second=number,
            in_flight=in_flight,
            sent=self.sent,
            done=self.done,
            failed=self.failed,
            tokens=self.tokens,
            ttft_p50_seconds=nearest_rank(ttfts, 0.5) / NS if ttfts else None,
            ttft_p99_seconds=nearest_rank(ttfts, 0.99) / NS if ttfts else None,
            itl_p50_seconds=gaps.percentile(0.5) / NS if gaps is not None else None,
            itl_p99_seconds=gaps.percentile(0.99) / NS if gaps is not None else None,
        )


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

    def close(self) -> Second:
        """Close the next second and return it."""
        second = self._seconds.pop(self.closed, None) or Second()
        self.closed += 1
        return second
