"""Pieces: whether streams arrive as they are made, or in lumps that something let go at once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from benchcore.client.records import Record

FEWEST_EVENTS: Final = 8
"""Streams with fewer token events of a choice do not tell."""
LUMP: Final = 4.0
"""Token events in a piece, from which on a stream is taken as buffered."""
PAUSE: Final = 0.5
"""A piece ends where the next event takes longer than this share of the mean time of one."""
MOST_LAG: Final = 0.1
"""A read later than this share of the mean time of an event may have merged what it read."""


@dataclass(frozen=True, slots=True)
class Buffering:
    """How buffered streams arrive.

    Args:
        pieces: of the median stream.
        events: token events of it.
        streams: how many tell.
    """

    pieces: float
    events: float
    streams: int

    def __str__(self) -> str:
        """Return it as a finding, with what follows."""
        pieces = f"{self.pieces:.0f} piece{'' if round(self.pieces) == 1 else 's'}"
        what = (
            "there is no time between tokens"
            if round(self.pieces) == 1
            else "ITL and TPOT are those of the pieces"
        )
        return (
            f"buffered: answers arrive in {pieces}: something between buffers (a proxy, or the "
            f"server itself; an answer has {self.events:.0f} events). TTFT is when the first piece "
            f"was let go and {what}; e2e and throughput stand"
        )


def pieces_of(record: Record) -> tuple[int, int, float] | None:
    """Return the pieces that a stream came in, its token events and the mean time of one, in ns.

    Of several choices those of the first to come. `None` where there are too few events.
    """
    if not record.streamed or not record.first_token_ns:
        return None
    stamps = np.frombuffer(record.stamps, dtype=np.int64)
    events = (
        np.ones(len(stamps), dtype=np.int64)
        if record.events is None
        else np.frombuffer(record.events, dtype=np.int64)
    )
    if record.lanes is not None:
        lanes = np.frombuffer(record.lanes, dtype=np.int64)
        kept = lanes == lanes[0]
        stamps, events = stamps[kept], events[kept]
    count = int(events.sum())
    if count < FEWEST_EVENTS:
        return None
    span_ns = int(stamps[-1] - stamps[0])
    if span_ns <= 0:
        # All at once: what is known is that they were made since the request was sent.
        return 1, count, (int(stamps[-1]) - record.sent_ns) / count
    mean_ns = span_ns / (count - 1)
    return 1 + int(np.count_nonzero(np.diff(stamps) > PAUSE * mean_ns)), count, mean_ns


def buffering(records: Iterable[Record], lag_ns: float | None) -> Buffering | None:
    """Return how streams arrive, where something buffers them on the way.

    A client that stalls merges reads too; but then it reads late, by a good part of the time that
    a token takes, and by the median as well.

    Args:
        records: `ok` requests.
        lag_ns: median time from an arrival to its read; `None`: unknown.
    """
    numbers, counts, means_ns = array("q"), array("q"), array("d")
    requests = 0
    for record in records:
        requests += 1
        found = pieces_of(record)
        if found is not None:
            numbers.append(found[0])
            counts.append(found[1])
            means_ns.append(found[2])
    if not numbers or 2 * len(numbers) < requests:
        return None
    pieces, events, mean_ns = (_median(column) for column in (numbers, counts, means_ns))
    lumps = _median(np.asarray(counts) / np.asarray(numbers))
    if lumps < LUMP or (lag_ns is not None and lag_ns > MOST_LAG * mean_ns):
        return None
    return Buffering(pieces, events, len(numbers))


def _median(values: ArrayLike) -> float:
    """Return the median; NumPy's own imports masked arrays at its first call."""
    ordered = np.sort(values)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)
