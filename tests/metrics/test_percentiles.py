import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.metrics.percentiles import (
    QUANTILES,
    clustered_band,
    interval_ranks,
    low_confidence,
    minimum_count,
    nearest_rank,
    rank,
)

TEXTS = ["0.01", "0.07", "0.5", "0.55", "0.75", "0.9", "0.95", "0.99", "0.999", "1"]


@given(text=st.sampled_from(TEXTS), count=st.integers(1, 10**10))
def test_a_rank_is_the_ceiling_of_p_times_n_in_fractions(text, count):
    assert rank(float(text), count) == math.ceil(Fraction(text) * count)


@pytest.mark.parametrize("count", [*range(1, 300), 10**6, 4 * 10**7, 10**9])
def test_a_rank_of_a_whole_product_is_that_product(count):
    for text in TEXTS:
        whole = Fraction(text).denominator * count
        assert rank(float(text), whole) == Fraction(text) * whole


def test_a_rank_lies_between_the_first_and_the_last():
    assert rank(0.0, 10) == 1
    assert rank(1e-9, 10) == 1
    assert rank(1.0, 10) == 10


@given(
    values=st.lists(st.integers(0, 10**6), min_size=1, max_size=200), text=st.sampled_from(TEXTS)
)
def test_a_percentile_is_the_smallest_value_with_enough_at_or_below_it(values, text):
    found = nearest_rank(sorted(values), float(text))
    enough = [
        value
        for value in values
        if Fraction(sum(other <= value for other in values), len(values)) >= Fraction(text)
    ]
    assert found == min(enough)


def test_a_percentile_of_an_array_is_a_plain_integer():
    assert type(nearest_rank(np.array([1, 2, 3]), 0.5)) is int


def test_no_values_have_no_percentile():
    with pytest.raises(ValueError, match="no values have no percentile"):
        nearest_rank([], 0.5)


def test_the_fewest_samples_are_those_of_the_contract():
    assert [minimum_count(p) for p in (0.9, 0.95, 0.99, 0.999)] == [44, 90, 459, 4603]


@pytest.mark.parametrize("text", ["0.5", "0.75", "0.9", "0.95", "0.99", "0.999"])
def test_the_fewest_samples_are_exact(text):
    p, n = Fraction(text), minimum_count(float(text))
    assert p**n <= Fraction(1, 100) < p ** (n - 1)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, list(QUANTILES)),
        (43, ["p90", "p95", "p99", "p999"]),
        (44, ["p95", "p99", "p999"]),
        (89, ["p95", "p99", "p999"]),
        (90, ["p99", "p999"]),
        (458, ["p99", "p999"]),
        (459, ["p999"]),
        (4602, ["p999"]),
        (4603, []),
    ],
)
def test_percentiles_of_too_few_samples_are_named(count, expected):
    assert low_confidence(count) == expected


def exact_ranks(text, n):
    """The largest l with P(B < l) ≤ 2.5 % and the smallest u with P(B < u) ≥ 97.5 %."""
    p = Fraction(text)
    cumulative, total = [], Fraction(0)  # cumulative[k] = P(B ≤ k)
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        cumulative.append(total)
    lows = [low for low in range(1, n + 1) if cumulative[low - 1] <= Fraction(25, 1000)]
    highs = [high for high in range(1, n + 1) if cumulative[high - 1] >= Fraction(975, 1000)]
    return (max(lows), min(highs)) if lows and highs else None


@pytest.mark.parametrize("text", ["0.5", "0.75", "0.9", "0.95", "0.99"])
def test_interval_ranks_are_those_of_the_exact_binomial(text):
    for n in [*range(1, 60), 100, 120]:
        assert interval_ranks(float(text), n) == exact_ranks(text, n), n


def test_interval_ranks_of_larger_samples_are_those_of_the_exact_binomial():
    assert interval_ranks(0.99, 700) == exact_ranks("0.99", 700)
    assert interval_ranks(0.5, 600) == exact_ranks("0.5", 600)


def test_too_few_samples_have_no_interval():
    assert interval_ranks(0.5, 0) is None
    assert interval_ranks(0.5, 5) is None
    assert interval_ranks(0.5, 6) == (1, 6)
    assert interval_ranks(0.99, 367) is None


@pytest.mark.parametrize("quantile", QUANTILES.values())
@pytest.mark.parametrize("count", [20_001, 100_000])
def test_the_normal_approximation_covers_as_much_as_it_says(quantile, count):
    low, high = interval_ranks(quantile, count)
    draws = np.random.default_rng(7).binomial(count, quantile, 40_000)
    covered = ((low <= draws) & (draws < high)).mean()
    assert covered >= 0.945, (low, high)
    assert covered <= 0.985, (low, high)


@pytest.mark.parametrize(("quantile", "count"), [(0.5, 30), (0.9, 120), (0.99, 900)])
def test_intervals_cover_the_true_percentile_at_least_so_often(quantile, count):
    draws = np.random.default_rng(5).random((4000, count))
    draws.sort(axis=1)
    low, high = interval_ranks(quantile, count)
    covered = ((draws[:, low - 1] <= quantile) & (quantile <= draws[:, high - 1])).mean()
    assert 0.943 <= covered <= 0.99


def test_a_clustered_band_is_that_of_the_textbook():
    """Cochran, Sampling Techniques, 6.4: the variance of a ratio of totals."""
    below, sizes = np.array([3, 4, 1, 0]), np.array([4, 4, 2, 2])
    residuals = [
        Fraction(int(b)) - Fraction(1, 2) * int(s) for b, s in zip(below, sizes, strict=True)
    ]
    variance = Fraction(4, 3) * sum(r**2 for r in residuals)
    error = 1.959963984540054 * math.sqrt(variance) / 12
    low, high = clustered_band(0.5, below, sizes)
    assert (low, high) == (pytest.approx(0.5 - error), pytest.approx(0.5 + error))


def test_a_band_stays_within_nothing_and_all():
    low, high = clustered_band(0.5, np.array([0, 10]), np.array([10, 10]))
    assert (low, high) == (0.0, 1.0)


@pytest.mark.parametrize(("below", "sizes"), [([], []), ([1], [2]), ([0, 0], [0, 0])])
def test_less_than_two_requests_have_no_band(below, sizes):
    assert clustered_band(0.5, np.array(below, dtype=int), np.array(sizes, dtype=int)) is None


def test_a_clustered_band_covers_where_one_of_single_samples_would_not():
    """Gaps that share a slowness of their request: 60 requests of 50 gaps each."""
    draws = np.random.default_rng(3)
    requests, each, trials = 60, 50, 600
    slowness = draws.gamma(4.0, 0.25, (trials, requests, 1))
    gaps = slowness * draws.exponential(1.0, (trials, requests, each))
    true = float(np.median(draws.gamma(4.0, 0.25, 400_000) * draws.exponential(1.0, 400_000)))
    covered = naive = 0
    sizes = np.full(requests, each)
    low_rank, high_rank = interval_ranks(0.5, requests * each)
    for trial in gaps:
        ordered = np.sort(trial, axis=None)
        estimate = ordered[rank(0.5, len(ordered)) - 1]
        band = clustered_band(0.5, (trial <= estimate).sum(axis=1), sizes)
        low, high = (ordered[rank(level, len(ordered)) - 1] for level in band)
        covered += low <= true <= high
        naive += ordered[low_rank - 1] <= true <= ordered[high_rank - 1]
    assert 0.92 <= covered / trials <= 0.99
    assert naive / trials < 0.75


def test_the_percentiles_are_those_of_the_contract():
    assert list(QUANTILES.items()) == [
        ("p50", 0.5),
        ("p75", 0.75),
        ("p90", 0.9),
        ("p95", 0.95),
        ("p99", 0.99),
        ("p999", 0.999),
    ]
