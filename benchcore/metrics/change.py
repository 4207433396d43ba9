"""Change: whether a figure of one run differs from that of another by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.metrics.percentiles import rank
from benchcore.metrics.scores import student_t

Floats = NDArray[np.float64]

_BATCHES: Final = 20
_FEWEST_BLOCKS: Final = 10
_DRAWS: Final = 1000
_POWER_Z: Final = 1.6448536269514722
"""One-sided 95 %."""


def nearest(values: Floats, quantile: float) -> float:
    """Return a percentile by nearest rank, of values in any order, at least one."""
    place = rank(quantile, len(values)) - 1
    return float(np.partition(values, place)[place])


def exceedance_p(first: Floats, second: Floats, quantile: float) -> float:
    """Return how likely chance alone lifts the second run so far above a percentile of the first.

    The exceedance test (Epstein 1954; Gibbons and Chakraborti, Nonparametric Statistical Inference,
    section 6.6): of m values how many lie above the r-th of n is beta-binomial (m, n-r+1, r) where
    both are of one distribution, whatever that is. Requests that follow one another resemble one
    another, so counts are those of as many independent ones.

    Args:
        first: of the run that is compared with, in the order of their requests.
        second: of the other, likewise.
        quantile: between 0 and 1.

    Returns:
        one-sided: small where the second run is slower.
    """
    limit = nearest(first, quantile)
    alike = max(_inflation(first > limit), _inflation(second > limit))
    n, m = (max(1, round(len(one) / alike)) for one in (first, second))
    above = int(np.count_nonzero(second > limit))
    # Equal values are no evidence of anything: they count as below.
    count = round(above * m / len(second))
    return beta_binomial_tail(count, m, n - rank(quantile, n) + 1, rank(quantile, n))


def beta_binomial_tail(count: int, trials: int, a: int, b: int) -> float:
    """Return P(X ≥ count) of the beta-binomial distribution (trials, a, b)."""
    if count <= 0:
        return 1.0
    k = np.arange(count, trials + 1)
    logs = [_log_mass(int(one), trials, a, b) for one in k]
    return float(min(1.0, np.exp(logs).sum()))


def _log_mass(k: int, n: int, a: int, b: int) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + _log_beta(k + a, n - k + b) - _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _inflation(marks: NDArray[np.bool_]) -> float:
    """Return the variance of the mean of marks in order over that of independent ones, 1 or more.

    By batch means (Conway 1963) of several lengths, the largest: requests of one batch of the
    server share its steps, and stand as far apart in the order as there are users.
    """
    share = float(marks.mean())
    if share in (0.0, 1.0):
        return 1.0
    found = 1.0
    length = 2
    while len(marks) // length >= _FEWEST_BLOCKS:
        blocks = marks[: len(marks) // length * length].reshape(-1, length).sum(axis=1)
        found = max(found, float(blocks.var(ddof=1)) / (length * share * (1 - share)))
        length *= 2
    return found


def log_spread(values: Floats, quantile: float) -> float:
    """Return the standard error of the logarithm of a percentile.

    The rank of a resampled percentile is beta distributed (the bootstrap of Efron 1979, its
    resampling done in one step; Hutson and Ernst 2000).

    Args:
        values: in the order of their requests, above 0.
        quantile: between 0 and 1.
    """
    ordered = np.sort(values)
    limit = ordered[rank(quantile, len(ordered)) - 1]
    n = max(2.0, len(ordered) / _inflation(values > limit))
    draws = np.random.default_rng(0).beta(quantile * n + 0.5, (1 - quantile) * n + 0.5, _DRAWS)
    places = np.minimum((draws * len(ordered)).astype(np.int64), len(ordered) - 1)
    return float(np.log(ordered[places]).std())


def requests_needed(count: int, spread: float, change: float, limit: float) -> int | None:
    """Return how many requests a level needs for a change beyond a limit to be told 19 times in 20.

    Args:
        count: how many each run has now.
        spread: standard error of the logarithm of the ratio with so many.
        change: to be told, such as 0.12.
        limit: such as 0.1.

    Returns:
        `None` where nothing can be said.
    """
    room = math.log1p(change) - math.log1p(limit)
    if spread <= 0 or room <= 0:
        return None
    return math.ceil(count * (spread * _POWER_Z / room) ** 2)


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in batches of equal length.

    Args:
        mean: per second.
        stderr: of the mean; 0 where the batches are alike.
        batches: how many.
    """

    mean: float
    stderr: float
    batches: int


def batched_rate(done: Floats, begin: float, end: float) -> Rate | None:
    """Return a rate with its standard error by batch means (Conway 1963).

    Args:
        done: when each request ended, in seconds.
        begin: of the window, in seconds.
        end: of it.

    Returns:
        `None` where the window is too short for batches of ten requests each.
    """
    inside = done[(done > begin) & (done <= end)]
    batches = min(_BATCHES, len(inside) // 10)
    if batches < 3 or end <= begin:
        return None
    counts, _ = np.histogram(inside, bins=batches, range=(begin, end))
    rates = counts / ((end - begin) / batches)
    return Rate(float(rates.mean()), float(rates.std(ddof=1) / math.sqrt(batches)), batches)


def lower_p(first: Rate, second: Rate) -> float:
    """Return how likely chance alone makes the second rate so much lower (Welch 1947)."""
    variance = first.stderr**2 + second.stderr**2
    drop = first.mean - second.mean
    if variance == 0:
        return 0.0 if drop > 0 else 1.0
    freedom = variance**2 / sum(
        one.stderr**4 / (one.batches - 1) for one in (first, second) if one.stderr
    )
    return student_tail(drop / math.sqrt(variance), freedom)


def student_tail(t: float, freedom: float) -> float:
    """Return P(T ≥ t) of Student's t distribution, by bisection of its quantile."""
    whole = max(1, round(freedom))
    low, high = 1e-12, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        if student_t(1 - middle, whole) > t:
            low = middle
        else:
            high = middle
    return (low + high) / 2
