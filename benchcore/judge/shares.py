"""Shares: what is known of a share that should reach a target, at one level or several."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np

from benchcore.metrics.scores import incomplete_beta, student_tail

_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Share:
    """How much of what an objective is judged by kept within its limit, in one visit of a level.

    Args:
        count: of requests, or of gaps between tokens.
        within: how many of them kept within the limit.
        effective: as many independent ones as tell as much.
        freedom: degrees of freedom of what they vary by; infinite: taken as independent.
    """

    count: int
    within: int
    effective: float
    freedom: float = math.inf

    @property
    def share(self) -> float | None:
        """The share; `None`: there was nothing to judge."""
        return self.within / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the isotonic model of an objective tells of a level.

    Levels that stand in the wrong order by chance are one block of the model. A level that misses
    its target has none above it that meets it, so that those of its block speak for it as well; and
    one that meets it has none below that misses it.

    Args:
        own: what its own visits tell.
        above: with those of the levels above it in its block.
        below: with those of the levels below it in its block.
    """

    own: Share
    above: Share
    below: Share


def evidence_of(by_level: Mapping[float, Sequence[Share]]) -> dict[float, Evidence]:
    """Return what is told of each level.

    Args:
        by_level: the shares of its visits, the lowest level first.
    """
    levels = list(by_level)
    own = [pooled(by_level[level]) for level in levels]
    known = [place for place, share in enumerate(own) if share.share is not None]
    found = {level: Evidence(share, share, share) for level, share in zip(levels, own, strict=True)}
    blocks = isotonic(
        [own[place].share or 0.0 for place in known], [own[place].effective for place in known]
    )
    for begin, end, _ in blocks:
        block = known[begin:end]
        for at, place in enumerate(block):
            found[levels[place]] = Evidence(
                own[place],
                pooled([own[other] for other in block[at:]]),
                pooled([own[other] for other in block[: at + 1]]),
            )
    return found


def better_p(share: Share, target: float) -> float:
    """Return how likely a share comes to so much by chance where the truth is just its target.

    The binomial tail of as many independent values (Clopper and Pearson 1934), of which the value
    itself counts half (mid-P; Lancaster 1961), with Student's t for what is lost by estimating
    their number.
    """
    return _by_student(1 - _up_to(share, target) if share.count else 1.0, share.freedom)


def worse_p(share: Share, target: float) -> float:
    """Return how likely a share comes to so little by chance; see `better_p`."""
    return _by_student(_up_to(share, target) if share.count else 1.0, share.freedom)


def _up_to(share: Share, target: float) -> float:
    """Return P(X < x) + P(X = x)/2 of the values within, where `target` of them should be."""
    n = share.effective
    x = n * share.within / share.count

    def up_to(count: float) -> float:
        """P(X ≤ count), by the incomplete beta function, which needs no whole numbers."""
        if count >= n or count <= -1:
            return float(count >= n)
        return incomplete_beta(1 - target, n - count, count + 1)

    return (up_to(x) + up_to(x - 1)) / 2


def interval(share: Share, error: float) -> tuple[float, float] | None:
    """Return the shares that a share does not speak against, at an error on either side.

    `None`: there was nothing to judge.
    """
    if not share.count:
        return None

    def edge(reads: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if reads(middle) else (low, middle)
        return low

    return (
        edge(lambda target: better_p(share, target) < error),
        edge(lambda target: worse_p(share, target) >= error),
    )


def _by_student(p: float, freedom: float) -> float:
    if math.isinf(freedom) or not 1e-300 < p < 1:
        return p
    return student_tail(-_NORMAL.inv_cdf(p), freedom)


@lru_cache(maxsize=64)
def look_error(error: float, looks: int) -> float:
    """Return the error of each look that makes the error of all of them together.

    The constant boundary of Pocock (1977) for looks of equal size, by recursive integration
    (Armitage, McPherson and Rowe 1969; Jennison and Turnbull 2000, "Group sequential methods",
    section 19.2).

    Args:
        error: of all looks together, one-sided.
        looks: how many, at most.
    """
    if looks == 1:
        return error
    # Midpoints of what is left below the boundary, which is the end of the last piece.
    step = 0.05
    depths = step * (np.arange(round(9 * math.sqrt(looks) / step)) + 0.5)

    def spent(z: float) -> float:
        grid = z - depths
        density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
        total = 1 - _NORMAL.cdf(z)
        for look in range(2, looks + 1):
            bound = z * math.sqrt(look)
            beyond = np.array([_NORMAL.cdf(at - bound) for at in grid.tolist()])
            total += float(density @ beyond) * step
            further = bound - depths
            kernel = np.exp(-0.5 * (further[:, None] - grid[None, :]) ** 2)
            density = kernel @ density * (step / math.sqrt(2 * math.pi))
            grid = further
        return total

    low, high = _NORMAL.inv_cdf(1 - error), _NORMAL.inv_cdf(1 - error / looks)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) < error else (middle, high)
    return 1 - _NORMAL.cdf(high)


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[tuple[int, int, float]]:
    """Return the closest values that never rise (pool adjacent violators; Ayer et al. 1955).

    Args:
        values: by level, the lowest first.
        weights: above 0, how much each counts.

    Returns:
        blocks of levels that share a value: the first, the one after the last, and the value.
    """
    blocks: list[tuple[int, int, float]] = []
    for place, value in enumerate(values):
        blocks.append((place, place + 1, value))
        while len(blocks) > 1 and blocks[-2][2] <= blocks[-1][2]:
            (begin, middle, before), (_, end, last) = blocks[-2:]
            one, other = sum(weights[begin:middle]), sum(weights[middle:end])
            blocks[-2:] = [(begin, end, (before * one + last * other) / (one + other))]
    return blocks


def pooled(shares: Sequence[Share]) -> Share:
    """Return what several visits of a level tell together."""
    return Share(
        sum(one.count for one in shares),
        sum(one.within for one in shares),
        sum(one.effective for one in shares),
        sum(one.freedom for one in shares),
    )
