"""Percentiles: nearest rank, their order-statistic intervals, and when samples are too few."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES: dict[str, float] = {
    "p50": 0.50,
    "p75": 0.75,
    "p90": 0.90,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}
"""The percentiles of every summary."""

_Z95 = 1.959963984540054
_EXACT_BELOW = 20_000


def rank(quantile: float, count: int) -> int:
    """Return the nearest rank ⌈p·n⌉, from 1 to `count` (NIST handbook 7.2.6.2, "nearest rank")."""
    # p·n can exceed a whole number by a rounding error, such as 0.07 × 100; it grows with n.
    return min(max(math.ceil(quantile * count * (1.0 - 1e-14)), 1), count)


def nearest_rank(ordered: Sequence[int] | NDArray[np.int64], quantile: float) -> int:
    """Return the percentile of values in ascending order.

    Raises:
        ValueError: there are no values.
    """
    if len(ordered) == 0:
        raise ValueError("no values have no percentile")
    return int(ordered[rank(quantile, len(ordered)) - 1])


def minimum_count(quantile: float, confidence: float = 0.99) -> int:
    """Return how many samples it takes for the largest to lie at or above the percentile.

    The smallest n with p^n ≤ 1 − confidence (the one-sided bound of Wilks, 1941): at 99 %,
    p90 takes 44, p95 90, p99 459 and p99.9 4603.
    """
    return math.ceil(math.log(1.0 - confidence) / math.log(quantile) - 1e-9)


def low_confidence(count: int) -> list[str]:
    """Return the names of the percentiles for which `count` samples are too few."""
    return [name for name, quantile in QUANTILES.items() if count < minimum_count(quantile)]


def interval_ranks(quantile: float, count: int) -> tuple[int, int] | None:
    """Return the ranks of the order statistics that enclose the percentile at 95 %.

    The number of samples below the percentile is binomial (n, p), so the l-th and the u-th
    smallest enclose it with P(l ≤ B < u) (David & Nagaraja, Order Statistics, 7.1). Exact up to
    20,000 samples, by the normal approximation beyond. `None` where n is too small for any pair.

    Args:
        quantile: p, between 0 and 1.
        count: n.
    """
    if count < 1:
        return None
    if count > _EXACT_BELOW:
        middle, spread = (
            quantile * count,
            _Z95 * math.sqrt(count * quantile * (1 - quantile)),
        )
        low, high = math.floor(middle - spread), math.ceil(middle + spread) + 1
        return (low, high) if low >= 1 and high <= count else None
    cumulative = _binomial_cdf(quantile, count)
    # The largest l with P(B < l) ≤ 2.5 %, and the smallest u with P(B < u) ≥ 97.5 %.
    low = int(np.searchsorted(cumulative, 0.025, side="right"))
    high = int(np.searchsorted(cumulative, 0.975, side="left")) + 1
    if low < 1 or high > count:
        return None
    return low, high


def _binomial_cdf(quantile: float, count: int) -> NDArray[np.float64]:
    """Return P(B ≤ k) for k = 0…n, through logarithms of factorials."""
    k = np.arange(count + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    log_mass = (
        log_factorial[count]
        - log_factorial[k]
        - log_factorial[count - k]
        + k * math.log(quantile)
        + (count - k) * math.log1p(-quantile)
    )
    cumulative: NDArray[np.float64] = np.minimum(np.cumsum(np.exp(log_mass)), 1.0)
    return cumulative


def clustered_band(
    quantile: float, below: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[float, float] | None:
    """Return the quantile levels that enclose a pooled percentile at 95 %, clustered by request.

    Gaps of one request resemble each other, so they are not so many independent samples: the
    share below the percentile is a ratio of totals over requests, with the variance of such a
    ratio (Woodruff, 1952; Cochran, Sampling Techniques, 6.4).

    Args:
        quantile: p.
        below: per request, how many of its samples lie at or below the estimate.
        sizes: per request, how many samples it has.

    Returns:
        the lower and the upper level, within 0 and 1; `None` with fewer than two requests.
    """
    clusters = len(sizes)
    total = int(sizes.sum())
    if clusters < 2 or total == 0:
        return None
    residual = below - quantile * sizes
    variance = clusters / (clusters - 1) * float((residual.astype(np.float64) ** 2).sum())
    error = _Z95 * math.sqrt(variance) / total
    return max(quantile - error, 0.0), min(quantile + error, 1.0)
