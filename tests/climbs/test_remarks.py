"""What else is said of a level, and the plan of one."""

from array import array

import pytest

from benchcore.base.clock import NS
from benchcore.base.errors import ConfigError
from benchcore.client.records import Outcome, Phase, Record, Usage
from benchcore.climbs.findings import (
    Failures,
    findings,
    notes,
    overload_advice,
    steady_figures,
)
from benchcore.climbs.plan import Part, level_plan, max_inflight, steps
from benchcore.config.climb import ClimbConfig
from benchcore.config.limits import Slo
from benchcore.load.level_plan import LevelRecords
from benchcore.load.steady import SteadyState
from benchcore.metrics.pieces import buffering
from benchcore.show.progress import Silent
from benchcore.workload.synthetic import Synthetic

STEADY = SteadyState(True, 0, 9, "fine")


def record(outcome=Outcome.OK, error="", finish="length", **fields):
    made = Record("id", **fields)
    made.outcome, made.error, made.finish_reason = outcome, error, finish
    return made


def level(*records):
    made = LevelRecords(measured=list(records), window_start_ns=0, window_end_ns=10 * NS)
    for one in records:
        made.ended[one.outcome] += 1
    return made


def test_a_growing_queue_is_a_finding_about_the_server():
    grows = SteadyState(False, why="in-flight grew from 2.0 to 9.0", grows=True)
    (said,) = findings(grows, level(record()))
    assert said.startswith("server_saturated: in-flight grew from 2.0 to 9.0: the server does not")
    falls = SteadyState(False, why="in-flight fell from 9.0 to 2.0")
    assert list(findings(falls, level(record()))) == []


def test_the_commonest_failures_come_first_and_no_more_than_three():
    records = [record(Outcome.TIMEOUT, "slow")] * 3 + [record(Outcome.TRUNCATED, "cut")]
    records += [record(Outcome.HTTP_ERROR, text) for text in ("a", "a", "b")]
    assert list(findings(STEADY, level(*records))) == [
        "3 × timeout: slow",
        "2 × http_error: a",
        "1 × truncated: cut",
    ]


@pytest.mark.parametrize(
    ("status", "error", "begins"),
    [
        (429, '"Too Many Requests", and an empty body', "advice: the server sheds load (429"),
        (503, '"Service Unavailable" (nginx)', "advice: the server sheds load (503"),
        (500, "boom", None),
    ],
)
def test_a_refusal_stands_with_its_status_and_brings_advice(status, error, begins):
    refused = record(Outcome.HTTP_ERROR, error, status=status)
    said = list(findings(STEADY, level(refused)))
    link = " " if error.startswith('"') else ": "
    assert said[0] == f"1 × http_error {status}{link}{error}"
    assert len(said) == (1 if begins is None else 2)
    assert begins is None or said[1].startswith(begins)


def test_reasons_that_are_not_known_are_counted_and_the_known_ones_are_not():
    reasons = ["stop", "LENGTH", "tool_calls", "content_filter", "content_filter", "odd"]
    assert list(findings(STEADY, level(*(record(finish=reason) for reason in reasons)))) == [
        "finish_reason: 2 answer(s) ended as 'content_filter': the server's filter cut them",
        "finish_reason: 1 answer(s) ended as 'odd': no known reason",
    ]


def test_late_ends_are_a_finding_and_what_our_drain_cut_is_told():
    late = [record(tail_ns=NS // 10), record(tail_ns=NS // 5), record(tail_ns=NS // 1000)]
    cut = record(Outcome.CANCELLED, phase=Phase.DRAIN)
    said = list(findings(STEADY, level(*late, cut)))
    assert said[0].startswith("late_end: 2 of 3 streams went on for over 10 ms after")
    assert "(median 100 ms" in said[0]
    assert said[1].startswith("drain: 1 request(s) were cancelled by our own limit")


def test_a_target_that_has_gone_comes_first():
    said = list(findings(STEADY, level(record(Outcome.TIMEOUT, "x")), gone="Connection refused"))
    assert said == ["target_gone: Connection refused", "1 × timeout: x"]


def test_of_each_kind_of_failure_three_are_told_and_the_rest_is_counted():
    told = []

    class Listening(Silent):
        def failure(self, level, one):
            told.append((level, one.status))

        def say(self, text):
            told.append(text)

    failures = Failures(Listening())
    for status in [502] * 5 + [503] + [502] * 2:
        failures.note("c1", record(Outcome.HTTP_ERROR, "x", status=status))
    failures.say_rest("c1")
    failures.note("c2", record(Outcome.HTTP_ERROR, "x", status=502))
    failures.note("c2", record(Outcome.TIMEOUT, "x", phase=Phase.TOTAL))
    failures.say_rest("c2")
    assert told == [
        *[("c1", 502)] * 3,
        ("c1", 503),
        "c1: 4 more request(s) ended as http_error 502",
        ("c2", 0),
        "c2: 1 more request(s) ended as http_error 502",
    ]


def test_a_stream_without_a_reason_is_told():
    assert list(findings(STEADY, level(record(finish=""), record()))) == [
        "1 stream(s) ended with [DONE] and no finish_reason: the server may have cut them short"
    ]
    plain = record(finish="", streamed=False)
    assert list(findings(STEADY, level(plain))) == []


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("CUDA out of memory", "advice: the server ran out of memory"),
        ("worker OOM killed", "advice: the server ran out of memory"),
        ("Model is overloaded", "advice: the server sheds load"),
        ("the room is small", None),
    ],
)
def test_advice_fits_the_words(text, begins):
    advice = overload_advice(text)
    assert advice is None if begins is None else advice.startswith(begins)


def test_notes_tell_what_the_figures_rest_on():
    retried = record()
    retried.retried = True
    few = level(record(), retried)
    few.window_end_ns = 0
    few.scheduled = 2
    assert list(notes(few)) == [
        "2 ok requests: p99 rests on fewer than 459",
        "all requests were scheduled at once: a window without length has no throughput",
        "1 request(s) were sent again: the server had closed the connection",
    ]
    many = level(*[record()] * 459)
    many.scheduled = 459
    assert list(notes(many)) == []
    assert list(notes(level())) == ["nothing was scheduled inside the window"]


def test_the_steady_state_has_figures_of_its_own():
    inside = record(scheduled_ns=3 * NS, sent_ns=3 * NS, first_token_ns=3 * NS + 7_000_000)
    inside.done_ns = inside.last_token_ns = 4 * NS
    outside = record(scheduled_ns=1 * NS, sent_ns=1 * NS, first_token_ns=2 * NS)
    outside.done_ns = outside.last_token_ns = 2 * NS - 1
    result = level(inside, outside)
    found = steady_figures(SteadyState(True, 2, 5, "4 of 4 s"), result, [inside, outside])
    assert found["start_seconds"] == 2.0
    assert found["end_seconds"] == 6.0
    assert found["requests"] == 1
    assert found["request_throughput"] == 0.25
    assert found["ttft_p50_seconds"] == pytest.approx(0.007)
    assert steady_figures(SteadyState(None, why="short"), result, []) == {
        "found": None,
        "why": "short",
    }


def part(name="synthetic", **settings):
    return Part(name, Synthetic(input_tokens=16, output_tokens=4), ClimbConfig(**settings))


def test_levels_come_part_by_part_repeat_by_repeat():
    parts = [part("a", concurrency=(1, 2), repeats=2), part("b", rate=(0.5,))]
    assert [(step.name, step.repeat) for step in steps(parts)] == [
        ("a-c1", 1),
        ("a-c2", 1),
        ("a-c1", 2),
        ("a-c2", 2),
        ("b-r0.5", 1),
    ]
    assert [step.name for step in steps([part(concurrency=(64,))])] == ["c64"]


def plan(ttft_seconds=None, **settings):
    (step,) = steps([part(**settings)])
    return level_plan(step, ttft_seconds=ttft_seconds)


def test_a_closed_level_by_default():
    made = plan(concurrency=(64,))
    assert made.requests == 500
    assert made.window_ns == 120 * NS
    assert made.warmup_requests == 64
    assert made.ramp_ns == NS
    assert plan(concurrency=(1,)).ramp_ns == 0
    assert plan(concurrency=(1000,)).requests == 4000
    assert plan(concurrency=(2,), ramp_seconds=3).ramp_ns == 3 * NS


@pytest.mark.parametrize(
    ("ttft_seconds", "users", "ramp_ns"),
    [(0.05, 1, 0), (0.05, 2, NS // 20), (0.05, 1000, NS // 20), (7.0, 1000, NS), (None, 2, NS)],
)
def test_users_start_spread_over_one_ttft(ttft_seconds, users, ramp_ns):
    assert plan(ttft_seconds, concurrency=(users,)).ramp_ns == ramp_ns
    assert plan(ttft_seconds, concurrency=(users,), ramp_seconds=0.25).ramp_ns == NS // 4


def test_what_is_asked_takes_the_place_of_the_defaults():
    made = plan(concurrency=(2,), duration_seconds=5, warmup_seconds=1)
    assert (made.requests, made.window_ns) == (None, 5 * NS)
    assert (made.warmup_requests, made.warmup_ns) == (0, NS)
    assert plan(concurrency=(2,), requests=7).window_ns is None


def test_an_open_schedule_is_drawn_beyond_the_drain_and_the_same_each_time():
    made = plan(rate=(10,), duration_seconds=5, drain_seconds=20, warmup_seconds=1, seed=4)
    again = plan(rate=(10,), duration_seconds=5, drain_seconds=20, warmup_seconds=1, seed=4)
    other = plan(rate=(10,), duration_seconds=5, drain_seconds=20, warmup_seconds=1, seed=5)
    assert made.schedule_ns == again.schedule_ns != other.schedule_ns
    assert made.schedule_ns[-1] > 26 * NS


def test_the_cap_of_an_open_loop_is_what_the_process_can_hold(monkeypatch):
    import resource

    config = ClimbConfig(rate=(1.0,))
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 1000))
    assert max_inflight(config) == 936
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, resource.RLIM_INFINITY))
    assert max_inflight(config) == 10_000
    assert max_inflight(ClimbConfig(rate=(1.0,), max_inflight=5)) == 5


def test_a_bursty_schedule_has_enough_requests_for_its_window_however_it_falls():
    for seed in range(20):
        made = plan(rate=(1,), requests=20, warmup_requests=30, arrival="gamma:0.05", seed=seed)
        assert len(made.schedule_ns) >= 20 + 30 + 60


def stream(stamps, *, lanes=None, completion=None, **fields):
    made = Record("id", sent_ns=1, streamed=True, **fields)
    made.outcome, made.finish_reason = Outcome.OK, "stop"
    made.stamps, made.token_events = array("q", stamps), len(stamps)
    made.first_token_ns, made.last_token_ns = stamps[0], stamps[-1]
    made.lanes = None if lanes is None else array("q", lanes)
    if completion is not None:
        made.usage = Usage(completion_tokens=completion)
    return made


def test_usage_that_says_less_than_came_is_told_and_counts_no_more():
    one = stream(range(10, 90, 10), completion=1)
    (said,) = findings(STEADY, level(one, stream([10, 20], completion=2)))
    assert said == (
        "usage_contradicted: in 1 of 2 requests usage says less than came (such as 1 output tokens "
        "beside 8 events with output): the events count"
    )
    assert (one.output_tokens, one.token_count_source) == (8, "events")


def test_what_only_a_fragment_of_the_streams_has_is_said():
    at_once = [stream([10] * 8) for _ in range(3)]
    found = list(notes(level(*at_once, stream([10, 20])), [Slo("tpot", 5)]))
    assert found[:2] == [
        (
            "TPOT and tok/s per user are not shown: 1 of 4 streams have time between their first "
            "and their last token"
        ),
        "goodput: 3 of 4 ok requests have no TPOT, and its SLO counts as met for them",
    ]


def bursts(pieces, each, apart_ns=10**8, inside_ns=10**5):
    return stream(
        [
            10**9 + piece * apart_ns + place * inside_ns
            for piece in range(pieces)
            for place in range(each)
        ]
    )


@pytest.mark.parametrize("inside_ns", [0, 10**5])
@pytest.mark.parametrize(("pieces", "each"), [(1, 40), (5, 8), (2, 24)])
def test_streams_in_lumps_are_found_to_be_buffered(pieces, each, inside_ns):
    if pieces == 1 and inside_ns:
        inside_ns = 0
    found = buffering([bursts(pieces, each, inside_ns=inside_ns)] * 20, lag_ns=5e4)
    assert (found.pieces, found.events) == (pieces, pieces * each)
    said = next(iter(findings(STEADY, level(record()), found)))
    plural = "" if pieces == 1 else "s"
    assert said.startswith(
        f"buffered: answers arrive in {pieces} piece{plural}: something between buffers"
    )


def test_even_streams_and_small_lumps_are_not_buffered():
    assert buffering([bursts(40, 1)] * 20, 5e4) is None
    assert buffering([bursts(20, 2)] * 20, 5e4) is None
    assert buffering([bursts(1, 4)] * 20, 5e4) is None, "too short to tell"
    assert buffering([], None) is None


def test_a_client_that_reads_late_merges_reads_itself():
    # A token every 10 ms; a loop that stalls finds several in a read, and is late by part of one.
    assert buffering([bursts(10, 10, inside_ns=0)] * 20, lag_ns=5e6) is None


@pytest.mark.parametrize(
    ("load", "name", "due"),
    [
        ({"rate": (1e6,), "duration_seconds": 3600.0}, "r1e\\+06", "3,660,000,000"),
        ({"rate": (1.0,), "requests": 21_000_000}, "r1", "21,000,060"),
        ({"shape": "hold:10/1s,ramp:0..1000000/1h"}, "shape", "1,860,000,010"),
    ],
)
def test_a_schedule_that_would_not_fit_in_memory_is_refused_beforehand(load, name, due):
    config = ClimbConfig(warmup_requests=0, drain_seconds=60.0, **load)
    with pytest.raises(ConfigError, match=rf"^{name}: {due} requests would be due, and .* share"):
        list(steps([Part("made", Synthetic(), config)]))


@pytest.mark.parametrize(
    "load",
    [
        {"rate": (10_000.0,), "duration_seconds": 1000.0},
        {"concurrency": (8,), "requests": 10**9},
        {"user_shape": "hold:1000000/1h"},
    ],
)
def test_a_schedule_that_fits_and_a_load_without_one_are_taken(load):
    assert list(steps([Part("made", Synthetic(), ClimbConfig(**load))]))
