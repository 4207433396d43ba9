import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.records import Outcome
from benchcore.config.limits import Slo
from benchcore.metrics import figures
from benchcore.metrics.figures import (
    METRICS,
    PER_REQUEST,
    dispatch_lag_ns,
    first_event_tokens,
    hidden_tokens,
    is_good,
    own_p99_ns,
    streamed_tokens,
    streaming,
    tpot_ns,
)
from benchcore.metrics.percentiles import nearest_rank

MS = 1_000_000


def test_every_figure_runs_between_the_instants_of_its_definition(record):
    one = record(
        [150, 170, 200],
        scheduled=100,
        sent=110,
        done=230,
        first_output=170,
        completion=5,
        first_byte_ns=140,
        send_end_ns=115,
        connect_ns=7,
    )
    values = {name: figure(one) for name, figure in PER_REQUEST.items()}
    assert values == {
        "ttft": 40,
        "ttft_from_schedule": 50,
        "ttfo": 60,
        "first_byte": 30,
        "first_byte_from_schedule": 40,
        "tpot": 50 / 4,
        "e2e": 90,
        "e2e_from_schedule": 100,
        "send": 5,
        "connect": 7,
    }
    assert dispatch_lag_ns(one) == 10
    assert set(METRICS) == {*values, "icl", "itl", "dispatch_lag"}


def test_a_plain_answer_has_its_end_and_its_first_byte_and_nothing_else(record):
    one = record(streamed=False, scheduled=100, sent=110, done=500, first_byte_ns=400, completion=9)
    values = {name: figure(one) for name, figure in PER_REQUEST.items()}
    assert {name: value for name, value in values.items() if value is not None} == {
        "first_byte": 290,
        "first_byte_from_schedule": 300,
        "e2e": 390,
        "e2e_from_schedule": 400,
    }
    assert own_p99_ns(one, "icl") is None
    assert own_p99_ns(one, "itl") is None


def test_a_stream_without_a_token_has_no_latency(record):
    one = record(scheduled=100, sent=110, done=500, first_byte_ns=400)
    values = {name: figure(one) for name, figure in PER_REQUEST.items()}
    assert {name for name, value in values.items() if value is not None} == {
        "first_byte",
        "first_byte_from_schedule",
    }


def test_a_request_that_never_left_has_no_figure(record):
    one = record(sent=0, done=500, outcome=Outcome.CONNECT_ERROR)
    assert [figure(one) for figure in PER_REQUEST.values()] == [None] * len(PER_REQUEST)
    assert dispatch_lag_ns(one) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"completion": 11}, 30.0),
        # The first event's tokens, where the running usage says how many.
        ({"completion": 11, "tokens": [5, 3, 3]}, 50.0),
        # No usage: each event is a token.
        ({}, 150.0),
        ({"events": [2, 3, 1]}, 60.0),
        # Billed reasoning that was not streamed.
        ({"completion": 71, "reasoning": 60}, 30.0),
        ({"completion": 71, "reasoning": 60, "reasoning_events": 1}, 300 / 70),
        # … which the running usage of the first event counts, too.
        ({"completion": 71, "reasoning": 60, "tokens": [61, 5, 5]}, 30.0),
        ({"completion": 71, "reasoning": 60, "tokens": [66, 3, 2]}, 60.0),
        # Usage that less than half of the events contradict: these count.
        ({"completion": 2}, 300.0),
        ({"completion": 1}, 150.0),
        ({"completion": 0}, 150.0),
        # The divisor is not positive.
        ({"completion": 6, "tokens": [6, 0, 0]}, None),
        ({"completion": 30, "reasoning": 60}, None),
    ],
)
def test_tpot_is_the_time_after_the_first_token_per_token_after_the_first(record, fields, expected):
    one = record([1000, 1100, 1300], **fields)
    assert PER_REQUEST["tpot"](one) == expected


def test_where_all_tokens_came_at_once_there_is_no_time_per_token(record):
    assert tpot_ns(record([1000], completion=8)) is None
    assert tpot_ns(record([1000], events=[8], completion=8)) is None
    assert tpot_ns(record([1000, 1000], completion=8)) is None


@pytest.mark.parametrize("choices", [1, 2, 8])
def test_the_time_per_token_of_several_choices_is_that_of_one(record, choices):
    # Each choice a token every 10 ms, the choices 1 ms apart.
    moments = sorted((10 * place + lane, lane) for place in range(5) for lane in range(choices))
    stamps = [10**9 + moment * 10**6 for moment, _ in moments]
    lanes = [lane for _, lane in moments]
    one = record(stamps, lanes=lanes, events=[1] * len(stamps), completion=5 * choices)
    assert streaming(one) == (4 * choices, choices * 40 * 10**6)
    assert tpot_ns(one) == 10 * 10**6


def slow_streaming(one):
    """Choice by choice, with a dictionary: tokens after the first, and the time they took."""
    choices = {}
    for stamp, carried, lane in zip(one.stamps, one.events, one.lanes, strict=True):
        choices.setdefault(lane, []).append((stamp, carried))
    tokens = sum(carried for arrivals in choices.values() for _, carried in arrivals)
    after = tokens - len(choices)
    took = sum(arrivals[-1][0] - arrivals[0][0] for arrivals in choices.values())
    return (after, took) if after > 0 and took > 0 else None


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=20
    )
)
def test_streaming_is_that_of_the_oracle(record, arrivals):
    at, stamps = 10**9, []
    for gap, _, _ in arrivals:
        at += gap
        stamps.append(at)
    events, lanes = [one[1] for one in arrivals], [one[2] for one in arrivals]
    one = record(stamps, events=events, lanes=lanes)
    assert streaming(one) == slow_streaming(one)


def test_the_tokens_of_the_first_event_are_known_or_one(record):
    assert first_event_tokens(record([1, 2], completion=9)) == (1, True)
    assert first_event_tokens(record([1, 2], completion=9, tokens=[4, 5])) == (4, False)
    assert first_event_tokens(record([1, 2], completion=9, reasoning=9, tokens=[4, 5])) == (
        1,
        False,
    )


@pytest.mark.parametrize(
    ("fields", "hidden", "streamed"),
    [
        ({"completion": 10}, 0, 10),
        ({"completion": 10, "reasoning": 0}, 0, 10),
        ({"completion": 10, "reasoning": 4}, 4, 6),
        ({"completion": 10, "reasoning": 4, "reasoning_events": 2}, 0, 10),
        ({"reasoning": 4}, 0, 3),  # no count to take it off
        ({}, 0, 3),
    ],
)
def test_reasoning_that_came_over_the_wire_is_not_taken_off(record, fields, hidden, streamed):
    one = record([1, 2, 3], **fields)
    assert (hidden_tokens(one), streamed_tokens(one)) == (hidden, streamed)


def test_a_plain_answer_without_usage_has_no_tokens(record):
    assert streamed_tokens(record(streamed=False)) is None


@given(gaps=st.lists(st.integers(1, 500), min_size=1, max_size=200))
def test_an_slo_on_gaps_is_judged_by_the_requests_own_p99(record, gaps):
    stamps = [1000]
    for gap in gaps:
        stamps.append(stamps[-1] + gap)
    one = record(stamps)
    expected = nearest_rank(sorted(gaps), 0.99)
    assert own_p99_ns(one, "icl") == own_p99_ns(one, "itl") == expected
    for metric in ("icl", "itl"):
        assert is_good(one, [Slo(metric, expected)])
        assert not is_good(one, [Slo(metric, expected - 1)])


def test_token_gaps_of_a_request_count_by_their_tokens(record):
    one = record([0, 1000, 3000], completion=101, events=[1, 98, 2])
    # 98 of 10 ns and 2 of 1000 ns: the 99th of the hundred is one of the two.
    assert own_p99_ns(one, "itl") == 1000
    one = record([0, 1000, 3000], completion=101, events=[1, 99, 1])
    assert own_p99_ns(one, "itl") == 10


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("ttft", 40),
        ("ttft_from_schedule", 50),
        ("tpot", 25),
        ("e2e", 90),
        ("e2e_from_schedule", 100),
        ("icl", 30),
        ("itl", 30),
    ],
)
def test_a_request_is_good_up_to_the_limit_and_not_beyond(record, metric, value):
    one = record([150, 170, 200], scheduled=100, sent=110)
    assert is_good(one, [Slo(metric, value)])
    assert not is_good(one, [Slo(metric, value - 1)])


def test_a_good_request_meets_every_slo(record):
    one = record([150, 170, 200], scheduled=100, sent=110)
    assert is_good(one, [])
    assert is_good(one, [Slo("ttft", 40), Slo("e2e", 90)])
    assert not is_good(one, [Slo("ttft", 40), Slo("e2e", 89)])


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK}))
def test_only_ok_requests_are_good(record, outcome):
    assert not is_good(record([150, 170], outcome=outcome), [])


def test_an_slo_on_a_figure_that_a_request_cannot_have_is_met(record):
    plain = record(streamed=False, scheduled=100, sent=110, done=500)
    slos = [Slo(metric, 1) for metric in ("ttft", "ttft_from_schedule", "tpot", "icl", "itl")]
    assert is_good(plain, slos)
    assert not is_good(plain, [*slos, Slo("e2e", 389)])
    one_token = record([150], completion=1)
    assert is_good(one_token, [Slo("tpot", 1), Slo("itl", 1), Slo("icl", 1)])


def test_the_figures_are_all_documented():
    assert all(figure.__doc__ for figure in PER_REQUEST.values())
    assert figures.POOLED == ("icl", "itl")
