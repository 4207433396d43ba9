"""Energy of a window, from readings whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.metrics.energy import gpus, per_token
from benchcore.observe.gpus import Reading


def readings(times, watts=None, joules=None, device="a", role=""):
    return [
        Reading(
            at=at,
            device=device,
            power_watts=None if watts is None else watts(at),
            energy_joules=None if joules is None else joules(at),
            role=role,
        )
        for at in times
    ]


def test_a_counter_is_interpolated_at_both_ends():
    usage = gpus(readings([0, 1, 2, 3], joules=lambda at: 1000 + 50 * at), 0.25, 2.5)
    assert usage.energy_joules == pytest.approx(112.5)
    assert usage.energy_valid
    assert usage.devices[0].power_watts_avg == pytest.approx(50)
    assert usage.hours == pytest.approx(2.25 / 3600)


def test_power_goes_in_a_line_from_reading_to_reading():
    usage = gpus(readings([0, 1, 2], watts=lambda at: 100 * at), 0.5, 1.5)
    assert usage.energy_joules == pytest.approx(100)
    assert usage.devices[0].energy_from == "power"


@given(
    st.lists(st.floats(0, 500), min_size=3, max_size=20),
    st.floats(0.01, 0.49),
    st.floats(0.51, 0.99),
)
def test_power_s_integral_is_that_of_a_fine_sum(watts, begin, end):
    times = np.arange(len(watts), dtype=float)
    begin, end = begin * times[-1], end * times[-1]
    usage = gpus(readings(times, watts=lambda at: float(np.interp(at, times, watts))), begin, end)
    fine = np.linspace(begin, end, 20_001)
    middles = (fine[1:] + fine[:-1]) / 2
    truth = float(np.interp(middles, times, watts).sum() * (fine[1] - fine[0]))
    assert usage.energy_joules == pytest.approx(truth, rel=1e-3, abs=0.1)


def test_a_counter_that_falls_is_told_and_power_stands_in():
    def joules(at):
        return (1000 + 50 * at) % 1075

    usage = gpus(readings([0, 1, 2, 3], watts=lambda _at: 50.0, joules=joules), 0, 3)
    assert usage.energy_joules == pytest.approx(150)
    assert not usage.energy_valid
    assert usage.energy_reasons == ["a: its energy counter fell; its power stands in for it there"]


def test_a_counter_that_falls_where_no_power_is_known_leaves_energy_unknown():
    usage = gpus(readings([0, 1, 2], joules=lambda at: 10.0 - at), 0, 2)
    assert usage.energy_joules is None
    assert usage.energy_reasons[-1] == "a: says neither its energy nor its power throughout"


@pytest.mark.parametrize(
    ("times", "gap"),
    [((0, 1, 5, 6), "4.0"), ((0, 1, 2, 2.5), "3.5"), ((3.5, 4, 5, 6), "3.5")],
    ids=["inside", "end", "begin"],
)
def test_a_gap_over_three_seconds_makes_energy_invalid(times, gap):
    usage = gpus(readings(times, joules=lambda at: 50.0 * at), 0, 6)
    assert not usage.energy_valid
    assert usage.energy_reasons == [f"a: no reading for {gap} s"]


def test_gaps_of_three_seconds_are_none():
    assert gpus(readings([0, 3, 6], joules=lambda at: 50.0 * at), 0, 6).energy_valid


@pytest.mark.parametrize(
    ("times", "unseen"), [((1, 3, 6), "1.0"), ((0, 3, 5.5), "0.5"), ((0.2, 3, 5.8), "0.4")]
)
def test_what_was_not_seen_at_the_ends_of_a_short_window_makes_energy_invalid(times, unseen):
    found = gpus(readings(times, joules=lambda at: 50.0 * at), 0, 6)
    assert not found.energy_valid
    assert found.energy_reasons == [f"a: no reading for {unseen} s at the ends of the window"]


def test_a_twentieth_of_the_window_may_be_unseen():
    found = gpus(readings([0, 3, 5.75], joules=lambda at: 50.0 * at), 0, 6)
    assert found.energy_valid


def test_a_device_that_was_never_read_makes_the_whole_unknown():
    usage = gpus(readings([0, 1], joules=lambda at: at), 0, 1, expected=["a", "b"])
    assert usage.energy_joules is None
    assert usage.energy_reasons == ["b: fewer than two readings"]
    assert [device.readings for device in usage.devices] == [2, 0]


def test_roles_are_added_up_apart():
    both = [
        *readings([0, 1], joules=lambda at: 100 * at, device="a", role="prefill"),
        *readings([0, 1], joules=lambda at: 300 * at, device="b", role="decode"),
        *readings([0, 1], joules=lambda at: 50 * at, device="c", role="decode"),
    ]
    usage = gpus(both, 0, 1)
    assert usage.energy_joules_by_role == {"prefill": 100, "decode": 350}
    assert usage.energy_joules == 450


def test_of_no_device_nothing_is_said():
    assert gpus([], 0, 1) is None


def test_what_tokens_and_requests_cost():
    usage = gpus(readings(range(11), joules=lambda at: 200 * at), 0, 10)
    costs = per_token(usage, output_tokens=4000, requests=20, seconds=10, price=3.6)
    assert costs == {
        "tokens_per_joule": 2.0,
        "joules_per_request": 100.0,
        "cost_per_million_tokens": pytest.approx(2.5),
    }


def test_what_is_not_valid_costs_no_joules_and_what_has_no_price_no_money():
    usage = gpus(readings(range(11), joules=lambda at: 200 * at), 0, 10)
    costs = per_token(usage, output_tokens=4000, requests=20, seconds=10)
    assert costs["cost_per_million_tokens"] is None
    unknown = per_token(None, output_tokens=4000, requests=20, seconds=10, price=3.6, count=2)
    assert unknown == {
        "tokens_per_joule": None,
        "joules_per_request": None,
        "cost_per_million_tokens": pytest.approx(5.0),
    }
