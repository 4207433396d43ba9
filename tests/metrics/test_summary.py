import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.metrics import figures as gaps_module
from benchcore.metrics import summary as summary_module
from benchcore.metrics.figures import timed_chunk_gaps, timed_token_gaps
from benchcore.metrics.percentiles import QUANTILES, interval_ranks, nearest_rank, rank
from benchcore.metrics.summary import summarize, summarize_pool

MS = 1_000_000


@given(st.lists(st.integers(1000, 10**12), min_size=1, max_size=80))
@settings(max_examples=60)
def test_a_summary_is_made_of_the_integers_themselves(values):
    found = summarize(values)
    assert found.count == len(values)
    assert found.avg == pytest.approx(statistics.fmean(values) / 1e9)
    assert found.std == pytest.approx(statistics.pstdev(values) / 1e9, abs=1e-12)
    assert (found.min, found.max) == (min(values) / 1e9, max(values) / 1e9)
    for name, quantile in QUANTILES.items():
        assert found.percentiles[name] == nearest_rank(sorted(values), quantile) / 1e9
    assert len(found.histogram) == len(values)


def test_the_spread_is_that_of_the_samples_not_an_estimate_of_more():
    assert summarize([1 * MS, 3 * MS]).std == pytest.approx(0.001)
    assert summarize([5 * MS]).std == 0.0


def test_each_percentile_has_its_interval_where_the_samples_give_one():
    values = [n * MS for n in range(1, 101)]
    # All at one instant: no batches, so that each request counts for itself.
    found = summarize(values, at_ns=[0] * 100)
    low, high = interval_ranks(0.5, 100)
    assert found.intervals["p50"] == (low * MS / 1e9, high * MS / 1e9)
    assert (low, high) == (40, 61)
    assert set(found.intervals) == {
        name for name, quantile in QUANTILES.items() if interval_ranks(quantile, 100)
    }
    assert "p99" not in found.intervals
    assert found.interval_batches == 0
    assert found.intervals_doubtful == list(found.intervals), (
        "nothing shows that they are independent"
    )


def test_percentiles_of_too_few_requests_are_named():
    assert summarize([MS] * 458).low_confidence == ["p99", "p999"]
    assert summarize([MS] * 459).low_confidence == ["p999"]


def test_fractions_of_a_nanosecond_stay_in_the_average():
    found = summarize([1000.25, 1000.75])
    assert found.avg == pytest.approx(1000.5e-9, rel=1e-12)
    assert (found.min, found.max) == (1000 / 1e9, 1001 / 1e9)


def test_nothing_has_no_summary():
    assert summarize([]) is None
    assert summarize([], failures=3) is None
    assert summarize_pool([]) is None


@pytest.mark.parametrize("failures", [0, 1, 10, 11, 500])
def test_failures_count_as_infinitely_long(failures):
    values = [n * MS for n in range(1, 101)]
    found = summarize(values, failures)
    everything = [*values, *[math.inf] * failures]
    for name, quantile in QUANTILES.items():
        expected = everything[rank(quantile, len(everything)) - 1]
        told = found.with_failures[name]
        assert told == (None if expected == math.inf else expected / 1e9)
    # The others stay as they are.
    assert found.percentiles == summarize(values).percentiles


def test_what_is_infinite_is_null_and_named():
    told = summarize([MS] * 90, failures=10).to_json()
    assert told["infinite"] == ["p95", "p99", "p999"]
    assert told["with_failures"]["p95"] is None
    assert told["with_failures"]["p90"] == 0.001
    json.dumps(told, allow_nan=False)


def test_json_holds_every_statistic_of_the_contract():
    told = summarize([MS, 2 * MS]).to_json()
    assert list(told) == [
        *("count", "avg", "min", "max", "std"),
        *("p50", "p75", "p90", "p95", "p99", "p999"),
        *("low_confidence", "intervals_95"),
        *("intervals_by", "interval_batches", "intervals_doubtful"),
    ]
    assert summarize([1]).to_json()["out_of_range"] == 1


def test_the_percentiles_have_names():
    found = summarize([n * MS for n in range(1, 1001)])
    assert [found.p50, found.p90, found.p95, found.p99, found.p999] == pytest.approx(
        [0.5, 0.9, 0.95, 0.99, 0.999]
    )


def streams(record, requests, each, seed=0):
    draws = np.random.default_rng(seed)
    records = []
    for _ in range(requests):
        pace = draws.uniform(5, 20) * MS
        stamps = np.cumsum(draws.exponential(pace, each) + 2000).astype(np.int64) + 10**9
        records.append(record(stamps.tolist(), completion=2 * each))
    return records


@pytest.mark.parametrize("pool", [timed_token_gaps, timed_chunk_gaps])
def test_a_pooled_summary_is_that_of_all_gaps_to_three_digits(record, pool):
    records = streams(record, 40, 30)
    found = summarize_pool(records, pool)
    gaps = pool(records)
    every = sorted(np.repeat(gaps.values, gaps.weights).tolist())
    assert found.count == len(every)
    assert found.avg == pytest.approx(statistics.fmean(every) / 1e9, rel=1e-12)
    assert found.std == pytest.approx(statistics.pstdev(every) / 1e9, rel=1e-9)
    assert found.min == pytest.approx(every[0] / 1e9)
    assert found.max == pytest.approx(every[-1] / 1e9)
    for name, quantile in QUANTILES.items():
        exact = nearest_rank(every, quantile) / 1e9
        assert exact <= found.percentiles[name] <= exact * 1.001
    assert found.low_confidence == ["p90", "p95", "p99", "p999"], "there are 40 requests"


def test_a_pooled_interval_encloses_its_percentile_and_widens_with_the_requests_spread(record):
    found = summarize_pool(streams(record, 60, 50))
    for name, (low, high) in found.intervals.items():
        assert low <= found.percentiles[name] <= high
    alike = [record(range(10**9, 10**9 + 60_000, 1200)) for _ in range(60)]
    low, high = summarize_pool(alike).intervals["p50"]
    assert low == high


def test_one_request_has_no_pooled_interval(record):
    one = streams(record, 1, 50)
    assert summarize_pool(one).intervals == {}
    assert summarize_pool([*one, record([10**9])]).intervals == {}


def test_requests_without_gaps_do_not_count_as_samples(record):
    records = [*streams(record, 44, 5), *(record([10**9]) for _ in range(500))]
    assert summarize_pool(records).low_confidence == ["p95", "p99", "p999"]


def test_a_level_is_summarized_in_blocks_as_it_is_at_once(record, monkeypatch):
    records = streams(record, 25, 20)
    whole = summarize_pool(records)
    monkeypatch.setattr(gaps_module.blocks, "__defaults__", (37,))
    assert len(list(summary_module.blocks(records))) > 5
    parts = summarize_pool(records)
    assert parts.percentiles == whole.percentiles
    assert parts.intervals == whole.intervals
    assert (parts.count, parts.avg, parts.min, parts.max) == (
        (whole.count, whole.avg, whole.min, whole.max)
    )
    assert parts.std == pytest.approx(whole.std, rel=1e-12)


def test_gaps_out_of_range_are_counted(record):
    found = summarize_pool([record([10**9, 10**9 + 10, 10**9 + 2000, 8 * 10**12])])
    assert found.out_of_range == 2
    assert found.to_json()["out_of_range"] == 2
    assert found.std >= 0


def test_a_pool_of_equal_gaps_has_no_spread(record):
    assert summarize_pool([record(range(10**9, 10**9 + 10**6, 10**4))]).std == 0.0
