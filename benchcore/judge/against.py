"""Against: which part of a request's time has changed from one run to another.

Of the typical requests (the middle half) and of the slowest hundredth, the means of the parts are
held against those of the other run, so that the changes of the parts add up to that of the whole.
Intervals are by the bootstrap over whole seconds of each run; a change is named where its interval
does not hold 0, and it is felt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.judge.explain import FEWEST, SLOWEST
from benchcore.judge.parts import PARTS, PREFILL, QUEUE, WAIT, Part, Parts, Until, parts
from benchcore.runs.reading import Requests

Floats = NDArray[np.float64]

_FEWEST_SLOW: Final = 5
_FELT: Final = 0.05
"""Of the whole, as it was before: a smaller change of a part is not felt."""
_DRAWS: Final = 400


@dataclass(frozen=True, slots=True)
class PartChange:
    """How a part of the time has changed, in seconds.

    Args:
        part: which.
        before: its mean in the other run.
        now: its mean in this one.
        interval: of the change, at 95 %.
        is_named: whether it is given as a reason.
    """

    part: Part
    before: float
    now: float
    interval: tuple[float, float]
    is_named: bool

    @property
    def change(self) -> float:
        """How much longer it has become."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class Difference:
    """How the time of some requests has changed, in seconds.

    Args:
        until: up to where it was looked at.
        of: which requests: `typical` or `slowest`.
        before: their mean in the other run.
        now: their mean in this one.
        parts: in the order in which a request passes through them; their changes add up.
    """

    until: Until
    of: str
    before: float
    now: float
    parts: tuple[PartChange, ...]

    @property
    def named(self) -> tuple[PartChange, ...]:
        """The parts that are given as reasons, the largest change first."""
        reasons = [part for part in self.parts if part.is_named]
        return tuple(sorted(reasons, key=lambda part: -abs(part.change)))


def differences(
    before: Requests, now: Requests, until: Until = Until.END
) -> tuple[Difference, ...] | None:
    """Return how the time of typical and of the slowest requests has changed.

    Args:
        before: of the level in the other run.
        now: of the same level in this one.
        until: up to where the time is looked at.

    Returns:
        `None` where either has fewer than `FEWEST` requests with this latency.
    """
    sides = [parts(one, until) for one in (before, now)]
    if min(map(len, sides)) < FEWEST:
        return None
    tables = _alike(*sides)
    seconds = [
        np.floor(one.second("scheduled_seconds")[side.rows]).astype(np.int64)
        for one, side in zip((before, now), sides, strict=True)
    ]
    found = []
    for of in ("typical", "slowest"):
        chosen = [_chosen(side.total, of) for side in sides]
        means = [
            {part: float(table[part][rows].mean()) for part in table}
            for table, rows in zip(tables, chosen, strict=True)
        ]
        whole = [float(side.total[rows].mean()) for side, rows in zip(sides, chosen, strict=True)]
        intervals = _intervals(tables, chosen, seconds)
        found.append(
            Difference(
                until,
                of,
                whole[0],
                whole[1],
                tuple(
                    PartChange(
                        part,
                        means[0][part],
                        means[1][part],
                        intervals[part],
                        _is_reason(means[1][part] - means[0][part], intervals[part], whole),
                    )
                    for part in tables[0]
                ),
            )
        )
    return tuple(found)


def _is_reason(change: float, interval: tuple[float, float], whole: list[float]) -> bool:
    """Return whether a part has changed by more than chance, and the way that the whole has.

    Where other requests are the slowest now, what the former ones were slow in has become less.
    """
    low, high = interval
    before, now = whole
    return (low > 0 or high < 0) and abs(change) > _FELT * before and change * (now - before) > 0


def _alike(*sides: Parts) -> list[dict[Part, Floats]]:
    """Return the parts of both runs, told apart no further than in either of them."""
    tables = [
        {part: np.nan_to_num(side.of[part]) for part in PARTS if part in side.how} for side in sides
    ]
    if any(WAIT in side.how for side in sides):
        for table in tables:
            told = [table.pop(part) for part in (QUEUE, PREFILL, WAIT) if part in table]
            table[WAIT] = np.sum(told, axis=0)
    known = [part for part in PARTS if any(part in table for table in tables)]
    return [
        {part: table.get(part, np.zeros(len(side))) for part in known}
        for table, side in zip(tables, sides, strict=True)
    ]


def _chosen(total: Floats, of: str) -> NDArray[np.int64]:
    """Return the places of the typical requests, or of the slowest."""
    order = np.argsort(total, kind="stable")
    count = len(total)
    if of == "typical":
        return order[count // 4 : count - count // 4]
    return order[-max(math.ceil(count * SLOWEST), _FEWEST_SLOW) :]


def _intervals(
    tables: list[dict[Part, Floats]],
    chosen: list[NDArray[np.int64]],
    seconds: list[NDArray[np.int64]],
) -> dict[Part, tuple[float, float]]:
    """Return the intervals of the changes of all parts."""
    draw = np.random.default_rng(len(chosen[0]) + len(chosen[1]))
    names = list(tables[0])
    drawn = []
    for table, rows, second in zip(tables, chosen, seconds, strict=True):
        values = np.stack([table[part][rows] for part in names])
        clusters, place = np.unique(second[rows], return_inverse=True)
        if len(clusters) < _FEWEST_SLOW:
            place = np.arange(len(rows))
        count = int(place.max()) + 1
        sums = np.stack([np.bincount(place, weights=row, minlength=count) for row in values])
        sizes = np.bincount(place, minlength=count)
        weights = draw.multinomial(count, np.full(count, 1 / count), size=_DRAWS)
        drawn.append((weights @ sums.T) / (weights @ sizes)[:, None])
    low, high = np.percentile(drawn[1] - drawn[0], [2.5, 97.5], axis=0)
    return {part: (float(low[at]), float(high[at])) for at, part in enumerate(names)}
