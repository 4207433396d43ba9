import json
from dataclasses import fields

import pytest

from benchcore.client.records import FAILED, InBand, Outcome, Record
from benchcore.config.limits import Slo
from benchcore.metrics.figures import METRICS
from benchcore.metrics.level import (
    TokenSums,
    count_tokens,
    in_band_figures,
    infinite_figures,
    latencies,
    rates,
)
from benchcore.metrics.throughput import RateIntervals
from benchcore.metrics.validity import Evidence, Validity
from benchcore.runs.run import SCHEMA_VERSION, Level, Run

MS = 1_000_000
SECOND = 1_000 * MS


def result(**changes):
    values = {
        "level": "c8",
        "workload": "short",
        "mode": "closed",
        "concurrency": 8,
        "rate": None,
        "arrival": None,
        "repeat": 1,
        "window_seconds": 10.0,
        "warmup_seconds": 1.0,
        "drain_seconds": 0.5,
        "scheduled": 10,
        "outcomes": {"ok": 5, "timeout": 2, "http_error": 1, "dropped": 1, "cancelled": 1},
        "request_throughput": 0.5,
        "output_token_throughput": 40.0,
        "input_token_throughput": 10.0,
        "total_token_throughput": 50.0,
        "tokens_per_second_per_user": 5.0,
        "good": 4,
        "goodput": 0.4,
        "goodput_ratio": 4 / 9,
        "failure_rate": 4 / 9,
        "metrics": {},
        "tokens": TokenSums(output=400, token_count_source={"usage": 5}),
        "itl": "estimated",
        "tpot_estimated": 5,
        "tpot_excluded": 0,
        "retried": 0,
        "steady_state": {"found": None, "why": "short"},
        "judged": Validity("suspect", ["cpu: x"]),
        "evidence": Evidence(reads_kernel=70, reads_userspace=3),
        "findings": [],
        "notes": [],
        "server": {},
        "records": [],
    }
    return Level.measured(**(values | changes))


# Counting tokens.


def test_token_counts_are_sums_and_say_where_they_come_from(record):
    records = [
        record(
            [1, 2],
            prompt=10,
            completion=5,
            cached=4,
            reasoning=1,
            asked_input_tokens=12,
            asked_output_tokens=6,
        ),
        record([1, 2, 3], prompt=20, asked_input_tokens=22, asked_output_tokens=6),
    ]
    assert count_tokens(records) == TokenSums.complete(
        asked_input=34,
        asked_output=12,
        input=30,
        output=5 + 3,
        cached=None,
        reasoning=None,
        token_count_source={"usage": 1, "events": 1},
    )


def test_a_sum_that_one_request_does_not_know_is_unknown(record):
    told, silent = record([1], prompt=10, completion=1), record([1])
    assert count_tokens([told, silent]).input is None
    assert count_tokens([told]).input == 10
    assert count_tokens([told, record([1], prompt=0, completion=1)]).input == 10


def test_plain_answers_without_usage_have_no_tokens_and_no_source(record):
    assert count_tokens([record(streamed=False)]) == TokenSums.complete()


def test_no_requests_tell_nothing():
    assert count_tokens([]) == TokenSums.complete()


# Latencies.


def test_only_ok_requests_enter_latencies(record):
    measured = [
        record([SECOND + 10 * MS, SECOND + 20 * MS]),
        record([SECOND + 30 * MS, SECOND + 40 * MS]),
        *(record([SECOND + 1, SECOND + 2], outcome=outcome) for outcome in FAILED),
        record(outcome=Outcome.DROPPED, sent=0),
        record([SECOND + 1], outcome=Outcome.CANCELLED),
    ]
    found = latencies(measured, open_loop=False, failures=None)
    assert set(found) == {
        *("ttft", "ttft_from_schedule", "ttfo", "first_byte", "tpot", "e2e"),
        "first_byte_from_schedule",
        *("e2e_from_schedule", "icl", "itl"),
    }
    assert {summary.count for summary in found.values()} == {2}
    assert found["ttft"].min == 0.01
    assert found["ttft"].with_failures is None
    assert found["itl"].p50 == 0.01


def test_failures_count_as_infinite_where_they_are_asked_to(record):
    measured = [record([SECOND + 10 * MS, SECOND + 20 * MS], send_end_ns=SECOND + 5, connect_ns=9)]
    found = latencies(measured, open_loop=False, failures=1)
    assert found["ttft"].with_failures["p50"] == 0.01
    assert found["ttft"].with_failures["p90"] is None
    assert found["e2e"].with_failures["p99"] is None
    # How long sending took is no latency of the server's.
    assert found["send"].with_failures is None
    assert found["connect"].with_failures is None


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (
            True,
            {
                *("ttft", "ttft_from_schedule", "ttfo", "first_byte", "tpot", "e2e"),
                "first_byte_from_schedule",
                "e2e_from_schedule",
            },
        ),
        (False, {"first_byte", "first_byte_from_schedule", "e2e", "e2e_from_schedule"}),
    ],
)
def test_where_not_one_request_was_ok_every_percentile_is_infinite(record, stream, expected):
    measured = [
        record([SECOND + 1], outcome=Outcome.TRUNCATED, streamed=stream),
        record(outcome=Outcome.DROPPED, sent=0),
    ]
    infinite = infinite_figures(measured, 2, stream=stream)
    assert set(infinite) == expected
    told = result(metrics=infinite).to_json()["metrics"]
    json.dumps(told, allow_nan=False)
    assert set(told) == expected
    percentiles = ["p50", "p75", "p90", "p95", "p99", "p999"]
    for figure in told.values():
        assert figure["count"] == 0
        assert figure["with_failures"] == dict.fromkeys(percentiles)
        assert figure["infinite"] == figure["low_confidence"] == percentiles
        assert {figure[name] for name in ("avg", "min", "max", "std", *percentiles)} == {None}


def test_nothing_is_infinite_throughout_while_one_request_is_ok_or_none_failed(record):
    failed = record(outcome=Outcome.TIMEOUT)
    cancelled = record(outcome=Outcome.CANCELLED)
    assert infinite_figures([record([SECOND + 1]), failed], 1, stream=True) == {}
    assert infinite_figures([cancelled], 0, stream=True) == {}
    assert infinite_figures([failed], None, stream=True) == {}


def test_pooled_figures_have_no_percentiles_with_failures(record):
    measured = [record([SECOND + MS, SECOND + 2 * MS]), record(outcome=Outcome.TIMEOUT)]
    found = latencies(measured, open_loop=False, failures=1)
    assert found["icl"].with_failures is None
    assert found["itl"].with_failures is None


def test_dispatch_lag_is_of_an_open_loop_and_of_all_that_was_sent(record):
    measured = [
        record([SECOND + 9], scheduled=SECOND - 2000),
        record(scheduled=SECOND, sent=SECOND + 6000, outcome=Outcome.TIMEOUT),
        record(sent=0, outcome=Outcome.DROPPED),
    ]
    for one in measured[:1]:
        one.sent_ns = SECOND
    assert "dispatch_lag" not in latencies(measured, open_loop=False, failures=None)
    lag = latencies(measured, open_loop=True, failures=None)["dispatch_lag"]
    assert (lag.count, lag.min, lag.max) == (2, 2e-6, 6e-6)


def test_plain_answers_have_no_figures_of_tokens(record):
    plain = record(streamed=False, done=2 * SECOND, first_byte_ns=SECOND + 5 * MS)
    assert set(latencies([plain], open_loop=False, failures=None)) == {
        "first_byte",
        "first_byte_from_schedule",
        "e2e",
        "e2e_from_schedule",
    }


# Rates.


def test_rates_of_a_level(record):
    start, end = SECOND, 11 * SECOND
    fast = record([SECOND + 10 * MS, SECOND + 110 * MS], scheduled=SECOND, completion=11)
    slow = record([SECOND + 900 * MS, SECOND + 1900 * MS], scheduled=SECOND, completion=11)
    one_token = record([SECOND + 10 * MS], scheduled=SECOND, tokens=[1], completion=1)
    measured = [
        fast,
        slow,
        one_token,
        record(outcome=Outcome.HTTP_ERROR, retried=True),
        record(outcome=Outcome.DROPPED, sent=0),
        record(outcome=Outcome.CANCELLED),
    ]
    other = record([SECOND - 5, SECOND + 5 * MS], sent=SECOND // 2)
    found = rates(measured, [other], start, end, [Slo("ttft", 500 * MS)])
    assert found == {
        "request_throughput": 0.4,
        "output_token_throughput": 2.4,
        "input_token_throughput": None,
        "total_token_throughput": None,
        "rate_intervals": RateIntervals.complete(batches=0),
        # Of two streams of three: 20 tokens after the first in 1.1 s, not the mean of rates.
        "tokens_per_second_per_user": pytest.approx(20 / 1.1),
        "good": 2,
        "goodput": 0.3,  # with the unmeasured one that ended good inside
        "goodput_ratio": 2 / 5,
        "failure_rate": 2 / 5,
        "itl": "estimated",
        "tpot_estimated": 2,
        "tpot_excluded": 1,
        "retried": 1,
    }


def test_itl_is_exact_where_every_stream_keeps_a_running_usage(record):
    found = rates([record([1, 2], tokens=[1, 1])], [], 0, 10, [])
    assert (found["itl"], found["tpot_estimated"]) == ("exact", 0)


def test_plain_answers_have_no_kind_of_itl(record):
    found = rates([record(streamed=False, done=5)], [], 0, 10, [])
    assert (found["itl"], found["tpot_excluded"]) == (None, 0)
    assert found["goodput_ratio"] == 1.0


def test_a_level_of_nothing_has_rates_of_nothing(record):
    for measured in ([], [record(outcome=Outcome.CANCELLED)]):
        found = rates(measured, [], SECOND, SECOND, [])
        assert found["goodput"] is found["goodput_ratio"] is found["failure_rate"] is None
        assert found["tokens_per_second_per_user"] is None
        assert found["request_throughput"] is None


# What is written.


def test_a_level_counts_by_outcome():
    level = result()
    assert (level.ok, level.failed, level.cancelled, level.dropped) == (5, 3, 1, 1)
    assert (level.request_throughput, level.output_token_throughput) == (0.5, 40.0)
    assert result(outcomes={}).ok == 0


def test_a_level_has_its_figures_by_name(record):
    metrics = latencies([record([SECOND + MS, SECOND + 2 * MS])], open_loop=True, failures=None)
    level = result(metrics=metrics)
    for name in ("ttft", "ttft_from_schedule", "itl", "icl", "tpot", "e2e", "dispatch_lag"):
        assert getattr(level, name) is metrics[name]
    assert result().ttft is None


def test_a_level_is_written_as_the_contract_says(record):
    metrics = latencies([record([SECOND + MS, SECOND + 2 * MS])], open_loop=True, failures=1)
    told = result(metrics=metrics).to_json()
    json.dumps(told, allow_nan=False)
    for name in (
        *("level", "workload", "mode", "concurrency", "rate", "arrival", "window_seconds"),
        *("steady_state", "scheduled", "ok", "failed", "cancelled", "dropped", "outcomes"),
        *("request_throughput", "output_token_throughput", "goodput", "failure_rate"),
        *("validity", "reasons", "metrics", "server"),
    ):
        assert name in told, name
    assert told["timestamps"] == {"kernel": 70, "userspace": 3}
    assert told["validity"] == "suspect"
    assert told["reasons"] == ["cpu: x"]
    assert told["itl"] == "estimated"
    assert set(told["metrics"]) <= set(METRICS)
    assert told["metrics"]["ttft"]["p999"] == 0.001
    assert told["tokens"]["token_count_source"] == {"usage": 5}
    assert set(told["client"]) == {
        field.name for field in fields(Evidence) if not field.name.startswith("reads_")
    }


def test_a_run_is_written_with_its_levels():
    run = Run.begun("x", "2026-01-01T00:00:00Z", command=["climb"])
    run.add(result())
    run.add(result())
    told = run.to_json()
    json.dumps(told, allow_nan=False)
    assert told["schema_version"] == SCHEMA_VERSION
    assert (told["status"], told["command"], told["error"]) == ("running", ["climb"], None)
    assert told["timestamps"] == {"kernel": 140, "userspace": 6}
    assert [level["level"] for level in told["levels"]] == ["c8", "c8"]


@pytest.mark.parametrize(
    ("verdicts", "valid"),
    [([], True), (["valid", "suspect"], True), (["valid", "invalid"], False)],
)
def test_a_run_is_valid_where_no_level_is_invalid(verdicts, valid):
    run = Run.begun("x", "")
    for verdict in verdicts:
        run.add(result(judged=Validity(verdict)))
    assert run.valid == valid


def test_what_the_server_says_of_its_requests_is_summed_up_as_far_as_it_says_it():
    said = [
        InBand("vllm", queue_seconds=0.001 * place, decode_seconds=0.5 if place == 3 else None)
        for place in range(1, 5)
    ]
    records = [
        Record(str(place), place * SECOND, place, Outcome.OK, in_band=one)
        for place, one in enumerate([*said, None])
    ]
    records.append(
        Record("f", 9 * SECOND, 9, Outcome.TIMEOUT, in_band=InBand("x", queue_seconds=9.0))
    )
    found = in_band_figures(records)
    assert set(found) == {"queue", "decode"}
    assert (found["queue"].count, found["queue"].p50, found["queue"].max) == (4, 0.002, 0.004)
    assert (found["decode"].count, found["decode"].avg) == (1, 0.5)
    assert in_band_figures(records[4:]) == {}
