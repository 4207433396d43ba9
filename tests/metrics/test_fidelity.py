import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.records import Outcome, Record, Usage
from benchcore.metrics.fidelity import fidelity, ks_distance

MS = 1_000_000
samples = st.lists(st.integers(0, 20), min_size=1, max_size=30)


def slow(a, b):
    """By its definition, over every value that there is."""
    return max(
        abs(sum(x <= v for x in a) / len(a) - sum(x <= v for x in b) / len(b)) for v in {*a, *b}
    )


@given(samples, samples)
def test_the_distance_is_that_of_its_definition(a, b):
    assert ks_distance(a, b) == pytest.approx(slow(a, b))
    assert ks_distance(a, b) == ks_distance(b, a)
    assert ks_distance(a, a) == 0


def test_the_distance_of_nothing_is_unknown():
    assert ks_distance([], [1]) is None
    assert ks_distance(np.array([]), np.array([])) is None


def record(at_ms, lag_us=0, turn=1, asked=(10, 5), billed=(10, 5), outcome=Outcome.OK):
    at_ns = at_ms * MS
    return Record(
        "x",
        scheduled_ns=at_ns,
        sent_ns=at_ns + lag_us * 1000,
        outcome=outcome,
        asked_input_tokens=asked[0],
        asked_output_tokens=asked[1],
        usage=Usage(prompt_tokens=billed[0], completion_tokens=billed[1]),
        turn=turn,
    )


def test_a_replay_that_is_its_trace_has_no_distance():
    some = [record(at, lag_us=at % 7 * 30) for at in range(0, 1000, 10)]
    found = fidelity(some)
    assert (found.input_tokens, found.output_tokens, found.gaps) == (0, 0, 0)


def test_lengths_and_gaps_that_differ_show():
    some = [record(n * 10, billed=(20 if n % 4 == 0 else 10, 5)) for n in range(1, 101)]
    late = [record(2000 + n * 10, lag_us=n * 5000) for n in range(100)]
    found = fidelity([*some, *late])
    assert found.input_tokens == pytest.approx(25 / 200)
    assert found.output_tokens == 0
    assert found.gaps == pytest.approx(99 / 199, abs=0.01)


def test_later_turns_have_no_times_of_the_trace_and_failures_no_lengths():
    some = [record(at) for at in range(0, 300, 10)]
    some += [record(at, turn=2, lag_us=9000) for at in (5, 15)]
    some += [record(300, billed=(99, 99), outcome=Outcome.TIMEOUT)]
    found = fidelity(some)
    assert (found.input_tokens, found.gaps) == (0, 0)
    assert fidelity([]).gaps is None
    assert fidelity([record(at) for at in range(10, 220, 10)]).gaps == 0
    assert fidelity([record(at) for at in range(10, 210, 10)]).gaps is None
