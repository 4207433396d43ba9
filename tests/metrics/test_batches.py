"""Batches: against oracles that do the same in plain loops, and against what is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.metrics.batches import (
    batch_count,
    batch_of,
    course,
    effective_size,
    lasts,
    long_run,
    order_ranks,
    quantile_band,
    rate_interval,
)
from benchcore.metrics.scores import student_t, student_tail
from benchcore.metrics.summary import summarize

floats = st.floats(-100, 100)


@pytest.mark.parametrize(
    ("values", "length", "request_", "expected"),
    [
        (2000, 100.0, 1.0, 20),  # twenty, however long the window is
        (2000, 20.0, 1.0, 10),  # two mean e2e each
        (2000, 15.9, 1.0, 0),  # seven would fit
        (2000, 16.0, 1.0, 8),
        (100, 100.0, 0.0, 10),  # ten values each
        (79, 100.0, 0.0, 0),
        (2000, 0.0, 0.0, 0),
    ],
)
def test_how_many_batches_fit(values, length, request_, expected):
    assert batch_count(values, length, request_) == expected


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40), st.integers(1, 20))
@settings(max_examples=60)
def test_every_instant_lies_in_the_batch_that_holds_it(instants, count):
    found = batch_of(np.array(instants), 0, 1000, count)
    for at, number in zip(instants, found.tolist(), strict=True):
        assert number == min(at * count // 1000, count - 1)


@given(st.lists(floats, min_size=2, max_size=30))
def test_what_a_sum_varies_by_is_that_of_the_oracle(values):
    residuals = [value - math.fsum(values) / len(values) for value in values]
    squares = math.fsum(r * r for r in residuals)
    found = long_run(np.array(residuals))
    if squares < 1e-6:
        return
    n = len(residuals)
    r = math.fsum(a * b for a, b in itertools.pairwise(residuals)) / squares
    carried = r + (1 + 2 * r) / n
    variance = n / (n - 1) * squares
    if carried > 0.15:
        variance *= (1 + min(carried, 0.9)) / (1 - min(carried, 0.9))
    assert found.carried == pytest.approx(carried, abs=1e-6)
    assert found.variance == pytest.approx(variance, rel=1e-6)


def test_independent_requests_tell_as_much_as_they_are_and_others_less():
    draw = np.random.default_rng(1)
    sizes = np.full(20, 100.0)
    alone = np.mean(
        [effective_size(draw.binomial(100, 0.5, 20).astype(float), sizes)[0] for _ in range(200)]
    )
    assert 1600 < alone < 2400
    shared = np.repeat([30.0, 70.0], 10)
    draw.shuffle(shared)
    assert effective_size(shared, sizes)[0] < 300


def test_the_band_is_that_of_the_binomial_where_there_are_many():
    low, high = quantile_band(0.5, 10_000, 10_000)
    assert (low, high) == pytest.approx((0.5 - 0.0098, 0.5 + 0.0098), abs=1e-4)
    assert order_ranks((0.4, 0.6), 100) == (40, 61)
    assert order_ranks((-0.1, 0.6), 100) is None
    assert order_ranks((0.98, 1.01), 100) is None


def test_the_skew_of_a_tail_moves_the_band_inwards_from_the_end():
    low, high = quantile_band(0.99, 1000, 10_000)
    assert (low + high) / 2 < 0.99


@given(st.floats(-8, 8), st.integers(3, 200))
def test_students_tail_is_the_integral_of_its_density(t, freedom):
    # Simpson's rule over the density, from t to far out.
    def density(x):
        scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
        return scale / math.sqrt(freedom * math.pi) * (1 + x * x / freedom) ** (-(freedom + 1) / 2)

    end, steps = abs(t), 400
    width = end / steps
    ends = density(0) + density(end)
    inner = sum((4 if place % 2 else 2) * density(place * width) for place in range(1, steps))
    inside = (ends + inner) * width / 3
    expected = 0.5 - inside if t >= 0 else 0.5 + inside
    assert student_tail(t, freedom) == pytest.approx(expected, abs=1e-7)


def test_students_tail_and_quantile_belong_together():
    for freedom in (7, 19, 40):
        assert student_tail(student_t(0.975, freedom), freedom) == pytest.approx(0.025, abs=2e-4)


def carried_series(seed, count, carried):
    draw = np.random.default_rng(seed)
    values = [draw.standard_normal()]
    for noise in draw.standard_normal(count - 1):
        values.append(carried * values[-1] + math.sqrt(1 - carried**2) * noise)
    return np.array(values)


def test_an_interval_of_requests_that_resemble_one_another_is_wider():
    def width(carried):
        widths = []
        for seed in range(30):
            values = 1e8 * np.exp(0.3 * carried_series(seed, 2000, carried))
            low, high = summarize(values.tolist()).intervals["p50"]
            widths.append(high / low - 1)
        return np.mean(widths)

    # The mean of an autoregressive series varies (1 + r)/(1 - r) times as much: 19 at 0.9.
    assert width(0.9) > 2.5 * width(0.0)


def test_what_lasts_for_longer_than_a_batch_is_marked():
    slow = [1e8 * np.exp(0.3 * carried_series(seed, 2000, 0.997)) for seed in range(20)]
    told = [summarize(values.tolist()) for values in slow]
    trusted = [
        one for one in told if "p50" in one.intervals and "p50" not in one.intervals_doubtful
    ]
    assert len(trusted) <= 2
    quick = [1e8 * np.exp(0.3 * carried_series(seed, 2000, 0.0)) for seed in range(20)]
    assert sum("p50" in summarize(values.tolist()).intervals_doubtful for values in quick) <= 3


def test_a_course_has_no_mean_and_unit_squares():
    draw = np.random.default_rng(2)
    found = course(draw.normal(5, 1, 500), np.arange(500) // 5, 100)
    assert found.sum() == pytest.approx(0, abs=1e-9)
    assert found @ found == pytest.approx(1)
    assert not lasts(found)
    assert lasts(course(np.sin(np.arange(500) / 50), np.arange(500) // 5, 100))


def test_a_steady_rate_is_known_exactly_and_another_less_so():
    assert rate_interval(np.full(20, 50.0), 10.0) == (100.0, 100.0, False)
    low, high, _ = rate_interval(np.array([40.0, 60.0] * 10), 10.0)
    assert low < 100 < high
    # What one batch has too many the next has too few: whole requests at the edges of batches.
    narrow = rate_interval(np.array([40.0, 60.0] * 10), 10.0, whole=True)
    assert narrow[1] - narrow[0] < high - low
