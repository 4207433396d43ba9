import numpy as np
import pytest

from benchcore.metrics.change_points import change_points, pettitt


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


def test_of_chance_alone_there_are_few():
    found = sum(bool(change_points(noisy(100, 100, seed=seed))) for seed in range(200))
    assert found <= 4


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 7, [3.0] * 40])
def test_too_few_or_equal_values_have_none(values):
    assert change_points(values) == []


def test_pettitts_statistic_by_hand():
    # Four low, four high: every pair of the two sides differs, so K is 16.
    place, p = pettitt(np.array([1, 2, 3, 4, 11, 12, 13, 14.0]))
    assert place == 4
    assert p == pytest.approx(2 * np.exp(-6 * 16**2 / (8**3 + 8**2)))
