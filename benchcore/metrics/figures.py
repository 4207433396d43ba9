"""Figures: what one record says, in nanoseconds and tokens."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchcore.client.openai import answer_texts
from benchcore.client.records import Outcome, Record
from benchcore.config.catalogue import LATENCIES
from benchcore.config.limits import Slo
from benchcore.metrics.percentiles import nearest_rank


def unbilled_texts(record: Record) -> list[str] | None:
    """Return the texts of a request whose output tokens the server did not bill.

    `None` where it did, where its texts were not kept, and of a plain answer that is none.
    """
    if record.usage is not None and record.usage.completion_tokens is not None:
        return None
    if record.streamed:
        return record.texts
    if record.outcome is not Outcome.OK or record.answer is None:
        return None
    try:
        return answer_texts(record.answer)
    except ValueError:
        return None


def count_output(record: Record, texts: list[str], count: Callable[[str], int]) -> None:
    """Count the output tokens of a request by a tokenizer.

    The texts of each choice and kind are counted apart and added up. What leaves no text is not
    in it: the end of the sequence, the marks around reasoning and tool calls.

    Args:
        record: is told.
        texts: what it generated.
        count: returns the number of tokens of a text.
    """
    record.counted_tokens = sum(map(count, texts))


def hidden_tokens(record: Record) -> int:
    """Return the reasoning tokens that were billed and did not come over the wire."""
    usage = record.usage
    if (
        usage is None
        or usage.completion_tokens is None
        or not usage.reasoning_tokens
        or record.reasoning_events
        or record.usage_contradicted
    ):
        return 0
    return usage.reasoning_tokens


def running_tokens(record: Record) -> array[int] | None:
    """Return the output tokens of each arrival, where a running usage says so credibly."""
    return None if record.usage_contradicted else record.tokens


def first_event_tokens(record: Record) -> tuple[int, bool]:
    """Return the tokens of the first token event, and whether that is an estimate.

    The running usage of the first event counts the reasoning that was thought before it, too.
    """
    tokens = running_tokens(record)
    if tokens:
        return max(tokens[0] - hidden_tokens(record), 1), False
    return 1, True


def streamed_tokens(record: Record) -> int | None:
    """Output tokens that came over the wire: reasoning that was only billed is taken off."""
    tokens = record.output_tokens
    return None if tokens is None else tokens - hidden_tokens(record)


def streaming(record: Record) -> tuple[int, int] | None:
    """Return the tokens after the first of each choice, and the time that they took, in ns.

    Of several choices both are sums over them, so that their ratio is that of one choice.

    Returns:
        `None` where there is nothing to divide, or no time between the first and the last.
    """
    tokens = streamed_tokens(record)
    if tokens is None or not record.first_token_ns:
        return None
    if record.lanes is None:
        after = tokens - first_event_tokens(record)[0]
        took_ns = record.last_token_ns - record.first_token_ns
    else:
        ends: dict[int, tuple[int, int]] = {}
        first = 0
        running = running_tokens(record)
        for place, lane in enumerate(record.lanes):
            if lane not in ends:
                first += max(running[place], 1) if running is not None else 1
            begin = ends[lane][0] if lane in ends else record.stamps[place]
            ends[lane] = (begin, record.stamps[place])
        after = tokens - first
        took_ns = sum(end - begin for begin, end in ends.values())
    return (after, took_ns) if after > 0 and took_ns > 0 else None


Ints = NDArray[np.int64]
BLOCK = 500_000
"""Arrivals handled at a time, so that a long level costs no second copy of itself."""
MOST_TOKENS = 1 << 31
"""More than any answer has."""


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """The arrivals of several streams, choice by choice, in order of time.

    Args:
        stamps: shape (n,), ns.
        events: shape (n,), token events of each.
        owner: shape (n,), which record.
        first: shape (n,), whether it is the first of its choice.
        starts: shape (g,), index of the first arrival of each choice.
        lengths: shape (g,), how many arrivals each choice has.
    """

    stamps: Ints
    events: Ints
    owner: Ints
    first: NDArray[np.bool_]
    starts: Ints
    lengths: Ints


def _column(values: Iterable[Sequence[int]]) -> Ints:
    parts = [np.asarray(value, dtype=np.int64) for value in values]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _arrivals(records: Sequence[Record]) -> _Arrivals:
    stamps = _column(record.stamps for record in records)
    sizes = np.array([len(record.stamps) for record in records], dtype=np.int64)
    owner = np.repeat(np.arange(len(records)), sizes)
    events = _column(
        record.events if record.events is not None else [1] * len(record.stamps)
        for record in records
    )
    group = owner
    if any(record.lanes is not None for record in records):
        lanes = _column(
            record.lanes if record.lanes is not None else [0] * len(record.stamps)
            for record in records
        )
        group = owner * (int(lanes.max(initial=0)) + 1) + lanes
        order = np.argsort(group, kind="stable")
        stamps, owner, events, group = stamps[order], owner[order], events[order], group[order]
    first = np.ones(len(stamps), dtype=bool)
    first[1:] = group[1:] != group[:-1]
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, len(stamps)))
    return _Arrivals(stamps, events, owner, first, starts, lengths)


def blocks(records: Iterable[Record], size: int = BLOCK) -> Iterator[list[Record]]:
    """Cut records into lists of about `size` arrivals."""
    block: list[Record] = []
    count = 0
    for record in records:
        block.append(record)
        count += len(record.stamps)
        if count >= size:
            yield block
            block, count = [], 0
    if block:
        yield block


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps between arrivals, all of shape (n,).

    Args:
        values: in ns.
        weights: how many samples each stands for.
        owner: index of the record of each.
        at: when it ended, in ns.
    """

    values: Ints
    weights: Ints
    owner: Ints
    at: Ints


def chunk_gaps(records: Sequence[Record]) -> tuple[Ints, Ints]:
    """Return the inter-chunk latencies: every gap between consecutive arrivals of a choice.

    Returns:
        the gaps in ns and the index of the record of each, both of shape (n,).
    """
    found = timed_chunk_gaps(records)
    return found.values, found.owner


def timed_chunk_gaps(records: Sequence[Record]) -> Gaps:
    """Return the inter-chunk latencies with when each ended; each counts once."""
    arrivals = _arrivals(records)
    later = np.flatnonzero(~arrivals.first)
    at = arrivals.stamps[later]
    values = at - arrivals.stamps[later - 1]
    return Gaps(values, np.ones(len(at), dtype=np.int64), arrivals.owner[later], at)


def is_estimated(record: Record) -> bool:
    """Whether the tokens of each arrival are estimated: the server gave no running usage."""
    return running_tokens(record) is None


def token_gaps(records: Sequence[Record]) -> tuple[Ints, Ints, Ints]:
    """Return the inter-token latencies: each gap shared out over the tokens that ended it.

    Where the server did not say how many tokens each arrival carried, those after the first
    arrival are spread over the later ones in proportion to their events, by rounding the running
    total down, so that no token is lost or made up and the last arrival has one where any has.
    Of the first arrival each event stands for one token. An arrival with no token hands its gap on.

    Returns:
        gaps in ns, how many tokens each stands for, and the index of the record of each.
    """
    found = timed_token_gaps(records)
    return found.values, found.weights, found.owner


def timed_token_gaps(records: Sequence[Record]) -> Gaps:
    """Return the inter-token latencies, as `token_gaps` does, with when each ended."""
    arrivals = _arrivals(records)
    stamps, owner = arrivals.stamps, arrivals.owner
    starts, lengths = arrivals.starts, arrivals.lengths
    start = np.repeat(starts, lengths)
    running = np.cumsum(arrivals.events)
    since_first = running - running[start]
    to_spread, after_first = _spread(arrivals, records, running)
    cumulative = np.repeat(to_spread, lengths) * since_first
    cumulative //= np.repeat(np.maximum(after_first, 1), lengths)
    spoken = [running_tokens(record) for record in records]
    known = [tokens is not None for tokens in spoken]
    if any(known):
        said = np.cumsum(
            _column(
                tokens if tokens is not None else [0] * len(record.stamps)
                for record, tokens in zip(records, spoken, strict=True)
            )
        )
        is_known = np.array(known)[owner]
        cumulative = np.where(is_known, said - said[start], cumulative)
    carried = np.zeros(len(stamps), dtype=np.int64)
    carried[1:] = cumulative[1:] - cumulative[:-1]
    kept = np.flatnonzero(arrivals.first | (carried > 0))
    later = np.flatnonzero(~arrivals.first[kept])
    at = stamps[kept[later]]
    gap = at - stamps[kept[later - 1]]
    weights = carried[kept[later]]
    return Gaps((gap + weights // 2) // weights, weights, owner[kept[later]], at)


def _spread(arrivals: _Arrivals, records: Sequence[Record], running: Ints) -> tuple[Ints, Ints]:
    """Return, per choice, the tokens and the events after its first arrival.

    The tokens of a record are shared out over its choices by their events, rounding the running
    total, since no server counts them apart.
    """
    starts = arrivals.starts
    if not len(starts):
        return starts, starts
    ends = running[starts + arrivals.lengths - 1]
    begins = np.append(0, ends[:-1])
    owner = arrivals.owner[starts]
    of_record = np.ones(len(starts), dtype=bool)
    of_record[1:] = owner[1:] != owner[:-1]
    base = np.maximum.accumulate(np.where(of_record, begins, 0))
    total = np.bincount(owner, weights=ends - begins, minlength=len(records)).astype(np.int64)
    # Whatever a server claims, products of it and the events stay within 63 bits.
    tokens = np.array(
        [min(max(streamed_tokens(record) or 0, 0), MOST_TOKENS) for record in records],
        dtype=np.int64,
    )[owner]
    total = total[owner]
    inside = tokens * (ends - base) // total - tokens * (begins - base) // total
    first = arrivals.events[starts]
    return np.maximum(inside - first, 0), ends - begins - first


def ttft_ns(record: Record) -> int | None:
    """Time to first token: `first_token − sent`."""
    return record.first_token_ns - record.sent_ns if record.first_token_ns else None


def ttft_from_schedule_ns(record: Record) -> int | None:
    """Time to first token from the planned instant, safe from coordinated omission."""
    return record.first_token_ns - record.scheduled_ns if record.first_token_ns else None


def ttfo_ns(record: Record) -> int | None:
    """Time to first output that is not reasoning."""
    return record.first_output_ns - record.sent_ns if record.first_output_ns else None


def first_byte_ns(record: Record) -> int | None:
    """Time to the first byte of the answer."""
    return record.first_byte_ns - record.sent_ns if record.first_byte_ns else None


def first_byte_from_schedule_ns(record: Record) -> int | None:
    """Time to the first byte from the planned instant, safe from coordinated omission."""
    return record.first_byte_ns - record.scheduled_ns if record.first_byte_ns else None


def end_ns(record: Record) -> int:
    """The last token; of a plain answer its end."""
    return record.last_token_ns if record.streamed else record.done_ns


def e2e_ns(record: Record) -> int | None:
    """End-to-end latency: `last_token − sent`; of a plain answer `done − sent`."""
    end = end_ns(record)
    return end - record.sent_ns if end and record.sent_ns else None


def mean_e2e_ns(records: Iterable[Record]) -> float:
    """Return the mean end-to-end latency of those requests that have one; 0 where none has."""
    count = total = 0
    for record in records:
        length = e2e_ns(record)
        if length is not None:
            count += 1
            total += length
    return total / count if count else 0.0


def e2e_from_schedule_ns(record: Record) -> int | None:
    """End-to-end latency from the planned instant."""
    end = end_ns(record)
    return end - record.scheduled_ns if end else None


def dispatch_lag_ns(record: Record) -> int | None:
    """How late the request left: `sent − scheduled`."""
    return record.sent_ns - record.scheduled_ns if record.sent_ns else None


def send_ns(record: Record) -> int | None:
    """Time until the socket had taken the request's last byte."""
    return record.send_end_ns - record.sent_ns if record.send_end_ns else None


def connect_ns(record: Record) -> int | None:
    """Time spent waiting for a new connection; `None` on an open one."""
    return record.connect_ns or None


def tpot_ns(record: Record) -> float | None:
    """Time per output token after the first, of one choice; `None` where there is none to divide.

    Where all tokens came in one read, no time lies between them: that is not 0 but unknown.
    """
    found = streaming(record)
    return None if found is None else found[1] / found[0]


PER_REQUEST = {
    "ttft": ttft_ns,
    "ttft_from_schedule": ttft_from_schedule_ns,
    "ttfo": ttfo_ns,
    "first_byte": first_byte_ns,
    "first_byte_from_schedule": first_byte_from_schedule_ns,
    "tpot": tpot_ns,
    "e2e": e2e_ns,
    "e2e_from_schedule": e2e_from_schedule_ns,
    "send": send_ns,
    "connect": connect_ns,
}
"""The latency figures that a request has one of."""

POOLED = tuple(one.key for one in LATENCIES.values() if one.pooled)
"""The latency figures that a request has many of."""

METRICS = (*PER_REQUEST, *POOLED, "dispatch_lag")
"""Every latency figure."""


def own_p99_ns(record: Record, metric: str) -> int | None:
    """Return the p99 of the request's own gaps, for an SLO on `icl` or `itl`."""
    if metric == "icl":
        gaps, _ = chunk_gaps([record])
        return nearest_rank(np.sort(gaps), 0.99) if len(gaps) else None
    gaps, weights, _ = token_gaps([record])
    if not len(gaps):
        return None
    order = np.argsort(gaps)
    return nearest_rank(np.repeat(gaps[order], weights[order]), 0.99)


def slo_value_ns(record: Record, metric: str) -> float | None:
    """Return the figure that an SLO holds; `None`: the request has none."""
    if metric in POOLED:
        return own_p99_ns(record, metric)
    return PER_REQUEST[metric](record)


def has_figure(record: Record, metric: str) -> bool:
    """Whether a request has the figure that an SLO holds."""
    return slo_value_ns(record, metric) is not None


def is_good(record: Record, slos: Iterable[Slo]) -> bool:
    """Whether a request is `ok` and meets every SLO on a figure that it has."""
    if record.outcome is not Outcome.OK:
        return False
    for slo in slos:
        value = slo_value_ns(record, slo.metric)
        if value is not None and value > slo.limit_ns:
            return False
    return True
