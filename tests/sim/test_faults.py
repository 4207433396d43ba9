"""Faults on demand, as they are written and as they strike."""

from __future__ import annotations

import asyncio
import json
import re
import time
from itertools import pairwise

import aiohttp
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


async def test_status_answers_with_that_status_and_an_envelope(server):
    answer = await server.stream("status:503")
    assert answer.status == 503
    assert answer.json()["error"]["code"] == 503


@pytest.mark.parametrize(
    ("fault", "status"), [("retry_after:2", 429), ("status:503,retry_after:2", 503)]
)
async def test_retry_after_says_when_to_come_back(server, fault, status):
    answer = await server.stream(fault)
    assert (answer.status, answer.headers["Retry-After"]) == (status, "2")


async def test_an_unknown_fault_is_a_bad_request(server):
    answer = await server.stream("explode")
    assert answer.status == 400
    assert answer.json()["error"]["message"].startswith("x-sim-fault: unknown fault 'explode'")


@pytest.mark.parametrize("tokens", [0, 3])
async def test_error_event_comes_after_that_many_tokens(server, tokens):
    stream = await server.stream(f"error_event:{tokens}")
    assert len(stream.deltas()) == tokens
    assert stream.chunks[-1]["error"]["code"] == 500
    assert stream.done
    assert stream.broken is None
    assert server.accounts()[-1]["finish"] == "error"


async def test_an_error_event_of_the_responses_endpoint_is_named(server):
    body = {"input": "hi", "stream": True}
    stream = await server.post("/v1/responses", body, "error_event:2")
    assert stream.body.split(b"\n\n")[-2].startswith(b"event: error\ndata: {")


async def test_error_after_finish_follows_the_finish_reason(server):
    stream = await server.stream("error_after_finish")
    assert stream.chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert "error" in stream.chunks[-1]
    assert stream.done
    answer = await server.post(
        "/v1/responses", {"input": "hi", "stream": True}, "error_after_finish"
    )
    assert [chunk["type"] for chunk in answer.chunks[-2:]] == ["response.completed", "error"]


async def test_truncate_ends_the_body_properly_but_not_the_stream(server):
    stream = await server.stream("truncate:3")
    assert len(stream.deltas()) == 3
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in stream.chunks)
    assert not stream.done
    assert stream.broken is None


async def test_cut_drops_the_connection_in_the_middle_of_a_chunk(server):
    stream = await server.stream("cut:3")
    assert isinstance(stream.broken, aiohttp.ClientPayloadError)
    reader, writer = await server.raw("cut:3")
    raw = await reader.read()
    assert raw.count(b'"content":') == 4  # the role's and three tokens
    assert not raw.endswith(b"\r\n")
    writer.close()


async def test_reset_resets_the_connection(server, caplog):
    reader, writer = await server.raw("reset:3")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert server.accounts()[-1]["finish"] == "reset"
    assert caplog.records == []


async def test_stall_makes_one_gap_and_loses_nothing(server):
    stream = await server.stream("stall:3:0.5")
    assert len(stream.deltas()) == 8
    writes = server.accounts()[-1]["writes_ns"]
    gaps = [(after - before) / 1e9 for before, after in pairwise(writes)]
    assert [index for index, gap in enumerate(gaps) if gap > 0.4] == [2]


async def test_stall_first_delays_the_first_token_but_not_the_headers(server):
    await server.stream("stall_first:0.08")
    account = server.accounts()[-1]
    assert account["writes_ns"][0] - account["received_ns"] > 80_000_000
    assert account["writes_ns"][0] - account["first_write_ns"] > 78_000_000  # a loop's timer rounds


async def test_slow_headers_delays_everything(server):
    began = time.monotonic()
    assert (await server.stream("slow_headers:0.08")).done
    account = server.accounts()[-1]
    assert account["first_write_ns"] - account["received_ns"] > 80_000_000
    assert time.monotonic() - began > 0.08


@pytest.mark.parametrize(("fault", "slow"), [("slow_queue", "queue"), ("slow_prefill", "prefill")])
async def test_a_request_that_waits_in_one_place_is_counted_there(server, fault, slow):
    assert (await server.stream(f"{fault}:0.3")).done
    page = (await server.get("/metrics")).body.decode()
    spent = {
        name: float(
            re.search(rf"^vllm:request_{name}_time_seconds_sum\{{.*}} (.*)$", page, re.MULTILINE)[1]
        )
        for name in ("queue", "prefill")
    }
    assert spent.pop(slow) >= 0.3
    assert max(spent.values()) < 0.3


async def test_bad_utf8_spoils_that_token_and_no_other(server):
    stream = await server.stream("bad_utf8:3")
    lines = [line for line in stream.body.split(b"\n\n") if b'"content":' in line][1:]
    spoilt = [index for index, line in enumerate(lines, 1) if b"\xff\xfe" in line]
    assert spoilt == [3]
    assert stream.done


async def test_no_done_ends_after_the_finish_reason(server):
    stream = await server.stream("no_done")
    assert stream.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert not stream.done
    answer = await server.post("/v1/responses", {"input": "hi", "stream": True}, "no_done")
    assert answer.chunks[-1]["type"] == "response.output_item.done"


async def test_no_usage_withholds_usage_that_was_asked_for(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = await server.stream("no_usage", stream_options=options)
    assert b"usage" not in stream.body
    assert "usage" not in (await server.chat("no_usage", max_tokens=2)).json()


@pytest.mark.parametrize(("fault", "roles"), [("empty", 0), ("role_only", 1)])
async def test_empty_and_role_only_end_properly_without_output(server, fault, roles):
    stream = await server.stream(fault)
    assert stream.deltas() == []
    assert stream.body.count(b'"role"') == roles
    assert stream.chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert stream.done
    plain = (await server.chat(fault)).json()
    assert plain["choices"][0]["message"]["content"] == ""
    assert plain["usage"]["completion_tokens"] == 0


async def test_garbage_is_not_http(server, caplog):
    reader, writer = await server.raw("garbage")
    raw = await reader.read()
    assert raw
    assert not raw.startswith(b"HTTP/")
    assert caplog.records == []
    writer.close()


async def test_huge_line_has_that_many_bytes_and_no_newline(server):
    stream = await server.stream("huge_line:3000000")
    line = stream.body.split(b"\n\n")[-1]
    assert line == b"data: " + b"x" * 3_000_000


async def test_close_after_closes_a_connection_that_it_had_promised_to_keep(server):
    reader, writer = await server.raw("close_after")
    raw = await asyncio.wait_for(reader.read(), 600)
    head = raw.split(b"\r\n\r\n", 1)[0].lower()
    assert b"connection: close" not in head
    assert raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    writer.close()


async def test_merge_puts_several_events_into_one_write(server):
    stream = await server.stream("merge:3")
    assert len(stream.deltas()) == 8
    writes = server.accounts()[-1]["writes_ns"]
    assert [writes.count(stamp) for stamp in sorted(set(writes))] == [3, 3, 2]


async def test_multi_token_puts_several_tokens_into_one_event(server):
    one = await server.stream("multi_token:3", stream_options={"include_usage": True})
    plain = await server.stream()
    assert len(one.deltas()) == 3
    assert "".join(one.deltas()) == "".join(plain.deltas())
    assert one.chunks[-1]["usage"]["completion_tokens"] == 8
    account = server.accounts()[0]
    assert (account["events"], account["completion_tokens"]) == (3, 8)


async def test_faults_combine(server):
    stream = await server.stream("stall:2:0.05,merge:2,no_done", max_tokens=6)
    assert len(stream.deltas()) == 6
    assert not stream.done


async def test_random_faults_follow_the_seed(make_server):
    def outcomes(streams):
        return ["error" in stream.chunks[-1] for stream in streams]

    found = []
    for _ in range(2):
        server = await make_server(faults=("error_event:1@0.5",), seed=3)
        found.append(outcomes([await server.stream(max_tokens=2) for _ in range(12)]))
    assert found[0] == found[1]
    assert set(found[0]) == {True, False}


@pytest.mark.parametrize("fault", ["cut:3", "truncate:3", "reset:3"])
async def test_a_plain_answer_can_break_in_the_middle_of_its_body(server, fault):
    reader, writer = await server.raw(fault, stream=False)
    read = bytearray()
    try:
        while piece := await reader.read(65_536):
            read += piece
    except ConnectionResetError:
        assert fault == "reset:3"
    head, body = bytes(read).split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length: ")[1].split()[0])
    assert 0 < len(body) < length
    writer.close()


async def test_a_plain_answer_can_fail_stall_and_be_spoilt(server):
    assert (await server.chat("error_event:1")).status == 500
    began = time.monotonic()
    assert (await server.chat("stall:1:0.05")).status == 200
    assert time.monotonic() - began > 0.05
    with pytest.raises(UnicodeDecodeError):
        (await server.chat("bad_utf8:1")).body.decode()


async def test_a_plain_answer_can_be_followed_by_a_silent_close(server):
    reader, writer = await server.raw("close_after", stream=False)
    raw = await asyncio.wait_for(reader.read(), 600)
    head, body = raw.split(b"\r\n\r\n", 1)
    assert b"connection: close" not in head.lower()
    assert json.loads(body)["choices"]
    writer.close()


async def test_a_client_that_stops_reading_holds_up_no_one_and_gets_everything_later(server):
    # 128 choices of 110 tokens, each event with usage: more than such small buffers hold.
    options = {"include_usage": True, "continuous_usage_stats": True}
    reader, writer = await server.raw(
        "", received=4096, max_tokens=110, stream_options=options, n=128
    )
    writer.transport.pause_reading()
    await asyncio.wait_for(_generated(server, 128 * 110), 600)
    assert len((await server.stream()).deltas()) == 8
    assert len(server.accounts()) == 1
    resumed_ns = time.monotonic_ns()
    writer.transport.resume_reading()
    raw = await asyncio.wait_for(_read_until(reader, b"\r\n0\r\n\r\n"), 600)
    assert raw.count(b'"delta":{"content":"') == 128 * 110
    assert raw.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    account = server.accounts()[1]
    assert account["completion_tokens"] == account["events"] == 128 * 110
    assert account["writes_ns"][-1] > resumed_ns
    writer.close()


async def _generated(server, least: float) -> None:
    while True:
        text = (await server.get("/metrics")).body.decode()
        (line,) = [
            one for one in text.splitlines() if one.startswith("vllm:generation_tokens_total")
        ]
        if float(line.split()[-1]) >= least:
            return
        await asyncio.sleep(0.02)


async def _read_until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    read = bytearray()
    while not read.endswith(end):
        read += await reader.read(1 << 20)
    return bytes(read)
