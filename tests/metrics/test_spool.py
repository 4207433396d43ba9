"""The spool of a level's requests, and that figures read from its file are those of memory."""

import errno
import os
from array import array
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.client.records import FAILED, InBand, Outcome, Phase, Record, Usage
from benchcore.climbs import findings
from benchcore.config.limits import Slo
from benchcore.load.level_plan import LevelRecords
from benchcore.load.steady import SteadyState
from benchcore.metrics import spool as spool_module
from benchcore.metrics.figures import (
    PER_REQUEST,
    dispatch_lag_ns,
    is_estimated,
    is_good,
    mean_e2e_ns,
    streaming,
    timed_chunk_gaps,
    timed_token_gaps,
)
from benchcore.metrics.level import (
    FAILURES_COUNT_IN,
    TokenSums,
    count_tokens,
    infinite_figures,
    latencies,
    rates,
)
from benchcore.metrics.pieces import Buffering, buffering, pieces_of
from benchcore.metrics.spool import Spool, chosen, joined, packed, unpacked
from benchcore.metrics.summary import summarize, summarize_pool
from benchcore.metrics.throughput import overlap_ns, throughput

NS = 1_000_000_000
COUNTS = st.none() | st.integers(0, 40)
SLOS = [Slo.parse("ttft:900ms"), Slo.parse("itl:300ms"), Slo.parse("tpot:200ms")]


@st.composite
def requests(draw, index=0):
    """A request as the client may leave it, whatever its server did."""
    scheduled = draw(st.integers(1, 20 * NS))
    one = Record(f"id-{index}", scheduled_ns=scheduled, index=index)
    one.outcome = draw(st.sampled_from([Outcome.OK] * 8 + list(Outcome)))
    if one.outcome is Outcome.DROPPED:
        one.done_ns = scheduled
        return one
    one.phase = draw(st.none() | st.sampled_from(list(Phase)))
    one.error = draw(st.sampled_from(["", "no \ud800", "refused"]))
    one.finish_reason = draw(st.sampled_from(["", "stop", "length", "content_filter"]))
    one.streamed = draw(st.integers(0, 5)) > 0
    one.retried = draw(st.booleans())
    one.connect_ns = draw(st.integers(0, NS // 100))
    one.sent_ns = scheduled + draw(st.integers(0, NS // 10))
    one.done_ns = one.sent_ns
    one.tail_ns = draw(st.sampled_from([0, NS]))
    one.asked_input_tokens, one.asked_output_tokens = draw(COUNTS), draw(COUNTS)
    if draw(st.booleans()):
        one.usage = Usage(draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS))
    if draw(st.booleans()):
        one.in_band = InBand("vllm", queue_seconds=draw(st.none() | st.floats(0, 9)))
        one.in_band.cached_tokens = draw(COUNTS)
    steps = draw(st.lists(st.integers(0, NS // 2), max_size=12))
    if one.streamed and steps:
        at = one.sent_ns
        for step in steps:
            at += step
            one.stamps.append(at)
        several = draw(st.booleans())
        events = [draw(st.integers(1, 4)) if several else 1 for _ in steps]
        one.events = array("q", events) if several else None
        one.lanes = array("q", [draw(st.integers(0, 2)) for _ in steps]) if several else None
        if draw(st.booleans()):
            one.tokens = array("q", [draw(st.integers(0, 3)) for _ in steps])
        one.token_events = sum(events)
        one.first_byte_ns = one.first_token_ns = one.first_output_ns = one.stamps[0]
        one.last_token_ns = one.stamps[-1]
        one.done_ns = at
    elif not one.streamed:
        one.first_byte_ns = one.sent_ns + 5
        one.done_ns += draw(st.integers(5, NS))
    return one


@st.composite
def levels(draw):
    """The requests of a level; at times so many that batches fit."""
    few = draw(st.lists(requests(), min_size=0, max_size=12))
    made = []
    for turn in range(draw(st.sampled_from([1, 1, 15])) if few else 0):
        for one in few:
            again = unpacked(packed(one))
            again.index = len(made)
            shift = turn * 20 * NS
            for name in ("scheduled", "sent", "first_byte", "first_token", "first_output"):
                moved(again, f"{name}_ns", shift + turn * 1_000_003)
            for name in ("last_token", "done"):
                moved(again, f"{name}_ns", shift + turn * 1_000_003)
            again.stamps = array("q", (at + shift + turn * 1_000_003 for at in again.stamps))
            made.append(again)
    return made


def moved(record, name, by):
    at = getattr(record, name)
    if at:
        setattr(record, name, at + by)


# The slow oracle: what every figure was made by while all requests stood in lists.


def listed_tokens(records):
    def total(values):
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    usages = [one.usage or Usage() for one in records]
    sources = Counter(one.token_count_source.value for one in records if one.token_count_source)
    return TokenSums.complete(
        asked_input=total([one.asked_input_tokens for one in records]),
        asked_output=total([one.asked_output_tokens for one in records]),
        input=total([usage.prompt_tokens for usage in usages]),
        output=total([one.output_tokens for one in records]),
        cached=total([usage.cached_tokens for usage in usages]),
        reasoning=total([usage.reasoning_tokens for usage in usages]),
        token_count_source=dict(sources),
    )


def listed_latencies(measured, failures):
    ok = [one for one in measured if one.outcome is Outcome.OK]
    request_ns = listed_mean_e2e(ok)

    def summary(figure, records, late):
        pairs = [(v, one.scheduled_ns) for one in records if (v := figure(one)) is not None]
        values, at_ns = [value for value, _ in pairs], [at for _, at in pairs]
        return summarize(values, late, at_ns=at_ns, request_ns=request_ns)

    found = {
        name: summary(figure, ok, failures if name in FAILURES_COUNT_IN else None)
        for name, figure in PER_REQUEST.items()
    }
    streamed = [one for one in ok if one.streamed]
    if sum(streaming(one) is not None for one in streamed) < 0.5 * len(streamed):
        found["tpot"] = None
    if not sum(len(one.stamps) > 1 for one in streamed) < 0.5 * len(streamed):
        found["icl"] = summarize_pool(ok, timed_chunk_gaps)
        found["itl"] = summarize_pool(ok, timed_token_gaps)
    found["dispatch_lag"] = summary(dispatch_lag_ns, measured, None)
    return {name: one for name, one in found.items() if one is not None}


def listed_mean_e2e(records):
    lengths = [took for one in records if (took := PER_REQUEST["e2e"](one)) is not None]
    return sum(lengths) / len(lengths) if lengths else 0.0


def listed_rates(measured, others, start_ns, end_ns):
    ok = [one for one in measured if one.outcome is Outcome.OK]
    counted = len(measured) - sum(one.outcome is Outcome.CANCELLED for one in measured)
    good = sum(is_good(one, SLOS) for one in measured)
    everyone = [*others, *measured]
    ended = sum(start_ns < one.done_ns <= end_ns and is_good(one, SLOS) for one in everyone)
    streamed = [one for one in ok if one.streamed]
    parts = [found for one in streamed if (found := streaming(one)) is not None]
    per_user = None
    if parts and not len(parts) < 0.5 * len(streamed):
        per_user = sum(tokens for tokens, _ in parts) / sum(took for _, took in parts) * NS
    kind = "estimated" if any(map(is_estimated, streamed)) else "exact"
    rate = throughput(everyone, start_ns, end_ns)
    return {
        "request_throughput": rate.requests,
        "output_token_throughput": rate.output_tokens,
        "input_token_throughput": rate.input_tokens,
        "total_token_throughput": rate.total_tokens,
        "tokens_per_second_per_user": per_user,
        "good": good,
        "goodput": ended / ((end_ns - start_ns) / NS),
        "goodput_ratio": good / counted if counted else None,
        "failure_rate": (counted - len(ok)) / counted if counted else None,
        "itl": kind if streamed else None,
        "tpot_estimated": sum(map(is_estimated, streamed)),
        "tpot_excluded": sum(PER_REQUEST["tpot"](one) is None for one in streamed),
        "retried": sum(one.retried for one in measured),
    }


def listed_buffering(records):
    found = [one for record in records if (one := pieces_of(record)) is not None]
    if not found or 2 * len(found) < len(records):
        return None
    pieces, events, _ = (float(np.median(column)) for column in zip(*found, strict=True))
    lumps = float(np.median([count / number for number, count, _ in found]))
    return Buffering(pieces, events, len(found)) if lumps >= 4 else None


def listed_flow(result):
    lasted = (Outcome.OK, Outcome.TIMEOUT, Outcome.CANCELLED)
    came = [one for one in result.measured if one.outcome in lasted]
    went = [one.done_ns for one in (*result.others, *result.measured) if one.outcome in lasted]
    arrived = np.array([one.scheduled_ns - result.start_ns for one in came], dtype=np.float64)
    done = np.array([one.done_ns - result.start_ns for one in came], dtype=np.float64)
    ended = (np.array(went, dtype=np.float64) - result.start_ns) / NS
    return (arrived / NS).tolist(), ((done - arrived) / NS).tolist(), ended.tolist()


def in_file(folder, records, *, of=None):
    spool = Spool(folder, most_bytes=0)
    for one in of or records:
        spool.append(one)
    assert spool.in_memory == 0
    return spool


def figures(measured, others, end_ns):
    """Everything that is said of a level, as text: equal to the last digit or not at all."""
    result = LevelRecords(measured=measured, others=others, window_end_ns=end_ns, window_start_ns=1)
    result.ended.update(one.outcome for one in measured)
    everyone = joined(others, measured)
    found = latencies(measured, open_loop=True, failures=3)
    steady = SteadyState(True, 1, 8, "fine")
    flow = findings.flow_of(result)
    ok = chosen(measured, lambda one: one.outcome is Outcome.OK)
    return repr(
        [
            {name: one.to_json() for name, one in found.items()},
            {name: one.histogram.hdr.encode() for name, one in found.items()},
            rates(measured, others, 1, end_ns, SLOS),
            count_tokens(ok),
            overlap_ns(everyone, 1, end_ns),
            infinite_figures(measured, 3, stream=True),
            (flow.arrived.tolist(), flow.lasted.tolist(), flow.ended.tolist()),
            findings.buffered_streams(result, None),
            findings.steady_figures(steady, result, everyone),
            list(findings.findings(steady, result)),
            list(findings.notes(result, SLOS)),
        ]
    )


@given(requests())
def test_a_request_is_read_back_as_it_was(one):
    assert unpacked(packed(one)) == one


@given(levels(), st.lists(requests(), max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=settings().max_examples // 2)
def test_figures_from_the_file_are_those_from_memory(tmp_path_factory, measured, others, chance):
    mixed = list(measured)
    chance.shuffle(mixed)
    spool = in_file(tmp_path_factory.getbasetemp(), measured, of=mixed)
    assert list(spool) == measured
    end_ns = max((one.done_ns for one in measured), default=NS) + 1
    assert figures(spool.held(), others, end_ns) == figures(measured, others, end_ns)


@given(levels(), st.lists(requests(), max_size=3))
@settings(max_examples=settings().max_examples // 2)
def test_figures_in_one_go_are_those_of_lists(tmp_path_factory, measured, others):
    spool = in_file(tmp_path_factory.getbasetemp(), measured)
    end_ns = max((one.done_ns for one in measured), default=NS) + 1
    ok = [one for one in measured if one.outcome is Outcome.OK]
    found, expected = latencies(spool, open_loop=True, failures=3), listed_latencies(measured, 3)
    assert [(name, one.to_json()) for name, one in found.items()] == [
        (name, one.to_json()) for name, one in expected.items()
    ]
    said = rates(spool, others, 1, end_ns, SLOS)
    assert {name: said[name] for name in said if name != "rate_intervals"} == listed_rates(
        measured, others, 1, end_ns
    )
    assert count_tokens(chosen(spool, lambda one: one.outcome is Outcome.OK)) == listed_tokens(ok)
    assert mean_e2e_ns(spool) == listed_mean_e2e(measured)
    assert buffering(spool, None) == listed_buffering(measured)
    result = LevelRecords(measured=spool, others=others, window_end_ns=end_ns)
    flow = findings.flow_of(result)
    assert (flow.arrived.tolist(), flow.lasted.tolist(), flow.ended.tolist()) == listed_flow(
        LevelRecords(measured=measured, others=others)
    )


def made(index, text=None):
    return Record(f"id-{index}", index=index, outcome=Outcome.OK, text=text)


def test_memory_holds_the_latest_and_the_file_the_others(tmp_path):
    spool = Spool(tmp_path, most_bytes=10 * 3072)
    for index in range(50):
        spool.append(made(index))
    assert spool.in_memory == 10
    assert len(spool) == 50
    assert [one.index for one in spool] == list(range(50))
    assert spool[3].request_id == "id-3"
    assert spool[-1].request_id == "id-49"
    assert [one.index for one in spool[38:42]] == [38, 39, 40, 41]
    with pytest.raises(IndexError):
        spool[50]


@pytest.mark.parametrize(("count", "listed"), [(0, True), (20, True), (21, False)])
def test_only_what_is_little_is_read_back_at_once(tmp_path, monkeypatch, count, listed):
    monkeypatch.setattr(spool_module, "AT_HAND_BYTES", 20 * 3072)
    spool = Spool(tmp_path, most_bytes=3 * 3072)
    for index in range(count):
        spool.append(made(index))
    found = spool.at_hand()
    assert isinstance(found, list) == listed
    assert [one.index for one in found] == list(range(count))
    assert spool.in_memory == min(count, 3)


def test_where_requests_are_in_the_file_is_filed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "MOST_PLACES", 8)
    spool = Spool(tmp_path, most_bytes=0)
    count = 23
    for index in reversed(range(count)):
        spool.append(Record(str(index), index=index))
        assert len(spool._places) <= 8
    assert [record.index for record in spool] == list(range(count))
    assert [spool[place].request_id for place in (0, 5, 22)] == ["0", "5", "22"]


def test_a_request_larger_than_what_is_read_at_a_time_is_whole(tmp_path):
    texts = ["x" * 700_000, "y", "z" * 300_000]
    spool = in_file(tmp_path, [made(index, text) for index, text in enumerate(texts)])
    assert [one.text for one in spool] == texts


def test_the_file_has_no_name_and_goes_with_the_spool(tmp_path):
    spool = in_file(tmp_path, [made(0)])
    assert list(tmp_path.iterdir()) == []
    held = spool._file
    os.fstat(held)
    del spool
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(held)


def test_without_a_folder_everything_stays_in_memory():
    spool = Spool(most_bytes=0)
    records = [made(index) for index in (1, 0, 2)]
    for one in records:
        spool.append(one)
    assert spool.held() == sorted(records, key=lambda one: one.index)
    assert all(any(one is own for own in records) for one in spool)


def test_a_folder_that_takes_no_file_is_told_once_and_loses_nothing(tmp_path):
    told = []
    spool = Spool(tmp_path / "none", most_bytes=0, on_problem=told.append)
    for index in range(5):
        spool.append(made(index))
    assert [one.index for one in spool] == list(range(5))
    (said,) = told
    assert said.startswith("requests that have ended stay in memory: No such file")


def test_a_disk_that_fills_up_keeps_what_it_has_and_memory_the_rest(tmp_path, monkeypatch):
    told = []
    spool = Spool(tmp_path, most_bytes=0, on_problem=told.append)
    write, left = os.pwrite, [350]

    def pwrite(file, data, at):
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(file, data[: left[0]], at)
        left[0] -= done
        return done

    monkeypatch.setattr(os, "pwrite", pwrite)
    for index in range(9):
        spool.append(made(index))
    assert 0 < spool.in_memory < 9
    assert [one.index for one in spool] == list(range(9))
    assert len(told) == 1
    assert "No space left" in told[0]


def test_failed_ones_are_counted_from_the_file(tmp_path):
    records = [made(0), made(1)]
    records[1].outcome = Outcome.TIMEOUT
    assert sum(one.outcome in FAILED for one in in_file(tmp_path, records)) == 1
