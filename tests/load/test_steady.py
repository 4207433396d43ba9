import math
import random
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.load.steady import (
    Flow,
    SteadyState,
    closed_steady,
    mann_kendall_z,
    open_steady,
)


def test_a_closed_loop_is_steady_where_in_flight_is_at_95_percent_of_the_target():
    means = [20.0, 60.7, 60.8, 64.0, 63.0, 60.8, 10.0]
    assert closed_steady(means, 64, first=3) == SteadyState(True, 5, 8, "4 of 7 s")


def test_a_steady_state_is_one_unbroken_run_the_longest_and_the_first_of_those():
    means = [8.0, 8.0, 1.0, 8.0, 8.0, 8.0, 0.0, 8.0, 8.0, 8.0, 0.0]
    steady = closed_steady(means, 8)
    assert (steady.first_second, steady.last_second) == (3, 5)


def test_a_closed_loop_may_be_steady_all_the_time():
    assert closed_steady([4.0] * 5, 4, first=1) == SteadyState(True, 1, 5, "5 of 5 s")


def test_a_closed_loop_that_never_fills_up_has_no_steady_state():
    steady = closed_steady([60.7, 3.0], 64)
    assert steady == SteadyState(False, why="no second reached 95% of 64 in flight")


def test_less_than_a_second_tells_nothing():
    assert closed_steady([], 64).found is None


@given(
    means=st.lists(st.sampled_from([0.0, 9.4, 9.5, 10.0]), min_size=1, max_size=30),
    first=st.integers(0, 9),
)
def test_the_steady_run_is_that_of_a_slow_oracle(means, first):
    runs = [
        (begin, end)
        for begin in range(len(means))
        for end in range(begin, len(means))
        if all(mean >= 9.5 for mean in means[begin : end + 1])
    ]
    steady = closed_steady(means, 10, first)
    if runs:
        begin, end = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
        assert (steady.found, steady.first_second, steady.last_second) == (
            True,
            first + begin,
            first + end,
        )
    else:
        assert steady.found is False


def test_an_open_loop_of_few_seconds_tells_nothing():
    assert open_steady([1.0] * 7).found is None
    assert open_steady([1.0] * 8).found is True


def test_in_flight_without_a_trend_is_steady_over_the_whole_window():
    random_walk = random.Random(3)
    means = [20 + random_walk.gauss(0, 3) for _ in range(60)]
    steady = open_steady(means, first=2)
    assert (steady.found, steady.first_second, steady.last_second, steady.grows) == (
        True,
        2,
        61,
        False,
    )


def test_a_queue_that_only_grows_is_found():
    steady = open_steady([5.0 + 2 * n for n in range(30)])
    assert (steady.found, steady.grows) == (False, True)
    assert steady.why == "in-flight grew from 11.0 to 57.0"


def test_a_queue_that_empties_is_no_steady_state_and_does_not_grow():
    steady = open_steady([5.0 + 2 * n for n in reversed(range(30))])
    assert (steady.found, steady.grows) == (False, False)
    assert steady.why == "in-flight fell from 57.0 to 11.0"


@pytest.mark.parametrize("by", [0.1, -0.1])
def test_a_trend_that_does_not_matter_is_none(by):
    means = [100.0 + by * n for n in range(60)]
    assert abs(mann_kendall_z(means)) > 2.576
    assert open_steady(means).found is True


def test_a_growth_that_matters_needs_a_trend_too():
    means = [0.0] * 15 + [50.0, 0.0] * 7 + [0.0]
    assert open_steady(means).found is True


def textbook_z(values):
    """Gilbert, Statistical Methods for Environmental Pollution Monitoring, 16.4.2."""
    s = sum((b > a) - (b < a) for a, b in combinations(values, 2))
    n = len(values)
    ties = sum(t * (t - 1) * (2 * t + 5) for t in Counter(values).values())
    variance = (n * (n - 1) * (2 * n + 5) - ties) / 18
    if s == 0 or variance == 0:
        return 0.0
    return (s - 1) / math.sqrt(variance) if s > 0 else (s + 1) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # S = 45, variance 125.
        (list(range(10)), 44 / math.sqrt(125)),
        (list(range(10, 0, -1)), -44 / math.sqrt(125)),
        # S = 2, variance 44/3 without ties, less the tie of two: 13.67.
        ([1.0, 3.0, 2.0, 2.0, 3.0], None),
        ([7.0] * 9, 0.0),
        ([], 0.0),
        ([1.0], 0.0),
    ],
)
def test_mann_kendall_is_right_on_known_examples(values, expected):
    assert mann_kendall_z(values) == pytest.approx(
        textbook_z(values) if expected is None else expected
    )


@given(st.lists(st.integers(-5, 5) | st.floats(-1e3, 1e3), max_size=40))
def test_mann_kendall_is_that_of_the_textbook(values):
    assert mann_kendall_z(values) == pytest.approx(textbook_z(values))


def test_a_trend_is_found_by_chance_as_seldom_as_it_should():
    draws = random.Random(11)
    found = sum(
        abs(mann_kendall_z([draws.random() for _ in range(40)])) > 2.576 for _ in range(2000)
    )
    assert 8 <= found <= 34  # 20 at 1 %


# What came and what went.


def open_flow(seed, *, rate, slots, service=1.0, seconds=60.0, constant=False):
    """Requests on a server of some slots (`None`: room for all), one after the other by hand."""
    draw = random.Random(seed)
    at, moment = [], 0.0
    while moment < seconds:
        moment += 1 / rate if constant else draw.expovariate(rate)
        at.append(moment)
    free, ends = [0.0] * (slots or 0), []
    for begin in at:
        takes = service * draw.uniform(0.7, 1.3)
        if slots is None:
            ends.append(begin + takes)
            continue
        free.sort()
        ends.append(max(free.pop(0), begin) + takes)
        free.append(ends[-1])
    lasted = [end - begin for begin, end in zip(at, ends, strict=True)]
    return Flow(0.0, seconds, np.array(at), np.array(lasted), np.array(ends))


def test_a_server_with_room_for_all_is_hardly_ever_said_to_be_saturated():
    flows = [open_flow(s, rate=2, slots=None, service=10.0, seconds=120.0) for s in range(100)]
    assert sum(open_steady([20.0] * 20, 0, flow).grows for flow in flows) <= 3


@pytest.mark.parametrize("constant", [True, False])
def test_a_tenth_more_than_a_server_can_do_saturates_it(constant):
    flows = [open_flow(s, rate=11, slots=10, seconds=120.0, constant=constant) for s in range(40)]
    assert sum(open_steady([20.0] * 20, 0, flow).grows for flow in flows) >= 37


def test_twice_what_a_server_can_do_saturates_it():
    flow = open_flow(1, rate=20, slots=10, seconds=30.0)
    steady = open_steady([float(10 + n) for n in range(30)], 0, flow)
    assert (steady.found, steady.grows) == (False, True)
    assert steady.why == "in-flight grew from 13.0 to 36.0"


def test_a_window_of_few_requests_lengths_tells_nothing():
    flow = open_flow(1, rate=5, slots=None, service=10.0, seconds=40.0)
    steady = open_steady([5.0] * 40, 0, flow)
    assert (steady.found, steady.grows) == (None, False)
    assert steady.why == "the window is shorter than 4 requests last: no trend either way"


def test_a_load_that_comes_in_one_clump_does_not_grow():
    clump = np.full(50, 0.5)
    flow = Flow(0.0, 20.0, clump, np.full(50, 1.0), clump + 1.0)
    assert open_steady([2.0] * 20, 0, flow).grows is False


def rising_flow(seed):
    """More and more comes, and all of it is served at once, in times that differ widely."""
    draw = random.Random(seed)
    at, moment = [], 0.0
    while moment < 120.0:
        moment += draw.expovariate(2 + moment / 120)
        at.append(moment)
    lasted = [draw.expovariate(0.1) for _ in at]
    ends = [begin + takes for begin, takes in zip(at, lasted, strict=True)]
    return Flow(0.0, 120.0, np.array(at), np.array(lasted), np.array(ends))


def test_growth_alone_is_no_saturation():
    found = [open_steady([20.0] * 20, 0, rising_flow(seed)).grows for seed in range(100)]
    assert sum(found) <= 3
