"""Summary: the statistics of one latency figure over a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr

from benchcore.base.clock import NS
from benchcore.base.stored import Count, Number, Stored
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


class Summary(Stored):
    """Statistics of one figure over a level, in seconds: `metrics.<name>`.

    Percentiles are nearest-rank. `std` is of the samples themselves (divisor n). With
    `with_failures`, each failed or dropped request counts as infinitely long: `None`.
    """

    SPARSE = frozenset(
        {
            *("avg", "min", "max", "std", "intervals_95", "intervals_by", "interval_batches"),
            *("intervals_doubtful", "out_of_range", "with_failures", "infinite"),
        }
    )

    count: Count | None = None
    """Samples: requests, or gaps of a pooled figure."""
    avg: Number | None = None
    min: Number | None = None
    max: Number | None = None
    std: Number | None = None
    p50: Number | None = None
    p75: Number | None = None
    p90: Number | None = None
    p95: Number | None = None
    p99: Number | None = None
    p999: Number | None = None
    low_confidence: list[str] = Field(default_factory=list)
    """Percentiles for which there are too few requests."""
    intervals_95: dict[str, list[Number | None]] = Field(default_factory=dict)
    intervals_by: Literal["batches", "requests"] | None = None
    interval_batches: Count | None = None
    """Batches of equal length in time that the intervals rest on; 0: too few fit, and requests are
    taken as independent."""
    intervals_doubtful: list[str] = Field(default_factory=list)
    """Percentiles whose intervals may be too narrow: too few batches fit, or what happens in one
    reaches over several more."""
    out_of_range: Count | None = None
    """Samples outside 1 µs to 1 h."""
    with_failures: dict[str, Number | None] | None = None
    infinite: list[str] | None = None
    _histogram: Histogram | None = PrivateAttr(None)

    @property
    def histogram(self) -> Histogram | None:
        """All samples, where it was measured just now."""
        return self._histogram

    @property
    def percentiles(self) -> dict[str, float]:
        """Each percentile that is known."""
        known = {name: self.value(name) for name in QUANTILES}
        return {name: value for name, value in known.items() if value is not None}

    @property
    def intervals(self) -> Intervals:
        """The 95 % interval of each percentile that has one."""
        return {
            name: (low, high)
            for name, (low, high) in self.intervals_95.items()
            if low is not None and high is not None
        }

    def value(self, statistic: str) -> float | None:
        """Return a statistic by its name, such as `p99`; `None`: it is not known."""
        found: float | None = getattr(self, statistic, None)
        return found


def _made(
    histogram: Histogram,
    percentiles: dict[str, float],
    intervals: Intervals,
    batches: int,
    **said: Any,
) -> Summary:
    made = Summary(
        **said,
        **percentiles,
        intervals_95={name: list(pair) for name, pair in intervals.items()},
        intervals_by="batches" if batches else "requests",
        interval_batches=batches,
        **({"out_of_range": histogram.out_of_range} if histogram.out_of_range else {}),
    )
    made._keys, made._histogram = (), histogram
    return made


def infinite_throughout() -> Summary:
    """Return the statistics of a figure that no request has, each having failed."""
    names = list(QUANTILES)
    return Summary(
        count=0,
        **dict.fromkeys(("avg", "min", "max", "std", *names)),
        low_confidence=low_confidence(0),
        intervals_95={},
        intervals_by="requests",
        interval_batches=0,
        intervals_doubtful=[],
        with_failures=dict.fromkeys(names),
        infinite=names,
    )


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
    late = {}
    if failures is not None:
        with_failures = {
            name: float(ordered[place - 1]) / NS if place <= count else None
            for name, quantile in QUANTILES.items()
            for place in [rank(quantile, count + failures)]
        }
        infinite = [name for name, value in with_failures.items() if value is None]
        late = {"with_failures": with_failures, "infinite": infinite}
    return _made(
        histogram,
        {name: nearest_rank(ordered, quantile) / NS for name, quantile in QUANTILES.items()},
        intervals,
        batches,
        count=count,
        avg=float(exact.mean()) / NS,
        min=float(ordered[0]) / NS,
        max=float(ordered[-1]) / NS,
        std=float(exact.std()) / NS,
        low_confidence=low_confidence(count),
        intervals_doubtful=doubtful,
        **late,
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
Pooled = tuple[int, Gaps]
"""How many requests a block has, and the samples of them all."""


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
    kept: list[Pooled] = []
    for block in blocks(records):
        gaps = pool(block)
        kept = [*kept[:1], (len(block), gaps)]
        histogram.add(gaps.values, gaps.weights)
        squares += float((gaps.weights * gaps.values.astype(np.float64) ** 2).sum())
        requests += int(np.count_nonzero(np.bincount(gaps.owner)))
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
    # A second pass makes them anew where they are more than memory should hold.
    again = kept if len(kept) == 1 else ((len(one), pool(one)) for one in blocks(records))
    if batches:
        span = float(begin_ns), float(end_ns)
        intervals, doubtful = _batched_pool(again, histogram, found, span, batches)
    else:
        intervals = dict(_clustered(again, histogram, found))
        doubtful = list(intervals)
    return _made(
        histogram,
        {name: value / NS for name, value in found.items()},
        intervals,
        batches,
        count=count,
        avg=mean / NS,
        min=int(histogram.hdr.min_value) / NS,
        max=int(histogram.hdr.max_value) / NS,
        std=math.sqrt(max(squares / count - mean**2, 0.0)) / NS,
        low_confidence=low_confidence(requests),
        intervals_doubtful=doubtful,
    )


def _batched_pool(
    pools: Iterable[Pooled],
    histogram: Histogram,
    found: dict[str, int],
    span_ns: tuple[float, float],
    batches: int,
) -> tuple[Intervals, list[str]]:
    """Return the intervals of pooled percentiles by batches: a second pass counts per batch."""
    finer_sizes, sums = np.zeros(batches * FINER), np.zeros(batches * FINER)
    below = {name: np.zeros(batches) for name in found}
    for _, gaps in pools:
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
    pools: Iterable[Pooled], histogram: Histogram, found: dict[str, int]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the intervals of pooled percentiles: a second pass counts per request."""
    below: dict[str, list[NDArray[np.int64]]] = {name: [] for name in found}
    sizes: list[NDArray[np.int64]] = []
    for count, gaps in pools:
        total = np.bincount(gaps.owner, weights=gaps.weights, minlength=count)
        has = total > 0
        sizes.append(total[has].astype(np.int64))
        for name, value in found.items():
            counted = gaps.weights * (gaps.values <= value)
            under = np.bincount(gaps.owner, weights=counted, minlength=count)
            below[name].append(under[has].astype(np.int64))
    all_sizes = np.concatenate(sizes)
    for name, parts in below.items():
        band = clustered_band(QUANTILES[name], np.concatenate(parts), all_sizes)
        if band is not None and band[1] < 1.0:
            low, high = (histogram.percentile(level) for level in band)
            yield name, (low / NS, high / NS)
