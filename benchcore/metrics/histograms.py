"""Histograms: HDR histograms of nanoseconds, filled in bulk."""

import weakref
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from benchcore.metrics.percentiles import rank

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
        self._counts: NDArray[np.int64] = np.ctypeslib.as_array(
            self.hdr.encoder.payload.counts
        ).view(np.int64)
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
        hdr = self.hdr
        hdr.total_count += count
        hdr.min_value = min(hdr.min_value, int(values_ns.min()))
        hdr.max_value = max(hdr.max_value, int(values_ns.max()))

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
