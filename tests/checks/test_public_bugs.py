"""Faults that public servers have had, replayed byte for byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchcore import Client, Target
from benchcore.checks.catalogue import installed_suites
from benchcore.checks.check import Judge
from benchcore.checks.subject import UNKNOWN, Subject
from benchcore.runs.checks import Verdict

WIRE = Path(__file__).parent / "wire"

pytestmark = pytest.mark.functional


async def judged(case_id, name, *, strict=False):
    """Makes a check of a server that answers every request with the bytes of one file."""
    data = (WIRE / f"{name}.http").read_bytes()
    answered = asyncio.Event()

    async def answer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(data)
        await writer.drain()
        writer.close()
        answered.set()

    suite = installed_suites()[case_id.partition(".")[0]]
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, Client(Target(f"http://{host}:{port}")) as client:
        subject = Subject(client, "m", UNKNOWN, strict=strict)
        judge = Judge(subject, {}, seconds=10, key_variable="KEY", clock=lambda: 0.0)
        result = await judge.judge(suite.checks[case_id])
        await answered.wait()
    return result


@pytest.mark.parametrize(
    ("case_id", "name", "expected", "got"),
    [
        (
            "usage.final_chunk",
            "usage_missing_in_stream",
            "a chunk with usage",
            '[{"id":"chatcmpl-5a1","object":"chat.completion.chunk","created":1763632800,',
        ),
        (
            "function_call.says_tool_calls_streamed",
            "tool_calls_with_stop",
            "tool_calls",
            "stop",
        ),
        (
            "function_call.streamed_indices",
            "tool_call_index_reused",
            "indices 0 and 1",
            "[0]",
        ),
        (
            "sampling.stop_streamed",
            "stop_prefix_leaked",
            "a text that ends before 3, 4, 5",
            "1, 2, 3, 4",
        ),
        ("sse.utf8_whole", "utf8_cut_in_two", "an event of UTF-8", "'utf-8' codec can't decode"),
        ("sse.utf8_whole", "utf8_replaced", "no U+FFFD in a stream", '{"id": "chatcmpl-5a1"'),
        ("sse.one_done", "done_missing", "one [DONE]", "0"),
        (
            "errors.envelope",
            "error_with_status_200",
            "a status of 4xx",
            "200",
        ),
        (
            "params_boundary.temperature_type",
            "error_with_status_200",
            'temperature "much" to be refused with 4xx',
            "status 200",
        ),
    ],
)
async def test_a_known_fault_is_found(case_id, name, expected, got):
    result = await judged(case_id, name)
    assert result.verdict is Verdict.FAIL
    assert result.expected == expected
    assert result.got.startswith(got)
    assert result.evidence[-1].response.status == 200


@pytest.mark.parametrize(
    ("case_id", "name"),
    [
        ("sse.one_done", "usage_missing_in_stream"),
        ("sse.one_finish", "usage_missing_in_stream"),
        ("sse.utf8_whole", "usage_missing_in_stream"),
        ("function_call.says_tool_calls_streamed", "tool_call_index_reused"),
    ],
)
async def test_a_fault_of_one_kind_is_not_taken_for_another(case_id, name):
    assert (await judged(case_id, name)).verdict is Verdict.PASS


async def test_what_engines_legitimately_differ_in_fails_only_in_strict_mode():
    tolerated = await judged("sse.role_once", "role_in_every_chunk")
    assert tolerated.verdict is Verdict.PASS
    assert tolerated.tolerated == [
        "expected the role once; got 3 times; tolerated: some engines repeat it"
    ]
    strict = await judged("sse.role_once", "role_in_every_chunk", strict=True)
    assert (strict.verdict, strict.got) == (Verdict.FAIL, "3 times")


@pytest.mark.parametrize(
    ("case_id", "event", "got"),
    [
        ("sse.nothing_after_finish", b'{"choices": [{"index": 0, "delta": "x"}]}', '"x"'),
        ("sse.one_finish", b'{"choices": {"index": 0}}', '{"index":0}'),
        ("smoke.streamed_chat", b'{"choices": ["x"]}', '["x"]'),
        (
            "function_call.streamed_arguments",
            (
                b'{"choices": [{"index": 0, "finish_reason": "stop", "delta": {"tool_calls": '
                b'[{"index": 0, "function": {"arguments": {"city": "Paris"}}}]}}]}'
            ),
            '{"city":"Paris"}',
        ),
        (
            "function_call.streamed_indices",
            b'{"choices": [{"index": 0, "delta": {"tool_calls": [{"index": "0"}]}}]}',
            '"0"',
        ),
    ],
)
async def test_a_chunk_of_another_shape_fails_the_check_and_not_the_run(
    case_id, event, got, tmp_path, monkeypatch
):
    stream = b"data: " + event + b"\n\ndata: [DONE]\n\n"
    (tmp_path / "odd.http").write_bytes(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(stream), stream)
    )
    monkeypatch.setitem(globals(), "WIRE", tmp_path)
    result = await judged(case_id, "odd")
    assert (result.verdict, result.got) == (Verdict.FAIL, got)
