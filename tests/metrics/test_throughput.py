import itertools
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.records import Outcome, Record, Usage
from benchcore.metrics import throughput as module
from benchcore.metrics.throughput import Throughput, overlap_ns, throughput, tokens_inside

SECOND = 1_000_000_000
START, END = 10 * SECOND, 12 * SECOND


def at(*seconds):
    return [round(second * SECOND) for second in seconds]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 2.0),  # of events at 9.5, 10, 11.5 and 12 s those in (10, 12]
        ({"completion": 4}, 2.0),
        ({"completion": 20}, 10.0),
        ({"completion": 3}, 1.5),
        ({"completion": 2}, 1.0),
        ({"completion": 0}, 2.0),  # contradicted by four events: these count
        ({"events": [1, 2, 3, 4]}, 7.0),
        ({"events": [1, 2, 3, 4], "completion": 20}, 14.0),
        ({"tokens": [7, 5, 0, 1], "completion": 13}, 1.0),
        # What was billed is what the server made, streamed or not.
        ({"completion": 20, "reasoning": 16}, 10.0),
    ],
)
def test_tokens_are_those_stamped_inside_scaled_to_the_usage(record, fields, expected):
    one = record(at(9.5, 10, 11.5, 12), **fields)
    assert tokens_inside(one, START, END) == pytest.approx(expected)


INSTANTS = st.one_of(st.sampled_from([START, END]), st.integers(9 * SECOND, 13 * SECOND))
ONE_EACH = st.lists(INSTANTS, min_size=1, max_size=30).map(sorted)


@given(st.lists(ONE_EACH, min_size=1, max_size=6), st.sampled_from([0, 1]), st.integers(1, 8))
def test_counting_by_look_ups_is_counting_by_masks(all_stamps, more, batches):
    made = []
    for stamps in all_stamps:
        one = Record("1", outcome=Outcome.OK, stamps=array("q", stamps))
        one.token_events = len(stamps)
        one.usage = Usage(completion_tokens=len(stamps) + more)  # one more: not one each
        made.append(one)
    fast = [tokens_inside(one, START, END) for one in made]
    by_batch = module._tokens_by_batch(made, START, END, batches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_is_one_each", lambda _record: False)
        slow = [tokens_inside(one, START, END) for one in made]
        slow_by_batch = module._tokens_by_batch(made, START, END, batches)
    assert fast == slow
    assert by_batch.tolist() == slow_by_batch.tolist()


def test_a_request_wholly_inside_counts_as_its_usage(record):
    for more in ({}, {"tokens": [61, 9, 1], "reasoning": 60}, {"reasoning": 60}):
        one = record(at(10.1, 10.5, 11), completion=71, **more)
        assert tokens_inside(one, START, END) == pytest.approx(71)


def test_nothing_inside_is_nothing(record):
    assert tokens_inside(record(at(1, 2)), START, END) == 0.0
    assert tokens_inside(record(), START, END) == 0.0


def test_a_plain_answer_tells_nothing_of_tokens(record):
    assert tokens_inside(record(streamed=False, completion=50), START, END) is None


@given(
    stamps=st.lists(st.integers(0, 100), max_size=30).map(sorted),
    completion=st.one_of(st.none(), st.integers(0, 500)),
    cuts=st.lists(st.integers(0, 101), max_size=4).map(sorted),
)
def test_windows_side_by_side_lose_no_token(record, stamps, completion, cuts):
    one = record(stamps, completion=completion)
    edges = [-1, *cuts, 101]
    parts = [tokens_inside(one, a, b) for a, b in itertools.pairwise(edges)]
    contradicted = completion is not None and 2 * completion < len(stamps)
    expected = len(stamps) if completion is None or contradicted else completion
    expected = expected if stamps else 0
    assert sum(parts) == pytest.approx(expected)


def test_rates_are_per_second_of_window(record):
    records = [
        record(at(9, 10.5), done=round(10.6 * SECOND), completion=8, prompt=100),
        record(at(10.2, 11), done=12 * SECOND + 1, completion=2, prompt=30),
        record(at(11, 11.5), done=round(11.5 * SECOND), completion=6, prompt=10),
    ]
    # Tokens 4 + 2 + 6; ended inside the first and the third; first tokens inside: 30 + 10.
    assert throughput(records, START, END) == Throughput(1.0, 6.0, 20.0, 26.0)


def test_an_end_counts_after_the_start_of_the_window_and_up_to_its_end(record):
    ends = [START, START + 1, END, END + 1]
    records = [record([end], done=end) for end in ends]
    assert throughput(records, START, END).requests == 1.0


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.OK}))
def test_failing_is_no_throughput_of_requests_but_its_tokens_were_made(record, outcome):
    one = record(at(10.2, 10.5), outcome=outcome)
    found = throughput([one], START, END)
    assert (found.requests, found.output_tokens) == (0.0, 1.0)


def test_a_window_without_length_has_no_rates(record):
    nothing = Throughput(None, None, None, None)
    assert throughput([record(at(10))], START, START) == nothing


def test_plain_answers_have_requests_per_second_only(record):
    one = record(streamed=False, done=11 * SECOND, completion=50, prompt=20)
    assert throughput([one], START, END) == Throughput(0.5, None, None, None)


def test_prompt_tokens_that_one_good_answer_does_not_tell_are_unknown(record):
    told, silent = record(at(11), prompt=10, completion=1), record(at(11))
    assert throughput([told, silent], START, END) == Throughput(1.0, 1.0, None, None)


def test_prompt_tokens_of_a_request_cut_short_are_left_out(record):
    told = record(at(11), prompt=10, completion=1)
    cut = record(at(11), outcome=Outcome.TRUNCATED)
    assert throughput([told, cut], START, END).input_tokens == 5.0


def test_a_silent_answer_that_began_before_the_window_does_not_matter(record):
    told, silent = record(at(11), prompt=10, completion=1), record(at(9, 11))
    assert throughput([told, silent], START, END).input_tokens == 5.0


def test_no_requests_are_no_throughput():
    assert throughput([], START, END) == Throughput(0.0, None, None, None)


@pytest.mark.parametrize(
    ("fields", "expected_seconds"),
    [
        ({"sent": 10.5, "done": 11}, 0.5),
        ({"sent": 9, "done": 11}, 1),
        ({"sent": 11.5, "done": 20}, 0.5),
        ({"sent": 1, "done": 20}, 2),
        ({"sent": 1, "done": 9}, 0),
        ({"sent": 13, "done": 20}, 0),
        # A connection that had to be opened is part of the way …
        ({"sent": 10.5, "done": 11, "connect_ns": SECOND // 4}, 0.75),
        # … once: sent again on a new one, it had left before that.
        ({"sent": 10.5, "done": 11.5, "connect_ns": SECOND // 4, "retried": True}, 1),
        # Never sent, as nothing answered: on its way since it was planned.
        ({"scheduled": 10.25, "sent": 0, "done": 11}, 0.75),
        # Dropped: not for a moment, however late that was seen.
        ({"scheduled": 10.25, "sent": 0, "done": 10.5, "outcome": Outcome.DROPPED}, 0),
    ],
)
def test_the_time_on_the_way_is_what_lies_inside_the_window(record, fields, expected_seconds):
    instants = {
        name: round(value * SECOND) if name in ("scheduled", "sent", "done") else value
        for name, value in fields.items()
    }
    assert overlap_ns([record(**instants)], START, END) == expected_seconds * SECOND


def test_times_on_the_way_add_up(record):
    records = [record(sent=START, done=START + 5), record(sent=START + 3, done=END + 3)]
    assert overlap_ns(records, START, END) == 5 + (END - START - 3)


def test_a_request_is_on_its_way_until_it_is_let_go(record):
    """Its stream had ended, and its connection was waited for: the count had it until then."""
    late = record(sent_ns=START, done_ns=START + 5, released_ns=START + 9)
    assert overlap_ns([late], START, END) == 9


def test_tokens_that_a_tokenizer_counted_are_shared_out_over_the_events(record):
    found = record([10, 20, 30, 40])
    found.counted_tokens = 6
    assert tokens_inside(found, 10, 30) == 3.0
