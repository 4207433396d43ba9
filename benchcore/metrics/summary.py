"""Summary: the statistics of one latency figure over a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchcore.client.records import Record
from benchcore.clock import NS
from benchcore.metrics.gaps import blocks, chunk_gaps, token_gaps
from benchcore.metrics.histograms import Histogram
from benchcore.metrics.percentiles import (
    QUANTILES,
    clustered_band,
    interval_ranks,
    low_confidence,
    nearest_rank,
    rank,
)


@dataclass(slots=True)
class Summary:
    """Statistics of one figure over a level, in seconds.

    Percentiles are nearest-rank. `std` is of the samples themselves (divisor n). With
    `with_failures`, each failed or dropped request counts as infinitely long: `None`.

    Args:
        count: how many samples; requests, or gaps of a pooled figure.
        intervals: per percentile its 95 % interval; absent where the samples give none.
        low_confidence: percentiles for which there are too few requests.
        histogram: all samples.
        out_of_range: samples outside 1 µs to 1 h.
    """

    count: int
    avg: float
    min: float
    max: float
    std: float
    percentiles: dict[str, float]
    histogram: Histogram
    low_confidence: list[str] = field(default_factory=list)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    with_failures: dict[str, float | None] | None = None
    out_of_range: int = 0

    @property
    def p50(self) -> float:
        """Median in seconds."""
        return self.percentiles["p50"]

    @property
    def p90(self) -> float:
        """90th percentile in seconds."""
        return self.percentiles["p90"]

    @property
    def p95(self) -> float:
        """95th percentile in seconds."""
        return self.percentiles["p95"]

    @property
    def p99(self) -> float:
        """99th percentile in seconds."""
        return self.percentiles["p99"]

    @property
    def p999(self) -> float:
        """99.9th percentile in seconds."""
        return self.percentiles["p999"]

    def to_json(self) -> dict[str, Any]:
        """Return it as `metrics.<name>` of `run.json`."""
        found: dict[str, Any] = {
            "count": self.count,
            "avg": self.avg,
            "min": self.min,
            "max": self.max,
            "std": self.std,
            **self.percentiles,
        }
        found["low_confidence"] = self.low_confidence
        found["intervals_95"] = {name: list(pair) for name, pair in self.intervals.items()}
        if self.out_of_range:
            found["out_of_range"] = self.out_of_range
        if self.with_failures is not None:
            found["with_failures"] = self.with_failures
            found["infinite"] = [k for k, value in self.with_failures.items() if value is None]
        return found


def infinite_throughout() -> dict[str, Any]:
    """Return `metrics.<name>` of a figure that no request has, each having failed."""
    names = list(QUANTILES)
    unknown = dict.fromkeys(("avg", "min", "max", "std", *names))
    return {
        "count": 0,
        **unknown,
        "low_confidence": low_confidence(0),
        "intervals_95": {},
        "with_failures": dict.fromkeys(names),
        "infinite": names,
    }


def summarize(values_ns: Sequence[float], failures: int | None = None) -> Summary | None:
    """Summarize a figure that each request has one of; `None` where there is none.

    Args:
        values_ns: shape (n,), ns.
        failures: how many requests failed or were dropped, to count them as infinite too.
    """
    if not values_ns:
        return None
    exact = np.sort(np.asarray(values_ns, dtype=np.float64))
    ordered = np.rint(exact).astype(np.int64)
    count = len(ordered)
    histogram = Histogram()
    histogram.add(ordered)
    intervals = {}
    for name, quantile in QUANTILES.items():
        ranks = interval_ranks(quantile, count)
        if ranks is not None:
            low, high = ranks
            intervals[name] = (float(ordered[low - 1]) / NS, float(ordered[high - 1]) / NS)
    with_failures = None
    if failures is not None:
        with_failures = {
            name: float(ordered[place - 1]) / NS if place <= count else None
            for name, quantile in QUANTILES.items()
            for place in [rank(quantile, count + failures)]
        }
    return Summary(
        count=count,
        avg=float(exact.mean()) / NS,
        min=float(ordered[0]) / NS,
        max=float(ordered[-1]) / NS,
        std=float(exact.std()) / NS,
        percentiles={
            name: nearest_rank(ordered, quantile) / NS for name, quantile in QUANTILES.items()
        },
        histogram=histogram,
        low_confidence=low_confidence(count),
        intervals=intervals,
        with_failures=with_failures,
        out_of_range=histogram.out_of_range,
    )


Pool = Callable[
    [Sequence[Record]],
    tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
]


def chunk_pool(
    records: Sequence[Record],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the inter-chunk latencies, each counting once; see `token_gaps` for the shapes."""
    gaps, owner = chunk_gaps(records)
    return gaps, np.ones(len(gaps), dtype=np.int64), owner


def summarize_pool(records: Sequence[Record], pool: Pool = token_gaps) -> Summary | None:
    """Summarize a figure that requests have many of, from its histogram.

    Args:
        records: the requests.
        pool: returns values in ns, weights and the record of each, all of shape (n,).
    """
    histogram = Histogram()
    requests = 0
    squares = 0.0
    for block in blocks(records):
        values, weights, owner = pool(block)
        histogram.add(values, weights)
        squares += float((weights * values.astype(np.float64) ** 2).sum())
        requests += len(np.unique(owner))
    count = len(histogram)
    if count == 0:
        return None
    found = {name: histogram.percentile(quantile) for name, quantile in QUANTILES.items()}
    mean = histogram.mean
    return Summary(
        count=count,
        avg=mean / NS,
        min=int(histogram.hdr.min_value) / NS,
        max=int(histogram.hdr.max_value) / NS,
        std=math.sqrt(max(squares / count - mean**2, 0.0)) / NS,
        percentiles={name: value / NS for name, value in found.items()},
        histogram=histogram,
        low_confidence=low_confidence(requests),
        intervals=dict(_clustered(records, pool, histogram, found)),
        out_of_range=histogram.out_of_range,
    )


def _clustered(
    records: Sequence[Record], pool: Pool, histogram: Histogram, found: dict[str, int]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the intervals of pooled percentiles: a second pass counts per request."""
    below: dict[str, list[NDArray[np.int64]]] = {name: [] for name in found}
    sizes: list[NDArray[np.int64]] = []
    for block in blocks(records):
        values, weights, owner = pool(block)
        total = np.bincount(owner, weights=weights, minlength=len(block))
        has = total > 0
        sizes.append(total[has].astype(np.int64))
        for name, value in found.items():
            under = np.bincount(owner, weights=weights * (values <= value), minlength=len(block))
            below[name].append(under[has].astype(np.int64))
    all_sizes = np.concatenate(sizes)
    for name, parts in below.items():
        band = clustered_band(QUANTILES[name], np.concatenate(parts), all_sizes)
        if band is not None and band[1] < 1.0:
            low, high = (histogram.percentile(level) for level in band)
            yield name, (low / NS, high / NS)
