"""Gaps: the times between arrivals of a stream, per chunk and shared out per token."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import Record
from benchcore.metrics.tokens import streamed_tokens

Ints = NDArray[np.int64]
BLOCK = 500_000
"""Arrivals handled at a time, so that a long level costs no second copy of itself."""


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """The arrivals of several streams, choice by choice, in order of time.

    Args:
        stamps: shape (n,), ns.
        events: shape (n,), token events of each.
        owner: shape (n,), which record.
        first: shape (n,), whether it is the first of its choice.
        start: shape (n,), index of the first arrival of the same choice.
        end: shape (n,), index of the last arrival of the same choice.
    """

    stamps: Ints
    events: Ints
    owner: Ints
    first: NDArray[np.bool_]
    start: Ints
    end: Ints


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
    return _Arrivals(
        stamps,
        events,
        owner,
        first,
        np.repeat(starts, lengths),
        np.repeat(starts + lengths - 1, lengths),
    )


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


def chunk_gaps(records: Sequence[Record]) -> tuple[Ints, Ints]:
    """Return the inter-chunk latencies: every gap between consecutive arrivals of a choice.

    Returns:
        the gaps in ns and the index of the record of each, both of shape (n,).
    """
    arrivals = _arrivals(records)
    later = np.flatnonzero(~arrivals.first)
    return arrivals.stamps[later] - arrivals.stamps[later - 1], arrivals.owner[later]


def is_estimated(record: Record) -> bool:
    """Whether the tokens of each arrival are estimated: the server gave no running usage."""
    return record.tokens is None


def token_gaps(records: Sequence[Record]) -> tuple[Ints, Ints, Ints]:
    """Return the inter-token latencies: each gap shared out over the tokens that ended it.

    Where the server did not say how many tokens each arrival carried, those after the first
    arrival are spread over the later ones in proportion to their events, by rounding the running
    total, so that no token is lost or made up. An arrival with no token hands its gap on.

    Returns:
        gaps in ns, how many tokens each stands for, and the index of the record of each.
    """
    arrivals = _arrivals(records)
    stamps, owner, start, end = arrivals.stamps, arrivals.owner, arrivals.start, arrivals.end
    running = np.cumsum(arrivals.events)
    since_first = running - running[start]
    after_first = since_first[end]
    # How many tokens one event of each record stands for.
    totals = np.bincount(owner, weights=arrivals.events, minlength=len(records))
    tokens = np.array([streamed_tokens(record) or 0 for record in records], dtype=np.float64)
    per_event = np.divide(tokens, totals, out=np.zeros_like(tokens), where=totals > 0)
    in_group = (running[end] - running[start] + arrivals.events[start]) * per_event[owner]
    to_spread = np.maximum(in_group - arrivals.events[start], 0.0)
    share = np.divide(since_first, after_first, out=np.zeros(len(stamps)), where=after_first > 0)
    cumulative = np.floor(to_spread * share + 0.5).astype(np.int64)
    known = [record.tokens is not None for record in records]
    if any(known):
        said = np.cumsum(
            _column(
                record.tokens if record.tokens is not None else [0] * len(record.stamps)
                for record in records
            )
        )
        is_known = np.array(known)[owner]
        cumulative = np.where(is_known, said - said[start], cumulative)
    carried = np.zeros(len(stamps), dtype=np.int64)
    carried[1:] = cumulative[1:] - cumulative[:-1]
    carried[arrivals.first] = 0
    kept = np.flatnonzero(arrivals.first | (carried > 0))
    later = np.flatnonzero(~arrivals.first[kept])
    gap = stamps[kept[later]] - stamps[kept[later - 1]]
    weights = carried[kept[later]]
    return (gap + weights // 2) // weights, weights, owner[kept[later]]
