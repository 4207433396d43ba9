import gc
import weakref

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.metrics.percentiles import (
    DIGITS,
    HIGHEST_NS,
    LOWEST_NS,
    QUANTILES,
    Histogram,
    nearest_rank,
    rank,
)

inside = st.one_of(
    st.integers(LOWEST_NS, HIGHEST_NS),
    st.integers(LOWEST_NS, 3_000_000),
    st.integers(0, 41).map(lambda n: min(max(2**n, LOWEST_NS), HIGHEST_NS)),
    st.integers(10, 41).map(lambda n: min(max(2**n - 1, LOWEST_NS), HIGHEST_NS)),
    st.sampled_from([LOWEST_NS, LOWEST_NS + 1, HIGHEST_NS - 1, HIGHEST_NS]),
)
outside = st.one_of(st.integers(-10, LOWEST_NS - 1), st.integers(HIGHEST_NS + 1, HIGHEST_NS * 100))


def by_the_library(values, weights=None):
    histogram = HdrHistogram(LOWEST_NS, HIGHEST_NS, DIGITS)
    for place, value in enumerate(values):
        assert histogram.record_value(value, 1 if weights is None else weights[place])
    return histogram


def array(values):
    return np.array(values, dtype=np.int64)


def assert_same(histogram, expected):
    hdr = histogram.hdr
    assert list(hdr.counts) == list(expected.counts)
    assert (hdr.total_count, hdr.min_value, hdr.max_value) == (
        expected.total_count,
        expected.min_value,
        expected.max_value,
    )
    assert len(histogram) == expected.total_count


@given(st.lists(st.lists(inside, max_size=30), max_size=3))
@settings(max_examples=60)
def test_a_bulk_add_is_a_recording_of_each_value(parts):
    histogram = Histogram()
    for part in parts:
        histogram.add(array(part))
    values = [value for part in parts for value in part]
    assert_same(histogram, by_the_library(values))
    assert histogram.total == sum(values)
    assert histogram.out_of_range == 0


@given(st.lists(st.tuples(inside, st.integers(1, 10_000)), min_size=1, max_size=30))
@settings(max_examples=40)
def test_a_weight_counts_a_value_so_often(pairs):
    values, weights = zip(*pairs, strict=True)
    histogram = Histogram()
    histogram.add(array(values), array(weights))
    assert_same(histogram, by_the_library(values, weights))
    assert histogram.total == sum(v * w for v, w in pairs)


@given(st.lists(st.one_of(inside, outside), min_size=1, max_size=30))
@settings(max_examples=40)
def test_a_value_outside_the_range_counts_at_its_end_and_is_told(values):
    histogram = Histogram()
    histogram.add(array(values))
    clipped = [min(max(value, LOWEST_NS), HIGHEST_NS) for value in values]
    assert_same(histogram, by_the_library(clipped))
    assert histogram.out_of_range == sum(a != b for a, b in zip(values, clipped, strict=True))


def test_weights_of_values_outside_the_range_are_told_too():
    histogram = Histogram()
    histogram.add(array([1, 5_000, HIGHEST_NS + 1]), array([3, 10, 4]))
    assert histogram.out_of_range == 7
    assert len(histogram) == 17


@given(st.lists(inside, min_size=1, max_size=60), st.sampled_from([*QUANTILES.values(), 0.0, 1.0]))
def test_a_percentile_has_the_nearest_rank_and_three_digits(values, quantile):
    histogram = Histogram()
    histogram.add(array(values))
    exact = nearest_rank(sorted(values), quantile)
    found = histogram.percentile(quantile)
    assert histogram.hdr.values_are_equivalent(found, exact)
    assert found >= exact
    assert found - exact <= max(exact / 1000, 512)  # 2^9 ns is the finest it is built for
    assert min(values) <= found <= max(values)


def test_the_librarys_own_rank_is_another():
    histogram = Histogram()
    histogram.add(array([1_000_000, 2_000_000, 3_000_000]))
    assert rank(0.34, 3) == 2
    assert histogram.percentile(0.34) == pytest.approx(2_000_000, rel=1e-3)
    assert histogram.hdr.get_value_at_percentile(34) == pytest.approx(1_000_000, rel=1e-3)


def test_one_value_is_every_percentile_exactly():
    histogram = Histogram()
    histogram.add(array([123_456_789]))
    assert {histogram.percentile(p) for p in (0, 0.5, 0.999, 1)} == {123_456_789}


def test_no_values_have_no_percentile():
    histogram = Histogram()
    histogram.add(array([]))
    assert len(histogram) == 0
    with pytest.raises(ValueError, match="no values have no percentile"):
        histogram.percentile(0.5)


def test_the_mean_is_exact():
    histogram = Histogram()
    histogram.add(array([10_000_001, 20_000_002]), array([3, 1]))
    assert histogram.mean == (3 * 10_000_001 + 20_000_002) / 4


@given(st.lists(inside, min_size=1, max_size=40))
@settings(max_examples=settings().max_examples // 5)
def test_the_library_reads_what_it_writes_of_a_bulk_add(values):
    histogram = Histogram()
    histogram.add(array(values))
    text = histogram.hdr.encode()
    decoded = HdrHistogram.decode(text)
    assert decoded.get_total_count() == len(values)
    kept = {item.value_iterated_to: item.count_added_in_this_iter_step for item in decoded}
    expected = by_the_library(values)
    assert kept == {item.value_iterated_to: item.count_added_in_this_iter_step for item in expected}
    # Encoding leaves the counts as they are, and adding goes on.
    histogram.add(array(values))
    assert_same(histogram, by_the_library(values * 2))
    assert HdrHistogram.decode(histogram.hdr.encode()).get_total_count() == 2 * len(values)


def test_a_histogram_that_nobody_holds_is_freed_without_the_collector():
    gc.disable()
    try:
        histogram = Histogram()
        histogram.add(np.array([5_000, 7_000_000]))
        assert HdrHistogram.decode(histogram.hdr.encode()).get_total_count() == 2
        gone = weakref.ref(histogram.hdr)
        del histogram
        assert gone() is None
    finally:
        gc.enable()
