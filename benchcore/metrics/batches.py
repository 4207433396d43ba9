"""Batches: how well a figure is known where requests that follow one another resemble one another.

Requests of one batch of a server share its steps, and a server that is slow now is slow for the
next ones too. What a window tells is therefore judged by stretches of time and not by requests: the
window is cut into batches of equal length, and what they vary by is what the whole varies by (batch
means; Conway 1963; Schmeiser 1982, "Batch size effects in the analysis of simulation output").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.metrics.scores import student_t

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST: Final = 20
"""Batches of a window: with more of them each is shorter than what it should average over."""
FEWEST: Final = 8
"""With fewer their variance is hardly known: requests are then taken as independent."""
REQUESTS_LONG: Final = 2.0
"""A batch is at least this many mean end-to-end latencies long."""
FEWEST_VALUES: Final = 10
"""Values that a batch has in the mean, at least."""
IGNORED: Final = 0.15
"""A correlation of neighbouring batches below this is taken as none."""
CARRIED: Final = 0.4
"""One above this reaches over several batches: an interval that rests on them is marked …"""
FAR: Final = 0.6
"""… and so is one where the correlation time is more than this share of a batch."""
FINER: Final = 5
"""Pieces of a batch, by which the correlation time is told."""
FEWEST_BEYOND: Final = 8.0
"""Independent values beyond a percentile: with fewer its interval is marked."""
LAGS: Final = 3
_LEAST_CARRIED: Final = -0.25
_WINDOW: Final = 5.0
_MOST_CARRIED: Final = 0.9
_MOST_EFFECTIVE: Final = 1.5
"""Batches that vary by less than chance make no more than this of each request."""


def batch_count(values: int, length: float, request: float) -> int:
    """Return into how many batches a window is cut; 0: too few fit.

    Args:
        values: how many there are of the figure.
        length: of the window, in any unit.
        request: mean end-to-end latency, in the same unit; 0: unknown.
    """
    fitting = min(MOST, values // FEWEST_VALUES)
    if request > 0:
        fitting = min(fitting, int(length / (REQUESTS_LONG * request)))
    return fitting if fitting >= FEWEST and length > 0 else 0


def batch_of(at: NDArray[np.int64] | Floats, begin: float, end: float, count: int) -> Ints:
    """Return the batch that each instant lies in, from 0; what lies outside is in the nearest."""
    found = ((at - begin) * (count / (end - begin))).astype(np.int64)
    return np.clip(found, 0, count - 1)


@dataclass(frozen=True, slots=True)
class LongRun:
    """What the sum over a window varies by.

    Args:
        variance: of the sum.
        carried: correlation of neighbouring batches, corrected for its bias.
        batches: how many.
    """

    variance: float
    carried: float
    batches: int

    @property
    def inflation(self) -> float:
        """How much more the sum varies than batches that are independent."""
        return _inflation(self.carried) if self.carried > IGNORED else 1.0

    @property
    def doubtful(self) -> bool:
        """Whether what happens in one batch reaches over several more."""
        return self.carried > CARRIED


def _inflation(carried: float) -> float:
    carried = min(max(carried, _LEAST_CARRIED), _MOST_CARRIED)
    return (1 + carried) / (1 - carried)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far what happens reaches, in some runs taken together.

    Args:
        carried: correlation of neighbouring batches, the mean over all.
        score: of the correlations with the next three batches together; standard normal where
            batches are independent.
        batches: of all; 0: there are none.
    """

    carried: float
    score: float
    batches: int


def reach(courses: Sequence[Floats]) -> Reach:
    """Return how far what happens reaches.

    Args:
        courses: of each run what its batches differ by, as `course` makes it.
    """
    courses = [one for one in courses if len(one)]
    batches = sum(map(len, courses))
    if not batches:
        return Reach(0.0, 0.0, 0)
    lags = [
        sum(float(one[lag:] @ one[:-lag]) * len(one) for one in courses) / batches
        for lag in range(1, LAGS + 1)
    ]
    # Taking off the mean of B values lowers each correlation by about 1/B.
    bias = len(courses) / batches
    score = (sum(lags) + LAGS * bias) / math.sqrt(LAGS / batches)
    return Reach(lags[0] + bias * (1 + 2 * lags[0]), score, batches)


def course(values: Floats, number: Ints, batches: int, weights: Floats | None = None) -> Floats:
    """Return how the mean of values goes from batch to batch; shape (B,), mean 0, squares 1.

    Args:
        values: shape (n,).
        number: shape (n,), the batch of each.
        batches: how many.
        weights: shape (n,), how often each counts; `None`: once.
    """
    counted = np.ones(len(values)) if weights is None else weights
    sizes = np.bincount(number, weights=counted, minlength=batches)
    middle = float(values @ counted) / float(counted.sum())
    sums = np.bincount(number, weights=(values - middle) * counted, minlength=batches)
    return unit(sums / np.sqrt(np.maximum(sizes, 1.0)))


def lasts(finer: Floats) -> bool:
    """Return whether what happens lasts for a good part of a batch and more.

    By the integrated autocorrelation time, summed up to a window of five such times (Sokal 1997,
    "Monte Carlo methods in statistical mechanics", section 3).

    Args:
        finer: a course of `FINER` pieces for each batch.
    """
    time = 0.5
    for lag in range(1, len(finer) // 2):
        time += float(finer[lag:] @ finer[:-lag]) + 1 / len(finer)
        if lag >= _WINDOW * time:
            break
    return time > FAR * FINER


def unit(means: Floats) -> Floats:
    """Return what batches differ by, with mean 0 and squares that add up to 1."""
    found = means - means.mean()
    length = math.sqrt(float(found @ found))
    return np.asarray(found / length if length > 0 else found, dtype=np.float64)


def long_run(residuals: Floats) -> LongRun:
    """Return what a sum varies by, from what each batch adds to it beyond its due.

    Batch means whose neighbours still resemble one another are taken as an autoregressive series
    of first order, whose sum varies (1 + r)/(1 - r) times as much (Fishman 1978, "Principles of
    discrete event simulation", section 5.5); the bias of r in a short series, -(1 + 2r)/B to first
    order, is taken off (Marriott and Pope 1954).

    Args:
        residuals: shape (B,), B of 2 or more, adding up to about 0.
    """
    count = len(residuals)
    squares = float(residuals @ residuals)
    if squares <= 0:
        return LongRun(0.0, 0.0, count)
    neighbours = float(residuals[1:] @ residuals[:-1]) / squares
    carried = neighbours + (1 + 2 * neighbours) / count
    found = LongRun(count / (count - 1) * squares, carried, count)
    return LongRun(found.variance * found.inflation, carried, count)


def share_long_run(below: Floats, sizes: Floats) -> LongRun:
    """Return what the number of values below a limit varies by.

    A batch holds as many values as come to it, so that the share is a ratio (Cochran, Sampling
    Techniques, 6.4).

    Args:
        below: shape (B,), how many values of each batch lie below.
        sizes: shape (B,), how many it has.
    """
    return long_run(below - below.sum() / sizes.sum() * sizes)


def effective_size(below: Floats, sizes: Floats) -> tuple[float, LongRun]:
    """Return as many independent values as tell as much of a share, and by what that is known.

    Args:
        below: see `share_long_run`.
        sizes: likewise.
    """
    found = share_long_run(below, sizes)
    total = float(sizes.sum())
    share = float(below.sum()) / total
    most = _MOST_EFFECTIVE * total
    if found.variance <= 0 or share in (0.0, 1.0):
        return total, found
    return min(most, total * total * share * (1 - share) / found.variance), found


def quantile_band(
    quantile: float, effective: float, freedom: int, probability: float = 0.975
) -> tuple[float, float]:
    """Return the quantile levels that enclose a percentile.

    The number of values below it is binomial; its quantiles by the expansion of Cornish and Fisher
    (1937), to the second term, with Student's t where the variance is estimated from batches.

    Args:
        quantile: p, between 0 and 1.
        effective: independent values.
        freedom: degrees of freedom of the variance.
        probability: of each end: 0.975 for an interval of 95 %.

    Returns:
        the levels, which may lie outside 0 and 1 where there are too few values.
    """
    t = student_t(probability, freedom)
    spread = math.sqrt(quantile * (1 - quantile) / effective)
    skew = (1 - 2 * quantile) * (t * t - 1) / (6 * effective)
    return quantile - t * spread + skew, quantile + t * spread + skew


def is_scarce(quantile: float, effective: float) -> bool:
    """Whether so few independent values lie beyond a percentile that they hardly tell of it."""
    return min(quantile, 1 - quantile) * effective < FEWEST_BEYOND


def order_ranks(band: tuple[float, float], count: int) -> tuple[int, int] | None:
    """Return the ranks of the values at two quantile levels; `None`: they lie outside."""
    low, high = math.floor(count * band[0] + 0.5), math.ceil(count * band[1] + 0.5)
    return (low, high) if low >= 1 and high <= count else None


def rate_interval(
    counts: Floats, seconds: float, *, whole: bool = False
) -> tuple[float, float, bool]:
    """Return the 95 % interval of a rate, and whether it is doubtful.

    Args:
        counts: shape (B,), what happened in each batch.
        seconds: length of the window.
        whole: what is counted takes long and counts at its end, so that what one batch has too many
            at its edge the next has too few, and their sum varies by less.
    """
    total = float(counts.sum())
    found = long_run(counts - counts.mean())
    variance = found.variance
    if whole and found.carried < _LEAST_CARRIED:
        variance *= _inflation(found.carried)
    half = student_t(0.975, len(counts) - 1) * math.sqrt(variance)
    return max(total - half, 0.0) / seconds, (total + half) / seconds, found.doubtful
