"""Gaps against oracles that are slow and obviously right."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.metrics.figures import MOST_TOKENS, blocks, chunk_gaps, is_estimated, token_gaps

MS = 1_000_000


def stream_of(draw, *, lanes=False, known=False, slow=3000):
    count = draw(st.integers(0, 25))
    at, stamps = draw(st.integers(10**9, 10**12)), []
    for _ in range(count):
        stamps.append(at)
        at += draw(st.sampled_from([0, 1, 700, 10 * MS, slow * MS]))
    fields = {"stamps": stamps}
    if lanes and draw(st.booleans()):
        fields["lanes"] = [draw(st.integers(0, 3)) for _ in stamps]
    if "lanes" in fields or draw(st.booleans()):
        fields["events"] = [draw(st.integers(1, 4)) for _ in stamps]
    if known and "lanes" not in fields and draw(st.booleans()):
        fields["tokens"] = [draw(st.integers(0, 5)) for _ in stamps]
    fields["completion"] = draw(st.one_of(st.none(), st.integers(0, 120)))
    fields["reasoning"] = draw(st.one_of(st.none(), st.integers(0, 20)))
    fields["reasoning_events"] = draw(st.integers(0, 1))
    return fields


streams = st.composite(stream_of)


def by_choice(record):
    """Return, for each choice, its arrivals as (stamp, events)."""
    events = record.events or [1] * len(record.stamps)
    lanes = record.lanes or [0] * len(record.stamps)
    found = {}
    for stamp, carried, lane in zip(record.stamps, events, lanes, strict=True):
        found.setdefault(lane, []).append((stamp, carried))
    return [found[lane] for lane in sorted(found)]


def slow_chunk_gaps(records):
    return [
        (after[0] - before[0], owner)
        for owner, record in enumerate(records)
        for arrivals in by_choice(record)
        for before, after in itertools.pairwise(arrivals)
    ]


def believed(record):
    """Whether usage is credible: at least half of the events with output are tokens of it."""
    events = sum(record.events) if record.events is not None else len(record.stamps)
    usage = record.usage
    return usage is None or usage.completion_tokens is None or 2 * usage.completion_tokens >= events


def streamed(record):
    tokens = sum(record.events) if record.events is not None else len(record.stamps)
    if record.usage is not None and record.usage.completion_tokens is not None:
        if not believed(record):
            return tokens
        tokens = record.usage.completion_tokens
        if record.usage.reasoning_tokens and not record.reasoning_events:
            tokens -= record.usage.reasoning_tokens
    return max(tokens, 0)


def slow_carried(record):
    """Return, for each choice, the tokens of each arrival after its first, by fractions."""
    if record.tokens is not None and believed(record):
        return [list(record.tokens)[1:]] if record.tokens else []
    choices = by_choice(record)
    total = sum(carried for arrivals in choices for _, carried in arrivals)
    found, events_before = [], 0
    for arrivals in choices:
        events = sum(carried for _, carried in arrivals)
        first = arrivals[0][1]
        share = [
            Fraction(streamed(record) * upto, total) // 1
            for upto in (events_before, events_before + events)
        ]
        events_before += events
        left = max(share[1] - share[0] - first, 0)
        given_, since, tokens = 0, 0, []
        for _, carried in arrivals[1:]:
            since += carried
            upto = Fraction(left * since, events - first) // 1
            tokens.append(upto - given_)
            given_ = upto
        found.append(tokens)
    return found


def slow_token_gaps(records):
    found = []
    for owner, record in enumerate(records):
        for arrivals, tokens in zip(by_choice(record), slow_carried(record), strict=True):
            last = arrivals[0][0]
            for (stamp, _), carried in zip(arrivals[1:], tokens, strict=True):
                if carried:
                    gap = Fraction(stamp - last, carried)
                    found.append((int(gap + Fraction(1, 2)), carried, owner))
                    last = stamp
    return found


@given(st.lists(streams(lanes=True, known=True), max_size=6))
def test_chunk_gaps_are_those_between_consecutive_arrivals_of_a_choice(record, fields):
    records = [record(**one) for one in fields]
    gaps, owner = chunk_gaps(records)
    assert list(zip(gaps.tolist(), owner.tolist(), strict=True)) == slow_chunk_gaps(records)


@given(st.lists(streams(lanes=True, known=True), max_size=6))
def test_token_gaps_are_those_of_the_oracle(record, fields):
    records = [record(**one) for one in fields]
    gaps, weights, owner = token_gaps(records)
    found = list(zip(gaps.tolist(), weights.tolist(), owner.tolist(), strict=True))
    assert found == slow_token_gaps(records)


@given(streams(), st.integers(0, 300))
def test_no_token_is_lost_or_made_up_and_the_time_is_all_there(record, fields, completion):
    one = record(**fields | {"completion": completion, "reasoning": None})
    gaps, weights, _ = token_gaps([one])
    arrivals = len(one.stamps)
    first = (one.events[0] if one.events is not None else 1) if arrivals else 0
    counted = completion if believed(one) else one.token_events
    expected = max(counted - first, 0) if arrivals > 1 else 0
    assert int(weights.sum()) == expected
    if expected:
        spanned = one.stamps[-1] - one.stamps[0]
        assert abs(int((gaps * weights).sum()) - spanned) <= expected / 2


@given(streams(lanes=True), st.integers(0, 300))
def test_the_tokens_of_several_choices_add_up(record, fields, completion):
    one = record(**fields | {"completion": completion, "reasoning": None})
    _, weights, _ = token_gaps([one])
    choices = by_choice(one)
    firsts = sum(arrivals[0][1] for arrivals in choices)
    if all(len(arrivals) > 1 for arrivals in choices) and choices:
        enough = completion >= 2 * one.token_events
        assert int(weights.sum()) == completion - firsts or not enough


@given(streams(known=True))
def test_what_the_running_usage_says_of_each_arrival_is_kept(record, fields):
    one = record(**fields)
    if one.tokens is not None and believed(one):
        _, weights, _ = token_gaps([one])
        assert weights.tolist() == [tokens for tokens in list(one.tokens)[1:] if tokens]


def test_one_token_per_event_makes_the_token_gaps_the_chunk_gaps(record):
    one = record([10, 30, 70, 150], completion=4)
    assert chunk_gaps([one])[0].tolist() == token_gaps([one])[0].tolist() == [20, 40, 80]


def test_events_of_one_read_are_one_arrival_and_share_their_gap(record):
    one = record([100, 400, 1000], events=[1, 3, 2], completion=6)
    assert chunk_gaps([one])[0].tolist() == [300, 600]
    gaps, weights, _ = token_gaps([one])
    assert (gaps.tolist(), weights.tolist()) == ([100, 300], [3, 2])


def test_a_server_that_sends_several_tokens_an_event_is_shared_out_evenly(record):
    one = record([0, 100, 200, 300], completion=10)
    gaps, weights, _ = token_gaps([one])
    assert (gaps.tolist(), weights.tolist()) == ([33, 33, 33], [3, 3, 3])
    one = record([0, 100, 200, 300], completion=9)
    assert token_gaps([one])[1].tolist() == [2, 3, 3]


def test_an_arrival_without_a_token_hands_its_gap_on(record):
    one = record([0, 100, 250, 400], tokens=[1, 2, 0, 3])
    gaps, weights, _ = token_gaps([one])
    assert (gaps.tolist(), weights.tolist()) == ([50, 100], [2, 3])
    # Fewer tokens than events: those that have none hand theirs on, and the last one has one.
    gaps, weights, _ = token_gaps([record([0, 100, 250, 400], completion=2)])
    assert (gaps.tolist(), weights.tolist()) == ([400], [1])


def test_each_choice_has_its_own_gaps(record):
    one = record([0, 0, 100, 130, 200], events=[1] * 5, lanes=[0, 1, 0, 1, 0], completion=5)
    assert chunk_gaps([one])[0].tolist() == [100, 100, 130]
    gaps, weights, _ = token_gaps([one])
    assert (gaps.tolist(), weights.tolist()) == ([100, 100, 130], [1, 1, 1])


def test_reasoning_that_was_billed_and_not_streamed_is_not_spread(record):
    hidden = record([0, 100, 200], completion=63, reasoning=60)
    assert token_gaps([hidden])[1].tolist() == [1, 1]
    shown = record([0, 100, 200], completion=63, reasoning=60, reasoning_events=1)
    assert token_gaps([shown])[1].tolist() == [31, 31]


def test_a_server_that_claims_what_cannot_be_breaks_nothing(record):
    claims = record([0, 100, 200], completion=10**18, reasoning=None)
    assert int(token_gaps([claims])[1].sum()) == MOST_TOKENS - 1
    owes = record([0, 100, 200], completion=3, reasoning=10)
    assert len(token_gaps([owes])[0]) == 0


@pytest.mark.parametrize("stamps", [[], [5]])
def test_less_than_two_arrivals_have_no_gap(record, stamps):
    assert len(chunk_gaps([record(stamps)])[0]) == 0
    gaps, weights, owner = token_gaps([record(stamps, completion=50)])
    assert (len(gaps), len(weights), len(owner)) == (0, 0, 0)


def test_no_records_have_no_gaps():
    assert [len(part) for part in (*chunk_gaps([]), *token_gaps([]))] == [0] * 5


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 60))
def test_blocks_hold_every_record_once_in_order_and_few_arrivals(record, sizes, size):
    records = [record(range(1, count + 1)) for count in sizes]
    cut = list(blocks(records, size))
    joined = [one for block in cut for one in block]
    assert all(a is b for a, b in zip(joined, records, strict=True))
    for block in cut:
        assert sum(len(one.stamps) for one in block[:-1]) < size
    assert all(block for block in cut)


def test_tokens_are_estimated_where_the_server_keeps_no_running_usage(record):
    assert is_estimated(record([1, 2]))
    assert not is_estimated(record([1, 2], tokens=[1, 1]))


def test_results_are_arrays_of_64_bits(record):
    for part in (*chunk_gaps([record([1, 5])]), *token_gaps([record([1, 5])])):
        assert part.dtype == np.int64
