"""Percentiles: nearest rank with its interval, and HDR histograms filled in bulk."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
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


LOWEST_NS = 1_000
HIGHEST_NS = 3_600_000_000_000
DIGITS = 3


class Histogram:
    """An HDR histogram from 1 µs to 1 h with 3 significant digits; values in ns.

    A value outside the range is recorded at its nearer end and counted in `out_of_range`.
    """

    __slots__ = ("_counts", "hdr", "out_of_range", "total")

    def __init__(self) -> None:
        self.hdr: Any = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
        # The library's two halves hold each other, and no collector runs under load: one way is
        # made weak, so that a histogram which nobody holds is freed at once.
        self.hdr.encoder.histogram = weakref.proxy(self.hdr)
        # A view of the library's own counts: its record_value costs 1 µs each, this 40 ns.
        self._counts: NDArray[np.int64] = np.frombuffer(
            self.hdr.encoder.payload.counts, dtype=np.int64
        )
        self.out_of_range = 0
        self.total = 0
        """Sum of the recorded values in ns, weights included."""

    def __len__(self) -> int:
        return int(self.hdr.total_count)

    def add(self, values_ns: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> None:
        """Record values in bulk.

        Args:
            values_ns: shape (n,), in ns.
            weights: shape (n,), how often each counts; `None`: once.
        """
        if len(values_ns) == 0:
            return
        outside = (values_ns < LOWEST_NS) | (values_ns > HIGHEST_NS)
        if outside.any():
            self.out_of_range += (
                int(outside.sum()) if weights is None else int(weights[outside].sum())
            )
            values_ns = values_ns.clip(LOWEST_NS, HIGHEST_NS)
        index = self.index(values_ns)
        if weights is None:
            counts = np.bincount(index, minlength=len(self._counts))
            count = len(values_ns)
            self.total += int(values_ns.sum())
        else:
            # bincount weighs in floats, exact below 2^53.
            counts = np.bincount(index, weights=weights, minlength=len(self._counts))
            counts = counts.astype(np.int64)
            count = int(weights.sum())
            self.total += int((values_ns * weights).sum())
        self._counts += counts
        self._extend(count, int(values_ns.min()), int(values_ns.max()))

    def merge(self, other: Histogram) -> None:
        """Add all that another histogram holds."""
        if not len(other):
            return
        self._counts += other._counts
        self.total += other.total
        self.out_of_range += other.out_of_range
        self._extend(len(other), int(other.hdr.min_value), int(other.hdr.max_value))

    def _extend(self, count: int, low: int, high: int) -> None:
        hdr = self.hdr
        hdr.total_count += count
        hdr.min_value = min(hdr.min_value, low)
        hdr.max_value = max(hdr.max_value, high)

    def __getstate__(self) -> tuple[bytes, bytes, int, int, int, int]:
        """Return what another process makes it again of: of 23,000 counts most are nothing."""
        places = np.flatnonzero(self._counts)
        counts = self._counts[places]
        low, high = (int(self.hdr.min_value), int(self.hdr.max_value)) if len(self) else (0, 0)
        return places.tobytes(), counts.tobytes(), self.total, self.out_of_range, low, high

    def __setstate__(self, state: tuple[bytes, bytes, int, int, int, int]) -> None:
        """Make it again."""
        places, counts, self_total, out_of_range, low, high = state
        self.__init__()  # type: ignore[misc]
        found = np.frombuffer(counts, dtype=np.int64)
        self._counts[np.frombuffer(places, dtype=np.int64)] = found
        self.total, self.out_of_range = self_total, out_of_range
        if len(found):
            self._extend(int(found.sum()), low, high)

    def index(self, values_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place of each value in the counts (HdrHistogram's `countsArrayIndex`)."""
        hdr = self.hdr
        # frexp's exponent is the bit length, exact below 2^53.
        bits = np.frexp((values_ns | hdr.sub_bucket_mask).astype(np.float64))[1].astype(np.int64)
        bucket = bits - hdr.unit_magnitude - (hdr.sub_bucket_half_count_magnitude + 1)
        sub_bucket = values_ns >> (bucket + hdr.unit_magnitude)
        base = (bucket + 1) << hdr.sub_bucket_half_count_magnitude
        found: NDArray[np.int64] = base + sub_bucket - hdr.sub_bucket_half_count
        return found

    def percentile(self, quantile: float) -> int:
        """Return the nearest-rank percentile in ns: the top of its bucket, within min and max.

        The library's own rounds the rank down.

        Raises:
            ValueError: there are no values.
        """
        count = len(self)
        if count == 0:
            raise ValueError("no values have no percentile")
        place = int(np.searchsorted(self._counts.cumsum(), rank(quantile, count)))
        top = int(self.hdr.get_highest_equivalent_value(self.hdr.get_value_from_index(place)))
        return min(max(top, int(self.hdr.min_value)), int(self.hdr.max_value))

    def lowest(self, quantile: float) -> int:
        """Return the bottom of the bucket that a percentile lies in, in ns, within min and max.

        Raises:
            ValueError: there are no values.
        """
        found = int(self.hdr.get_lowest_equivalent_value(self.percentile(quantile)))
        return max(found, int(self.hdr.min_value))

    @property
    def mean(self) -> float:
        """Arithmetic mean in ns, of the values as recorded."""
        return self.total / len(self)
