"""Against: which part of a request's time has changed from one run to another.

Of the typical requests (the middle half) and of the slowest hundredth, the means of the parts are
held against those of the other run, so that the changes of the parts add up to that of the whole.
Intervals are by the bootstrap over whole seconds of each run; a change is named where its interval
does not hold 0, and it is felt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.judge.parts import (
    FEWEST,
    FEWEST_SLOW,
    NETWORK,
    PARTS,
    PREFILL,
    QUEUE,
    READER,
    RESIDUAL,
    SERVER,
    WAIT,
    Parts,
    TimePart,
    Until,
    middle_of,
    parts,
    slowest_of,
)
from benchcore.runs.reading import Requests

Floats = NDArray[np.float64]

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

    part: TimePart
    before: float
    now: float
    interval: tuple[float, float]
    is_named: bool

    @property
    def change(self) -> float:
        """How much longer it has become."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class TimeDifference:
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
) -> tuple[TimeDifference, ...] | None:
    """Return how the time of typical and of the slowest requests has changed.

    Args:
        before: of the level in the other run.
        now: of the same level in this one.
        until: up to where the time is looked at.

    Returns:
        `None` where either has fewer than `FEWEST` requests with this latency.
    """
    runs = (before, now)
    spent = [parts(requests, until) for requests in runs]
    if min(map(len, spent)) < FEWEST:
        return None
    sides = _alike(spent)
    for side, requests, told in zip(sides, runs, spent, strict=True):
        side.second = np.floor(requests.second("scheduled_seconds")[told.rows]).astype(np.int64)
    return tuple(_difference(sides, until, of) for of in _GROUPS)


@dataclass(slots=True)
class _Side:
    """The requests of one run.

    Args:
        total: shape (n,), in seconds.
        parts: by part, shape (n,); they add up to `total`.
        second: shape (n,), of the level in which each was due.
    """

    total: Floats
    parts: dict[TimePart, Floats]
    second: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


_GROUPS: Final = {"typical": middle_of, "slowest": slowest_of}


def _difference(sides: Sequence[_Side], until: Until, of: str) -> TimeDifference:
    chosen = [_GROUPS[of](side.total) for side in sides]
    before, now = (
        {part: float(values[rows].mean()) for part, values in side.parts.items()}
        for side, rows in zip(sides, chosen, strict=True)
    )
    whole = [float(side.total[rows].mean()) for side, rows in zip(sides, chosen, strict=True)]
    intervals = _intervals(sides, chosen)
    return TimeDifference(
        until,
        of,
        whole[0],
        whole[1],
        tuple(
            PartChange(
                part,
                before[part],
                now[part],
                intervals[part],
                _is_reason(now[part] - before[part], intervals[part], whole),
            )
            for part in before
        ),
    )


def _is_reason(change: float, interval: tuple[float, float], whole: list[float]) -> bool:
    """Return whether a part has changed by more than chance, and the way that the whole has.

    Where other requests are the slowest now, what the former ones were slow in has become less.
    """
    low, high = interval
    before, now = whole
    return (low > 0 or high < 0) and abs(change) > _FELT * before and change * (now - before) > 0


def _alike(spent: Sequence[Parts]) -> list[_Side]:
    """Return the requests of both runs, their time told apart no further than in either of them.

    What one run does not tell at all is no time of 0: an older one has neither the network's, which
    is then in what was waited for the server, nor that of the reader, which lies behind the rest.
    """
    sides = [
        _Side(
            told.total,
            {part: np.nan_to_num(told.of[part]) for part in PARTS if part in told.how},
        )
        for told in spent
    ]
    if any(WAIT in side.parts for side in sides):
        for side in sides:
            told = [side.parts.pop(part) for part in (QUEUE, PREFILL, WAIT) if part in side.parts]
            side.parts[WAIT] = np.sum(told, axis=0)
    if not all(READER in side.parts for side in sides):
        for side in sides:
            side.total = side.total - side.parts.pop(READER, 0.0)
    if not all(NETWORK in side.parts for side in sides):
        into = next(
            part for part in (WAIT, SERVER, RESIDUAL) if all(part in side.parts for side in sides)
        )
        for side in sides:
            side.parts[into] = side.parts[into] + side.parts.pop(NETWORK, 0.0)
    # Of what is left, what is missing did not happen: no request waited for a connection, say.
    known = [part for part in PARTS if any(part in side.parts for side in sides)]
    for side in sides:
        side.parts = {part: side.parts.get(part, np.zeros(len(side.total))) for part in known}
    return sides


def _intervals(
    sides: Sequence[_Side], chosen: Sequence[NDArray[np.int64]]
) -> dict[TimePart, tuple[float, float]]:
    """Return the intervals of the changes of all parts."""
    draw = np.random.default_rng(len(chosen[0]) + len(chosen[1]))
    names = list(sides[0].parts)
    drawn = []
    for side, rows in zip(sides, chosen, strict=True):
        values = np.stack([side.parts[part][rows] for part in names])
        clusters, place = np.unique(side.second[rows], return_inverse=True)
        if len(clusters) < FEWEST_SLOW:
            place = np.arange(len(rows))
        count = int(place.max()) + 1
        sums = np.stack([np.bincount(place, weights=row, minlength=count) for row in values])
        sizes = np.bincount(place, minlength=count)
        weights = draw.multinomial(count, np.full(count, 1 / count), size=_DRAWS)
        drawn.append((weights @ sums.T) / (weights @ sizes)[:, None])
    low, high = np.percentile(drawn[1] - drawn[0], [2.5, 97.5], axis=0)
    return {part: (float(low[at]), float(high[at])) for at, part in enumerate(names)}
