"""Fidelity: how far a replay is from its source, and a prefix cache from a perfect one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from benchcore.base.stored import Number, Stored
from benchcore.client.records import Outcome, Record


class PrefixCache(Stored):
    """How much of the prompts came from a prefix cache, as shares of their tokens."""

    SPARSE = frozenset({"lower_bound", "block_tokens"})

    ideal: Number | None
    """What a cache without end would have held; `None`: nothing was asked."""
    reported: Number | None
    """What the server says that it took from its own; `None`: it does not say."""
    lower_bound: bool | None = None
    """There were too many different blocks to remember: the ideal is more than this."""
    block_tokens: int | None = None
    """The ideal is in whole blocks of so many tokens, the server's; `None`: it does not say."""


class Fidelity(Stored):
    """Distances of Kolmogorov and Smirnov between a replay and its trace, from 0 to 1.

    Lengths are what was billed against what the trace has; gaps are those between the beginnings of
    sessions, in whole milliseconds, as they were sent against as they were due. `None`: it cannot
    be told, as of under 20 gaps.
    """

    input_tokens: Number | None
    output_tokens: Number | None
    gaps: Number | None


def ks_distance(first: ArrayLike, other: ArrayLike) -> float | None:
    """Return the largest difference between two empirical distribution functions.

    Kolmogorov (1933) and Smirnov (1939), of two samples.

    Args:
        first: shape (n,).
        other: shape (m,).

    Returns:
        0 to 1; `None` where one of them is empty.
    """
    a, b = np.sort(np.asarray(first, float)), np.sort(np.asarray(other, float))
    if not len(a) or not len(b):
        return None
    both = np.concatenate([a, b])
    below_a = np.searchsorted(a, both, side="right") / len(a)
    below_b = np.searchsorted(b, both, side="right") / len(b)
    return float(np.abs(below_a - below_b).max())


def fidelity(measured: Iterable[Record]) -> Fidelity:
    """Return how far a replay is from its trace.

    Args:
        measured: the requests of a level; gone through once.
    """
    pairs: dict[str, tuple[list[int], list[int]]] = {"input": ([], []), "output": ([], [])}
    due: list[int] = []
    sent: list[int] = []
    for record in measured:
        if record.turn == 1 and record.sent_ns:
            due.append(record.scheduled_ns)
            sent.append(record.sent_ns)
        if record.outcome is not Outcome.OK:
            continue
        usage = record.usage
        for name, asked, billed in (
            ("input", record.asked_input_tokens, None if usage is None else usage.prompt_tokens),
            ("output", record.asked_output_tokens, record.output_tokens),
        ):
            if asked is not None and billed is not None:
                pairs[name][0].append(asked)
                pairs[name][1].append(billed)
    return Fidelity.complete(
        input_tokens=ks_distance(*pairs["input"]),
        output_tokens=ks_distance(*pairs["output"]),
        gaps=_gaps(due, sent),
    )


FEWEST_GAPS = 20
"""Of fewer, a single one that is some microseconds off is a distance that says nothing."""


def _gaps(due: Sequence[int], sent: Sequence[int]) -> float | None:
    if len(due) <= FEWEST_GAPS:
        return None
    # What a trace has in whole milliseconds comes some microseconds late: without rounding each of
    # many equal gaps would be another.
    gaps = [np.round(np.diff(np.sort(np.asarray(some))) / 1e6) for some in (due, sent)]
    return ks_distance(*gaps)
