import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.judge.comparison import _load_of
from benchcore.judge.significance import (
    Rate,
    batched_rate,
    beta_binomial_tail,
    exceedance_p,
    log_spread,
    lower_p,
    nearest,
    requests_needed,
    student_tail,
)
from benchcore.runs.run import Level


def draws(seed, count, scale=1.0):
    return np.random.default_rng(seed).lognormal(-3.0, 0.2, count) * scale


@given(st.lists(st.floats(0.001, 10), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_a_percentile_is_by_nearest_rank(values, quantile):
    place = math.ceil(quantile * len(values) * (1 - 1e-14)) - 1
    assert nearest(np.array(values), quantile) == sorted(values)[place]


def test_the_tail_of_the_beta_binomial_by_hand():
    # Of 2 further values how many lie above the larger of 2: P(2) = 1/6, P(1) = 1/3, P(0) = 1/2.
    assert beta_binomial_tail(2, 2, 1, 2) == pytest.approx(1 / 6)
    assert beta_binomial_tail(1, 2, 1, 2) == pytest.approx(1 / 2)
    assert beta_binomial_tail(0, 2, 1, 2) == 1.0
    # All of 20 above the largest of 20: one of the ways to choose 20 of 40.
    assert beta_binomial_tail(20, 20, 1, 20) == pytest.approx(1 / math.comb(40, 20))


def test_twenty_requests_are_enough_for_a_slow_down_of_three():
    assert exceedance_p(draws(1, 20), draws(2, 20, 3.0), 0.99) < 1e-9


def test_equal_values_are_no_evidence():
    same = np.full(1000, 0.05)
    assert exceedance_p(same, same, 0.99) == 1.0
    assert exceedance_p(same, same * 1.2, 0.99) < 1e-9


def test_of_one_distribution_the_p_value_is_what_it_says():
    found = [exceedance_p(draws(seed, 400), draws(seed + 10_000, 400), 0.99) for seed in range(500)]
    assert np.mean(np.array(found) < 0.05) <= 0.06
    assert np.mean(np.array(found) < 0.5) >= 0.3


def test_requests_that_come_in_clumps_are_fewer_than_they_look():
    # One stall lifts 40 requests in a row over the 99th percentile: that is one event, not 40.
    calm, stalled = draws(3, 2000), draws(4, 2000)
    stalled[1000:1040] *= 4
    scattered = draws(4, 2000)
    scattered[np.random.default_rng(5).choice(2000, 40, replace=False)] *= 4
    assert exceedance_p(calm, scattered, 0.99) < 1e-2
    assert exceedance_p(calm, stalled, 0.99) > 20 * exceedance_p(calm, scattered, 0.99)


def test_the_spread_of_a_percentile_is_that_of_many_runs():
    medians = [math.log(nearest(draws(seed, 500), 0.5)) for seed in range(400)]
    told = np.mean([log_spread(draws(seed, 500), 0.5) for seed in range(40)])
    assert told == pytest.approx(np.std(medians), rel=0.25)
    tails = [math.log(nearest(draws(seed, 2000), 0.99)) for seed in range(400)]
    told = np.mean([log_spread(draws(seed, 2000), 0.99) for seed in range(40)])
    assert told == pytest.approx(np.std(tails), rel=0.4)


def test_how_many_requests_a_change_takes():
    # A spread of 5 % with 100 requests must come down to ln(1.12/1.10)/1.645 = 1.095 %.
    assert requests_needed(100, 0.05, 0.12, 0.10) == math.ceil(
        100 * (0.05 * 1.6448536 / math.log(1.12 / 1.10)) ** 2
    )
    assert requests_needed(100, 0.0, 0.12, 0.10) is None
    assert requests_needed(100, 0.05, 0.10, 0.10) is None


def test_a_rate_in_batches():
    done = np.arange(1, 1001) / 100
    found = batched_rate(done, 0.0, 10.0)
    assert (found.mean, found.batches) == (pytest.approx(100.0), 20)
    assert found.stderr < 0.5
    assert batched_rate(done[:20], 0.0, 0.2) is None
    assert batched_rate(done, 0.0, 0.0) is None


def test_a_lower_rate():
    base = [Rate(100, 1, 20)]
    assert lower_p(base, [Rate(100, 1, 20)]) == pytest.approx(0.5, abs=1e-6)
    assert lower_p(base, [Rate(90, 1, 20)]) < 1e-4
    assert lower_p(base, [Rate(110, 1, 20)]) > 1 - 1e-4
    assert lower_p([Rate(100, 0, 20)], [Rate(90, 0, 20)]) == 0.0
    assert lower_p([Rate(100, 0, 20)], [Rate(100, 0, 20)]) == 1.0


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(0.0, 5, 0.5), (2.2281, 10, 0.025), (-2.2281, 10, 0.975), (1.9600, 1e6, 0.025)],
)
def test_students_tail(t, freedom, p):
    assert student_tail(t, freedom) == pytest.approx(p, abs=2e-4)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"level": "s1", "arrival": "trace x1"}, {"level": "s1", "arrival": "trace x1"}, True),
        ({"level": "s1", "arrival": "trace x1"}, {"level": "s2", "arrival": "trace x2"}, False),
        (
            {"level": "shape", "rate": 5.0, "arrival": "poisson hold:5/1s"},
            {"level": "r5", "rate": 5.0, "arrival": "poisson"},
            False,
        ),
        (
            {"level": "a-shape", "rate": 5.0, "arrival": "poisson hold:5/1s"},
            {"level": "shape", "rate": 5.0, "arrival": "poisson hold:5/1s"},
            True,
        ),
        (
            {"level": "users", "mode": "closed", "concurrency": 5},
            {"level": "c5", "mode": "closed", "concurrency": 5},
            False,
        ),
        ({"level": "r5", "rate": 5.0}, {"level": "r5.0", "rate": 5.0}, True),
    ],
)
def test_levels_are_of_the_same_load_where_that_is_the_same(one, other, same):
    found = [
        _load_of(Level.model_construct(**{"mode": "open", "concurrency": None, **fields}))
        for fields in (one, other)
    ]
    assert (found[0] == found[1]) == same
