"""Gaps: the times between arrivals of a stream, per chunk and shared out per token."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import Record
from benchcore.metrics.tokens import running_tokens, streamed_tokens

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
