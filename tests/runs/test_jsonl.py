"""`requests.jsonl`: what a line holds, and that it says what `requests.csv` says."""

import csv
import json
from array import array

import pytest

import benchcore
from benchcore.client.records import InBand, Outcome, Phase, Record, Usage
from benchcore.runs.run import Run
from benchcore.runs.run_json import JsonLinesSink
from benchcore.runs.sinks import LevelHead, RequestRow, SinkOptions
from benchcore.runs.tables import REQUESTS

HEAD = LevelHead("c8", 2, 1_000_000_000)
RUN = Run.begun("r1", "2026-11-21T00:00:00Z")


def made(**fields):
    record = Record("id-7", index=7, **fields)
    return RequestRow(HEAD, record, "window")


def ok():
    return made(
        outcome=Outcome.OK,
        status=200,
        finish_reason="stop",
        scheduled_ns=1_500_000_000,
        connect_ns=1_000_000,
        sent_ns=1_500_250_000,
        send_end_ns=1_500_300_000,
        first_byte_ns=1_540_000_000,
        first_token_ns=1_600_250_000,
        first_output_ns=1_700_250_000,
        last_token_ns=2_000_250_001,
        done_ns=2_000_300_000,
        stamps=array("q", [1_600_250_000, 1_700_250_000, 2_000_250_001]),
        token_events=3,
        asked_input_tokens=12,
        asked_output_tokens=5,
        usage=Usage(prompt_tokens=11, completion_tokens=5, cached_tokens=8),
        in_band=InBand("vllm", queue_seconds=0.0125, draft_tokens=6),
    )


def test_every_key_of_a_request_that_went_well():
    assert REQUESTS.values(ok()) == {
        "level": "c8",
        "repeat": 2,
        "stage": "window",
        "index": 7,
        "request_id": "id-7",
        "outcome": "ok",
        "phase": None,
        "status": 200,
        "error": None,
        "retry_after": None,
        "finish_reason": "stop",
        "scheduled_seconds": 0.5,
        "sent_seconds": 0.50025,
        "send_end_seconds": 0.5003,
        "first_byte_seconds": 0.54,
        "first_token_seconds": 0.60025,
        "first_output_seconds": 0.70025,
        "last_token_seconds": 1.000250001,
        "done_seconds": 1.0003,
        "connect_seconds": 0.001,
        "send_seconds": 0.00005,
        "dispatch_lag_seconds": 0.00025,
        "ttft_seconds": 0.1,
        "ttft_from_schedule_seconds": 0.10025,
        "ttfo_seconds": 0.2,
        "tpot_seconds": 0.10000000025,
        "e2e_seconds": 0.500000001,
        "e2e_from_schedule_seconds": 0.500250001,
        "reused": False,
        "retried": False,
        "streamed": True,
        "prompt_tokens": 11,
        "output_tokens": 5,
        "cached_tokens": 8,
        "reasoning_tokens": None,
        "token_count_source": "usage",
        "token_events": 3,
        "arrivals": 3,
        "asked_input_tokens": 12,
        "asked_output_tokens": 5,
        "session": 0,
        "turn": 1,
        "class": None,
        "worker": None,
        "reader_seconds": None,
        "rtt_seconds": None,
        "retransmits": None,
        "out_of_order": None,
        "server_source": "vllm",
        "server_queue_seconds": 0.0125,
        "server_prefill_seconds": None,
        "server_ttft_seconds": None,
        "server_decode_seconds": None,
        "server_e2e_seconds": None,
        "server_upstream_seconds": None,
        "server_cached_tokens": None,
        "server_draft_tokens": 6,
        "server_accepted_tokens": None,
    }


def test_it_has_every_column_of_the_csv():
    assert set(REQUESTS.names) <= set(REQUESTS.values(ok()))


def test_what_a_failed_request_has_not_is_null():
    failed = made(
        outcome=Outcome.TIMEOUT,
        phase=Phase.CONNECT,
        error='two\nlines and "quotes"',
        retry_after="3",
        scheduled_ns=1_500_000_000,
        done_ns=1_600_000_000,
    )
    found = REQUESTS.values(failed)
    assert {name for name, value in found.items() if value is not None} == {
        *("level", "repeat", "stage", "index", "request_id", "outcome", "phase"),
        *("error", "retry_after", "scheduled_seconds", "done_seconds"),
        *("reused", "retried", "streamed", "output_tokens", "token_count_source"),
        *("token_events", "arrivals", "session", "turn"),
    }
    assert found["error"] == 'two\nlines and "quotes"'
    assert found["phase"] == "connect"


def test_lines_are_whole_and_wait_for_the_flush(tmp_path):
    sink = JsonLinesSink()
    sink.open(RUN, tmp_path, SinkOptions())
    path = tmp_path / "requests.jsonl"
    sink.requests([ok(), made(outcome=Outcome.CANCELLED, error="a\nb")])
    assert path.read_bytes() == b""
    sink.flush()
    assert path.read_bytes().endswith(b"}\n")
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["outcome"] for line in lines] == ["ok", "cancelled"]
    sink.requests([ok()])
    sink.close(RUN)
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.integration
async def test_a_climb_writes_the_same_as_the_csv(simulator, tmp_path):
    run = await benchcore.climb(
        benchcore.Target(simulator.base_url),
        concurrency=[1, 3],
        requests=10,
        idle_seconds=0,
        output=tmp_path,
        sinks=["jsonl"],
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=6, seed=1),
    )
    with (run.folder / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (run.folder / "requests.jsonl").open()]
    assert len(lines) == len(rows) > 20
    for line, row in zip(lines, rows, strict=True):
        assert line["run_id"] == run.run_id
        for name in REQUESTS.names:
            value = line[name]
            if name.endswith("_seconds") and value is not None:
                assert row[name] == f"{value:.9f}"
            elif isinstance(value, bool):
                assert row[name] == str(int(value))
            else:
                assert row[name] == ("" if value is None else str(value))
