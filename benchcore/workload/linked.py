"""Linked: which rows of a trace belong together, in a few bytes a row."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchcore.workload.files import Row
from benchcore.workload.trace_rows import Asked

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NOBODY: Final = -(1 << 63)
"""The key of no name."""
_PLAIN: Final = 1 << 62


def key_of(name: Any) -> int:
    """Return a name as a number of 64 bits: numbers as they are, all else by its hash.

    Two of a million names have the same hash with a probability of 3 in a hundred million.
    """
    if name is None:
        return NOBODY
    if type(name) is int:
        # The hash of a large number is that of a small one, too.
        return name if -_PLAIN < name < _PLAIN else hash(str(name))
    return hash(name)


def first_of_each(keys: Integers) -> Integers:
    """Return for each place the first place that has the same key."""
    order = np.argsort(keys, kind="stable")
    begins = _begins(keys[order])
    counts = np.diff(begins, append=len(order))
    found = np.empty_like(order)
    found[order] = np.repeat(order[begins], counts)
    return found


def _begins(ordered: Integers) -> Integers:
    """Return where runs of equal numbers begin."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def places_of(wanted: Integers, names: Integers, *, before: bool) -> Integers:
    """Return where names are: the last place of each; where there is none, the one who looks.

    Args:
        wanted: shape (n,), keys that are looked for, `NOBODY` for none.
        names: shape (n,), the key of each place, `NOBODY` where it has none.
        before: the place must lie before that of the one who looks.
    """
    count = len(names)
    found = np.arange(count)
    order = np.argsort(names, kind="stable")
    ordered = names[order]
    asking = np.flatnonzero(wanted != NOBODY)
    rank = np.searchsorted(ordered, wanted[asking])
    known = rank < count
    known[known] = ordered[rank[known]] == wanted[asking[known]]
    asking, rank = asking[known], rank[known]
    # A name's number and a place as one number: names in order, the places of each in order.
    begins = _begins(ordered)
    del ordered, known
    pairs = np.repeat(np.arange(len(begins)) * count, np.diff(begins, append=count))
    code = pairs[rank]
    pairs += order
    rank = np.searchsorted(pairs, code + (asking if before else count)) - 1
    has = (rank >= 0) & (pairs[rank] >= code)
    found[asking[has]] = order[rank[has]]
    return found


def topmost(above: Integers) -> Integers:
    """Return for each place where one comes who goes up until nothing is above.

    Args:
        above: shape (n,), what is above each place; itself where nothing is. What goes round in a
            circle ends somewhere in it.
    """
    for _ in range(max(len(above), 1).bit_length() + 1):
        higher = above[above]
        if np.array_equal(higher, above):
            break
        above = higher
    return above


@dataclass(frozen=True, slots=True)
class Linked:
    """The requests of a trace by sessions.

    Args:
        at: shape (n,), seconds from the first request of the trace.
        session: shape (n,), the same number for all requests of a session; those of smaller numbers
            come first where sessions begin at the same time.
        asked: returns requests of one session: told all of them, and which of those are wanted.
    """

    at: Floats
    session: Integers
    asked: Callable[[Sequence[int], Sequence[int]], list[Asked]]

    def sessions(self, start: float, stop: float) -> Iterator[tuple[list[int], list[int], int]]:
        """Yield the sessions of a window by their times in it.

        Yields:
            all requests of a session in order, those inside the window, and the last one before it
            (-1: there is none).
        """
        order = np.argsort(self.session, kind="stable").astype(np.int32)
        at_ordered = self.at[order]
        numbers = self.session[order]
        begins = np.flatnonzero(np.diff(numbers, prepend=-1)).astype(np.int32)
        del numbers
        ends = np.append(begins[1:], len(order)).astype(np.int32)
        at_ordered[(at_ordered < start) | (at_ordered >= stop)] = np.inf
        first = np.minimum.reduceat(at_ordered, begins)
        del at_ordered
        by_time = np.argsort(first, kind="stable").astype(np.int32)
        by_time = by_time[np.isfinite(first[by_time])]
        del first
        for number in by_time:
            every = order[begins[number] : ends[number]]
            rows = every.tolist()
            times = self.at[every].tolist()
            within = [row for row, at in zip(rows, times, strict=True) if start <= at < stop]
            earlier = [(at, -place) for place, at in enumerate(times) if at < start]
            yield rows, within, rows[-max(earlier)[1]] if earlier else -1


def of_groups(groups: Sequence[Sequence[Asked]]) -> Linked:
    """Return sessions that are in memory, one request at least in each."""
    flat = [one for group in groups for one in group]
    return Linked(
        np.array([one.at for one in flat]),
        np.repeat(np.arange(len(groups)), [len(group) for group in groups]),
        lambda _session, wanted: [flat[place] for place in wanted],
    )


@dataclass(slots=True)
class RowIndex:
    """Where the rows of a trace stand, and which belong together.

    Args:
        at: shape (n,), seconds from the first.
        session: see `Linked`.
        line: shape (n,), the line of each row.
        begin: shape (n,), its first byte; see `Row`.
        size: shape (n,), how many bytes it has.
        source: what was read; another file has another index.
        dropped: how many rows could not be used.
        faults: why, of the first of them.
    """

    at: Floats
    session: Integers
    line: NDArray[np.int32]
    begin: Integers
    size: NDArray[np.int32]
    source: tuple[Any, ...] | None
    dropped: int = 0
    faults: list[str] = field(default_factory=list)


class RowColumns:
    """Takes what is kept of the rows of a trace, one after the other."""

    def __init__(self) -> None:
        self._at = array("d")
        self._names = array("q")
        self._parents = array("q")
        self._lines = array("i")
        self._begins = array("q")
        self._sizes = array("i")

    def __len__(self) -> int:
        return len(self._at)

    def add(self, one: Asked, row: Row) -> None:
        """Take what a row asks."""
        self._at.append(one.at)
        self._names.append(key_of(one.name))
        self._parents.append(key_of(one.after[0]) if one.after else NOBODY)
        self._lines.append(row.line)
        self._begins.append(row.begin)
        self._sizes.append(row.size)

    def index(self, *, sort: bool, source: tuple[Any, ...] | None) -> RowIndex:
        """Return the index, and keep nothing of it.

        A row belongs to the session of the last one before it that it names.

        Args:
            sort: by time first.
            source: see `RowIndex`.
        """
        at = np.frombuffer(self._at)
        names, parents, begins = (
            np.frombuffer(one, dtype=np.int64) for one in (self._names, self._parents, self._begins)
        )
        lines, sizes = (np.frombuffer(one, dtype=np.int32) for one in (self._lines, self._sizes))
        self._at = array("d")
        self._names = self._parents = self._begins = self._lines = self._sizes = array("q")
        if sort:
            # One after the other: each column goes when its copy is there.
            order = np.argsort(at, kind="stable")
            at = at[order]
            names = names[order]
            parents = parents[order]
            lines = lines[order]
            begins = begins[order]
            sizes = sizes[order]
            del order
        above = places_of(parents, names, before=True)
        del names, parents
        return RowIndex(at - at[0], topmost(above), lines, begins, sizes, source)
