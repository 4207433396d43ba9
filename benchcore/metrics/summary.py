"""Summary: the statistics of one latency figure over a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchcore.base.clock import NS
from benchcore.client.records import Record
from benchcore.metrics.batches import (
    FINER,
    batch_count,
    batch_of,
    course,
    effective_size,
    is_scarce,
    lasts,
    order_ranks,
    quantile_band,
    unit,
)
from benchcore.metrics.figures import Gaps, blocks, mean_e2e_ns, timed_token_gaps
from benchcore.metrics.percentiles import (
    QUANTILES,
    Histogram,
    clustered_band,
    interval_ranks,
    low_confidence,
    nearest_rank,
    rank,
)

Intervals = dict[str, tuple[float, float]]


@dataclass(slots=True)
class Summary:
    """Statistics of one figure over a level, in seconds.

    Percentiles are nearest-rank. `std` is of the samples themselves (divisor n). With
    `with_failures`, each failed or dropped request counts as infinitely long: `None`.

    Args:
        count: how many samples; requests, or gaps of a pooled figure.
        intervals: per percentile its 95 % interval; absent where the samples give none.
        batches: of equal length in time that the intervals rest on; 0: too few fit, and requests
            are taken as independent.
        doubtful: percentiles whose intervals may be too narrow: too few batches fit, or what
            happens in one reaches over several more.
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
    intervals: Intervals = field(default_factory=dict)
    batches: int = 0
    doubtful: list[str] = field(default_factory=list)
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


def summarize(
    values_ns: Sequence[float],
    failures: int | None = None,
    *,
    at_ns: Sequence[int] | None = None,
    request_ns: float = 0.0,
) -> Summary | None:
    """Summarize a figure that each request has one of; `None` where there is none.

    Args:
        values_ns: shape (n,), ns, in the order of their requests.
        failures: how many requests failed or were dropped, to count them as infinite too.
        at_ns: shape (n,), when each was scheduled; `None`: as if at equal distances.
        request_ns: mean end-to-end latency; 0: unknown.
    """
    if not len(values_ns):
        return None
    given = np.asarray(values_ns, dtype=np.float64)
    exact = np.sort(given)
    ordered = np.rint(exact).astype(np.int64)
    count = len(ordered)
    histogram = Histogram()
    histogram.add(ordered)
    at = np.arange(count) if at_ns is None else np.asarray(at_ns, dtype=np.int64)
    batches = batch_count(count, float(np.ptp(at)), request_ns)
    if batches:
        finer = batch_of(at, float(at.min()), float(at.max()), batches * FINER)
        intervals, doubtful = _batched(np.rint(given).astype(np.int64), ordered, finer, batches)
    else:
        intervals = _independent(ordered)
        doubtful = list(intervals)
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
        batches=batches,
        doubtful=doubtful,
        with_failures=with_failures,
        out_of_range=histogram.out_of_range,
    )


def _independent(ordered: NDArray[np.int64]) -> Intervals:
    """Return the intervals of percentiles of values in ascending order that are independent."""
    found = {}
    for name, quantile in QUANTILES.items():
        ranks = interval_ranks(quantile, len(ordered))
        if ranks is not None:
            low, high = ranks
            found[name] = (float(ordered[low - 1]) / NS, float(ordered[high - 1]) / NS)
    return found


def _batched(
    values: NDArray[np.int64],
    ordered: NDArray[np.int64],
    finer: NDArray[np.int64],
    batches: int,
) -> tuple[Intervals, list[str]]:
    """Return the intervals of percentiles by batches, and which are doubtful.

    Args:
        values: shape (n,).
        ordered: the same, ascending.
        finer: shape (n,), the piece of a batch that each lies in.
        batches: how many.
    """
    number = finer // FINER
    sizes = np.bincount(number, minlength=batches).astype(np.float64)
    logs = np.log(np.maximum(values, 1).astype(np.float64))
    far = lasts(course(logs, finer, batches * FINER))
    intervals: Intervals = {}
    doubtful = []
    for name, quantile in QUANTILES.items():
        limit = nearest_rank(ordered, quantile)
        under = (values <= limit).astype(np.float64)
        below = np.bincount(number, weights=under, minlength=batches).astype(np.float64)
        effective, run = effective_size(below, sizes)
        ranks = order_ranks(quantile_band(quantile, effective, batches - 1), len(ordered))
        if ranks is not None:
            low, high = ranks
            intervals[name] = (float(ordered[low - 1]) / NS, float(ordered[high - 1]) / NS)
            if far or run.doubtful or is_scarce(quantile, effective):
                doubtful.append(name)
    return intervals, doubtful


Pool = Callable[[Sequence[Record]], Gaps]


def summarize_pool(records: Iterable[Record], pool: Pool = timed_token_gaps) -> Summary | None:
    """Summarize a figure that requests have many of, from its histogram.

    Args:
        records: the requests; gone through several times.
        pool: returns the samples, such as `timed_chunk_gaps`.
    """
    histogram = Histogram()
    requests = 0
    squares = 0.0
    begin_ns = end_ns = None
    for block in blocks(records):
        gaps = pool(block)
        histogram.add(gaps.values, gaps.weights)
        squares += float((gaps.weights * gaps.values.astype(np.float64) ** 2).sum())
        requests += len(np.unique(gaps.owner))
        if len(gaps.at):
            first, last = int(gaps.at.min()), int(gaps.at.max())
            begin_ns = first if begin_ns is None else min(begin_ns, first)
            end_ns = last if end_ns is None else max(end_ns, last)
    count = len(histogram)
    if count == 0 or begin_ns is None or end_ns is None:
        return None
    found = {name: histogram.percentile(quantile) for name, quantile in QUANTILES.items()}
    mean = histogram.mean
    batches = batch_count(requests, float(end_ns - begin_ns), mean_e2e_ns(records))
    if batches:
        span = float(begin_ns), float(end_ns)
        intervals, doubtful = _batched_pool(records, pool, histogram, found, span, batches)
    else:
        intervals = dict(_clustered(records, pool, histogram, found))
        doubtful = list(intervals)
    return Summary(
        count=count,
        avg=mean / NS,
        min=int(histogram.hdr.min_value) / NS,
        max=int(histogram.hdr.max_value) / NS,
        std=math.sqrt(max(squares / count - mean**2, 0.0)) / NS,
        percentiles={name: value / NS for name, value in found.items()},
        histogram=histogram,
        low_confidence=low_confidence(requests),
        intervals=intervals,
        batches=batches,
        doubtful=doubtful,
        out_of_range=histogram.out_of_range,
    )


def _batched_pool(
    records: Iterable[Record],
    pool: Pool,
    histogram: Histogram,
    found: dict[str, int],
    span_ns: tuple[float, float],
    batches: int,
) -> tuple[Intervals, list[str]]:
    """Return the intervals of pooled percentiles by batches: a second pass counts per batch."""
    finer_sizes, sums = np.zeros(batches * FINER), np.zeros(batches * FINER)
    below = {name: np.zeros(batches) for name in found}
    for block in blocks(records):
        gaps = pool(block)
        if not len(gaps.at):
            continue
        finer = batch_of(gaps.at, *span_ns, batches * FINER)
        number = finer // FINER
        finer_sizes += np.bincount(finer, weights=gaps.weights, minlength=batches * FINER)
        logs = gaps.weights * np.log(np.maximum(gaps.values, 1))
        sums += np.bincount(finer, weights=logs, minlength=batches * FINER)
        for name, value in found.items():
            under = gaps.weights * (gaps.values <= value)
            below[name] += np.bincount(number, weights=under, minlength=batches)
    sizes = finer_sizes.reshape(batches, FINER).sum(axis=1)
    residuals = sums - sums.sum() / sizes.sum() * finer_sizes
    far = lasts(unit(residuals / np.sqrt(np.maximum(finer_sizes, 1.0))))
    intervals: Intervals = {}
    doubtful = []
    for name, counts in below.items():
        effective, run = effective_size(counts, sizes)
        low, high = quantile_band(QUANTILES[name], effective, batches - 1)
        if low > 0.0 and high < 1.0:
            intervals[name] = (histogram.lowest(low) / NS, histogram.percentile(high) / NS)
            if far or run.doubtful or is_scarce(QUANTILES[name], effective):
                doubtful.append(name)
    return intervals, doubtful


def _clustered(
    records: Iterable[Record], pool: Pool, histogram: Histogram, found: dict[str, int]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the intervals of pooled percentiles: a second pass counts per request."""
    below: dict[str, list[NDArray[np.int64]]] = {name: [] for name in found}
    sizes: list[NDArray[np.int64]] = []
    for block in blocks(records):
        gaps = pool(block)
        total = np.bincount(gaps.owner, weights=gaps.weights, minlength=len(block))
        has = total > 0
        sizes.append(total[has].astype(np.int64))
        for name, value in found.items():
            counted = gaps.weights * (gaps.values <= value)
            under = np.bincount(gaps.owner, weights=counted, minlength=len(block))
            below[name].append(under[has].astype(np.int64))
    all_sizes = np.concatenate(sizes)
    for name, parts in below.items():
        band = clustered_band(QUANTILES[name], np.concatenate(parts), all_sizes)
        if band is not None and band[1] < 1.0:
            low, high = (histogram.percentile(level) for level in band)
            yield name, (low / NS, high / NS)
