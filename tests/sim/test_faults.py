from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.sim.faults import FaultDice, RandomFault, parse_faults


def test_a_header_names_faults_with_their_arguments():
    faults = parse_faults("stall:5:0.2, no_done,merge:4")
    assert faults.asked == {"stall": (5, 0.2), "no_done": (), "merge": (4,)}
    assert "no_done" in faults
    assert "cut" not in faults
    assert faults.count("stall", 0) == 5
    assert faults.seconds("stall") == 0.2
    assert faults.count("cut", -1) == -1
    assert faults.seconds("stall_first") == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("explode", "unknown fault 'explode': choose one of status, "),
        ("cut", "fault 'cut' is written cut:TOKENS"),
        ("no_done:1", "fault 'no_done:1' is written no_done"),
        ("status:200", "fault 'status:200' is written status:CODE: bad CODE '200'"),
        (
            "stall:5:soon",
            "fault 'stall:5:soon' is written stall:TOKENS:SECONDS: bad SECONDS 'soon'",
        ),
        ("stall:5:nan", "fault 'stall:5:nan' is written stall:TOKENS:SECONDS: bad SECONDS 'nan'"),
        ("merge:0", "fault 'merge:0' is written merge:TOKENS: bad TOKENS '0'"),
        ("cut:-1", "fault 'cut:-1' is written cut:TOKENS: bad TOKENS '-1'"),
    ],
)
def test_a_bad_fault_says_how_it_is_written(text, message):
    with pytest.raises(ValueError) as error:
        parse_faults(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("odds", ["2", "-0.1", "nan", "often", ""])
def test_a_probability_is_between_0_and_1(odds):
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        RandomFault.parse(f"no_done@{odds}")


def test_a_random_fault_without_a_probability_always_strikes():
    assert RandomFault.parse("cut:3") == RandomFault("cut", (3,), 1.0)


@given(st.integers(), st.floats(0.05, 0.95))
def test_the_same_seed_strikes_the_same_requests(seed, probability):
    fault = RandomFault("no_done", (), probability)

    def strikes() -> list[bool]:
        dice = FaultDice([fault], seed)
        return ["no_done" in dice.draw(None) for _ in range(50)]

    assert strikes() == strikes()


def test_random_faults_strike_as_often_as_asked():
    dice = FaultDice([RandomFault.parse("no_done@0.1")], 1)
    struck = sum("no_done" in dice.draw(None) for _ in range(10_000))
    assert abs(struck - 1000) < 150  # five standard deviations


def test_a_header_overrides_and_adds_to_what_was_drawn():
    dice = FaultDice([RandomFault.parse("cut:3")], 1)
    assert dice.draw("cut:4,no_done").asked == {"cut": (4,), "no_done": ()}
