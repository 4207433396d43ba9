import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchcore.judge.history import _statistics, change_points, likeliest_change


def noisy(*levels, each=15, seed=0):
    draw = np.random.default_rng(seed)
    return np.concatenate([level * draw.lognormal(0, 0.03, each) for level in levels])


def test_a_step_is_found_where_it_is():
    assert change_points(noisy(100, 120)) == [15]
    assert change_points(noisy(100, 80)) == [15]


def test_two_steps_are_both_found():
    assert change_points(noisy(100, 130, 100)) == [15, 30]


def test_one_bad_night_is_no_change():
    values = noisy(100, 100)
    values[20] = 400
    assert change_points(values) == []


SEEDS = pytest.mark.parametrize("seeds", [50, pytest.param(200, marks=pytest.mark.full)])


@SEEDS
def test_of_chance_alone_there_are_few(seeds):
    found = sum(bool(change_points(noisy(100, 100, seed=seed))) for seed in range(seeds))
    assert found <= seeds / 50


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 7, [3.0] * 40])
def test_too_few_or_equal_values_have_none(values):
    assert change_points(values) == []


def test_the_statistic_is_students_t_of_every_place():
    values = np.random.default_rng(3).normal(0, 1, 14)
    found = _statistics(values[None, :])[0]
    for place, t in zip(range(3, 12), found, strict=True):
        one, other = values[:place], values[place:]
        pooled = (one.var() * len(one) + other.var() * len(other)) / (len(values) - 2)
        slow = abs(one.mean() - other.mean()) / np.sqrt(pooled * (1 / len(one) + 1 / len(other)))
        assert t == pytest.approx(slow)


def test_a_change_of_the_last_five_nights_is_found_and_near_where_it_is():
    found = []
    for seed in range(60):
        values = noisy(100, each=60, seed=seed)
        values[55:] *= 1.1
        found.append(change_points(values))
    assert sum(bool(one) for one in found) >= 54
    assert all(abs(at - 55) <= 5 for one in found for at in one[-1:])


def test_a_doubling_three_nights_ago_is_found_in_a_year():
    values = noisy(100, each=365)
    values[362:] *= 2
    assert change_points(values) == [362]


def test_twelve_nights_are_enough_for_a_change_that_is_plain():
    assert change_points([100, 101, 99, 100, 102, 101, 100, 150, 151, 149, 150, 152]) == [7]


def drifting(seed, nights=60, carried=0.3):
    draw = np.random.default_rng(seed)
    values = [draw.standard_normal()]
    for noise in draw.standard_normal(nights - 1):
        values.append(carried * values[-1] + np.sqrt(1 - carried**2) * noise)
    return 100 * np.exp(0.03 * np.array(values))


@SEEDS
def test_nights_that_resemble_those_before_them_are_no_change(seeds):
    assert sum(bool(change_points(drifting(seed))) for seed in range(seeds)) <= seeds / 25


@given(
    st.lists(st.integers(-50, 50).map(lambda n: n / 4), min_size=8, max_size=12),
    st.floats(0.5, 20),
)
@example(  # two places tie but for rounding
    [-0.25, -0.25, 0.0, 0.5, 0.5, 0.25, -0.5, 0.25, 0.5, 0.0, -0.25, -0.25], 12.550666596604904
)
@settings(max_examples=25)
def test_neither_scale_nor_direction_of_time_matter(values, scale):
    series = np.array(values)
    place, p = likeliest_change(series)
    assert likeliest_change(series * scale)[1] == pytest.approx(p)
    if place is not None:
        assert 3 <= place <= len(values) - 3
