"""Answers cut at every place, fed to the client as reads."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest

from benchcore.client.exchange import Limits
from benchcore.client.records import Outcome

RESET = ConnectionResetError(104, "Connection reset by peer")
CHAT = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {}}
EVENTS = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: [DONE]\n\n'
SSE = b"content-type: text/event-stream\r\n"


def head(*lines, status=b"200 OK", version=b"1.1"):
    return b"HTTP/%b %b\r\n" % (version, status) + b"".join(lines) + b"\r\n"


def chunked(*chunks, trailer=b""):
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailer + b"\r\n"


TE = b"transfer-encoding: chunked\r\n"
LENGTH = b"content-length: %d\r\n" % len(EVENTS)

GOOD = {
    "chunked": (head(SSE, TE) + chunked(EVENTS), True),
    "an event in three chunks": (
        head(SSE, TE) + chunked(EVENTS[:3], EVENTS[3:20], EVENTS[20:]),
        True,
    ),
    "trailers": (
        head(SSE, TE, b"trailer: x-t\r\n") + chunked(EVENTS, trailer=b"x-t: 1\r\nx-u: 2\r\n"),
        True,
    ),
    "trailers that look like framing": (
        head(SSE, TE) + chunked(EVENTS, trailer=b"content-type: application/json\r\n"),
        True,
    ),
    "chunk extensions": (
        head(SSE, TE) + b'%x;a=b;c="d"\r\n%b\r\n0;e\r\n\r\n' % (len(EVENTS), EVENTS),
        True,
    ),
    "upper case": (
        head(b"CONTENT-TYPE: Text/Event-Stream\r\n", b"TRANSFER-ENCODING: Chunked\r\n")
        + chunked(EVENTS),
        True,
    ),
    "content-length": (head(SSE, LENGTH) + EVENTS, True),
    "no content type": (head(LENGTH) + EVENTS, True),
    "until the close": (head(SSE) + EVENTS, False),
    "connection close": (head(SSE, LENGTH, b"connection: close\r\n") + EVENTS, False),
    "chunked and connection close": (
        head(SSE, TE, b"connection: close\r\n") + chunked(EVENTS),
        False,
    ),
    "HTTP/1.0": (head(SSE, LENGTH, version=b"1.0") + EVENTS, False),
    "HTTP/1.0 until the close": (head(SSE, version=b"1.0") + EVENTS, False),
    "HTTP/1.0 kept alive": (
        head(SSE, LENGTH, b"connection: keep-alive\r\n", version=b"1.0") + EVENTS,
        True,
    ),
    "100 Continue": (
        head(status=b"100 Continue") + head(SSE, TE) + chunked(EVENTS),
        True,
    ),
    "several interim answers": (
        head(status=b"100 Continue")
        + head(b"link: </x>\r\n", b"content-length: 7\r\n", status=b"103 Early Hints")
        + head(status=b"102 Processing")
        + head(SSE, LENGTH)
        + EVENTS,
        True,
    ),
    "an interim answer of another kind": (
        head(b"content-type: application/json\r\n", status=b"103 Early Hints")
        + head(LENGTH)
        + EVENTS,
        True,
    ),
    "no reason phrase": (b"HTTP/1.1 200\r\n" + SSE + LENGTH + b"\r\n" + EVENTS, True),
    "other success": (head(SSE, LENGTH, status=b"201 Created") + EVENTS, True),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", [None, 1, 2, 3, 7, 64])
async def test_a_good_stream_is_ok_however_it_is_cut(replay, name, size):
    raw, kept = GOOD[name]
    record = replay(raw, size=size, keep=True)
    assert (record.outcome, record.error) == (Outcome.OK, "")
    assert record.token_events == 1
    assert record.text == "a"
    assert record.status in (200, 201)
    assert replay.kept_alive is kept
    assert 0 < record.sent_ns <= record.first_byte_ns <= record.first_token_ns <= record.done_ns


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_stream_cut_in_two_at_every_place(replay, name):
    raw, kept = GOOD[name]
    for place in range(1, len(raw)):
        record = replay([raw[:place], raw[place:]])
        assert (place, record.outcome, record.token_events) == (place, Outcome.OK, 1)
        assert replay.kept_alive is kept


BEHIND = [b"x", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"\0", b"0\r\n\r\n"]


@pytest.mark.parametrize("rest", BEHIND)
async def test_bytes_behind_the_end_of_an_answer_end_the_connection_and_not_the_request(
    replay, rest
):
    raw = GOOD["content-length"][0]
    record = replay(raw + rest)
    assert (record.outcome, record.token_events, record.status) == (Outcome.OK, 1, 200)
    assert replay.kept_alive is False
    raw = GOOD["chunked"][0]
    assert replay([raw[:-1], raw[-1:] + rest]).outcome is Outcome.OK
    assert replay.kept_alive is False


NOT_HTTP = [
    b"garbage\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46",
    b"GET / HTTP/1.1\r\n\r\n",
    head(SSE, TE) + b"xyz\r\n",
    head(SSE, TE) + b"5\r\nabcdefgh",
    head(SSE, b"content-length: -5\r\n") + EVENTS,
    head(SSE, b"content-length: 5\r\n", b"content-length: 6\r\n"),
    head(SSE, LENGTH, TE),
    head(b"bad header\r\n"),
    head(b"upgrade: websocket\r\n", b"connection: upgrade\r\n", status=b"101 Switching Protocols"),
    head(SSE, TE) + b"fffffffffffffffffff\r\n",
]


@pytest.mark.parametrize("raw", NOT_HTTP)
@pytest.mark.parametrize("size", [None, 1])
async def test_what_is_not_http_is_a_protocol_error(replay, raw, size):
    record = replay(raw, size=size, end=None)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert "not HTTP" in record.error
    assert replay.kept_alive is False


@pytest.mark.parametrize("end", [b"", RESET])
@pytest.mark.parametrize("framing", ["content-length", "chunked", "until the close"])
async def test_the_outcome_of_an_end_at_every_byte(replay, framing, end):
    raw = GOOD[framing][0]
    body = raw.index(b"\r\n\r\n") + 4
    proper = raw.index(b"[DONE]\n\n") + 8
    first = raw.index(b"\n\n") + 2
    for size in (None, 1):
        for place in range(len(raw)):
            record = replay(raw[:place], size=size, end=end)
            if place == 0:
                expected = Outcome.CONNECT_ERROR, 0
            elif place < body:
                expected = Outcome.TRUNCATED, 0
            elif place < proper:
                expected = Outcome.TRUNCATED, 200
            else:
                expected = Outcome.OK, 200
            assert (place, record.outcome, record.status) == (place, *expected)
            assert record.token_events == (place >= first)
            assert (record.error == "") == (expected[0] is Outcome.OK)
            assert replay.kept_alive is False


@pytest.mark.parametrize("end", [b"", RESET])
async def test_a_plain_answer_is_whole_or_truncated(replay, wire, end):
    raw = wire.plain(CHAT)
    for place in range(1, len(raw)):
        record = replay(raw[:place], end=end, stream=False)
        assert (place, record.outcome) == (place, Outcome.TRUNCATED)
    record = replay(raw, stream=False, keep=True)
    assert (record.outcome, record.text, record.streamed) == (Outcome.OK, "hi", False)
    assert record.answer == CHAT
    assert record.finish_reason == "stop"
    assert list(record.stamps) == []
    assert record.first_token_ns == record.last_token_ns == 0
    assert 0 < record.first_byte_ns <= record.done_ns


async def test_a_plain_answer_until_the_close_is_whole_by_a_close_only(replay, wire):
    raw = head(b"content-type: application/json\r\n") + wire.plain(CHAT).partition(b"\r\n\r\n")[2]
    assert replay(raw, stream=False).outcome is Outcome.OK
    assert replay(raw, stream=False, end=RESET).outcome is Outcome.TRUNCATED
    assert replay(raw[:-1], stream=False).outcome is Outcome.TRUNCATED
    assert replay(raw[:-1], stream=False, end=RESET).outcome is Outcome.TRUNCATED


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "429 Too Many", "503 Busy"])
@pytest.mark.parametrize("size", [None, 1])
async def test_an_error_status_is_a_http_error_with_its_text(replay, wire, status, size):
    raw = wire.plain({"error": {"message": "no room"}}, status)
    record = replay(raw, size=size)
    assert record.outcome is Outcome.HTTP_ERROR
    assert (record.status, record.error) == (int(status[:3]), "no room")
    assert replay.kept_alive is True


@pytest.mark.parametrize("end", [b"", RESET])
async def test_an_error_status_stays_one_where_its_body_is_cut(replay, wire, end):
    raw = wire.plain({"error": {"message": "no room"}}, "500 Oops")
    for place in range(raw.index(b"\r\n\r\n") + 4, len(raw)):
        record = replay(raw[:place], end=end)
        assert (record.outcome, record.status) == (Outcome.HTTP_ERROR, 500)


async def test_an_error_status_may_come_as_a_stream_or_with_no_body(replay, wire):
    raw = head(SSE, TE, status=b"500 Oops") + chunked(b"data: {}\n\n")
    record = replay(raw)
    assert (record.outcome, record.error) == (Outcome.HTTP_ERROR, "data: {}")
    record = replay(head(b"content-length: 0\r\n", status=b"502 Bad Gateway"))
    assert (record.outcome, record.status) == (Outcome.HTTP_ERROR, 502)
    assert record.error == '"Bad Gateway", and an empty body'
    assert record.cause == 'http_error 502 "Bad Gateway", and an empty body'


@pytest.mark.parametrize(
    ("page", "kind", "said"),
    [
        (
            b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            b"text/html",
            '"Bad Gateway" (nginx)',
        ),
        (b"<!DOCTYPE html>\n<TITLE>\n Error &amp; co\n</TITLE>", b"", '"Error & co" (nginx)'),
        (b"<html><body>" + b"x" * 5000, b"text/html", '"Bad Gateway" (nginx)'),
        (b"", b"text/html", '"Bad Gateway" (nginx), and an empty body'),
        (b"upstream is down", b"text/plain", "upstream is down"),
    ],
)
async def test_a_page_of_html_is_told_by_its_title(replay, page, kind, said):
    raw = (
        head(
            b"server: nginx/1.25.3\r\n",
            b"content-type: %b\r\n" % kind,
            b"content-length: %d\r\n" % len(page),
            status=b"502 Bad Gateway",
        )
        + page
    )
    record = replay(raw)
    assert (record.outcome, record.status, record.error) == (Outcome.HTTP_ERROR, 502, said)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"deflate, gzip", b"GZIP"])
async def test_what_comes_compressed_is_named(replay, wire, coding):
    lines = b"content-encoding: %b\r\n" % coding
    named = coding.decode().lower()
    stream = replay(head(SSE, lines, TE) + chunked(b"\x1f\x8b\x08\x00"))
    assert stream.outcome is Outcome.PROTOCOL_ERROR
    assert stream.error.startswith(f"the answer is compressed ({named}), which was not asked for")
    listing = replay(head(lines, b"content-length: 4\r\n") + b"\x1f\x8b\x08\x00", ask=True)
    assert listing.outcome is Outcome.PROTOCOL_ERROR
    assert f"compressed ({named})" in listing.error
    refusal = replay(head(lines, b"content-length: 2\r\n", status=b"503 Busy") + b"\x1f\x8b")
    assert (refusal.outcome, refusal.status) == (Outcome.HTTP_ERROR, 503)
    assert refusal.error == f"the body is compressed ({named}), unasked"


async def test_an_identity_coding_is_none(replay, wire):
    good = wire.good().replace(b"\r\n\r\n", b"\r\ncontent-encoding: identity\r\n\r\n", 1)
    assert replay(good).outcome is Outcome.OK


@pytest.mark.parametrize("reason", ["abort", "error", "ABORTED", "cancelled"])
async def test_an_answer_that_the_server_broke_off_is_a_stream_error(replay, wire, reason):
    record = replay(wire.stream(wire.delta(content="a"), wire.delta(reason), wire.DONE))
    assert record.outcome is Outcome.STREAM_ERROR
    assert record.error == f"the answer ended as {reason!r}"
    choice = {"message": {"content": "a"}, "finish_reason": reason}
    good = {"message": {"content": "b"}, "finish_reason": "stop"}
    plain = replay(wire.plain({"choices": [good, choice]}), stream=False)
    assert (plain.outcome, plain.finish_reason) == (Outcome.STREAM_ERROR, reason)


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "eos_token", "content_filter"])
async def test_an_answer_that_ended_of_itself_is_ok_and_its_reason_is_kept(replay, wire, reason):
    record = replay(wire.stream(wire.delta(content="a"), wire.delta(reason), wire.DONE))
    assert (record.outcome, record.finish_reason) == (Outcome.OK, reason)


async def test_a_redirect_is_a_http_error_that_says_what_to_do(replay):
    record = replay(
        head(b"location: https://h/\r\n", b"content-length: 0\r\n", status=b"307 Temporary")
    )
    assert record.outcome is Outcome.HTTP_ERROR
    assert "--base-url" in record.error


async def test_a_204_is_an_answer_without_a_body(replay):
    record = replay(head(status=b"204 No Content"), end=None)
    assert record.outcome is Outcome.TRUNCATED  # nothing that a stream ends with
    assert replay.kept_alive is True
    assert replay(head(status=b"204 No Content"), ask=True, end=None).outcome is Outcome.OK


async def test_a_plain_answer_where_a_stream_was_asked_for_is_a_protocol_error(replay, wire):
    record = replay(wire.plain(CHAT))
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert "--no-stream" in record.error


async def test_a_plain_error_with_status_200_is_a_stream_error(replay, wire):
    for stream in (True, False):
        record = replay(wire.plain({"error": {"message": "bad"}}), stream=stream)
        assert (record.outcome, record.error) == (Outcome.STREAM_ERROR, "bad")


@pytest.mark.parametrize("body", [b"{", b"", b"<html>", b"\xff", b"[]", b"{}", b"5"])
async def test_a_plain_answer_of_another_shape_is_a_protocol_error(replay, wire, body):
    assert replay(wire.plain(body), stream=False).outcome is Outcome.PROTOCOL_ERROR


async def test_an_empty_plain_answer_is_empty_unless_allowed(replay, wire):
    raw = wire.plain({"choices": [{"message": {"content": ""}}]})
    assert replay(raw, stream=False).outcome is Outcome.EMPTY
    assert replay(raw, stream=False, allow_empty=True).outcome is Outcome.OK


async def test_a_stream_without_output_is_empty_unless_allowed(replay, wire):
    for raw in (
        wire.stream(wire.delta(role="assistant"), wire.delta("stop"), wire.DONE),
        wire.stream(wire.DONE),
    ):
        assert replay(raw).outcome is Outcome.EMPTY
        assert replay(raw, allow_empty=True).outcome is Outcome.OK


async def test_a_stream_that_is_complete_without_a_proper_end_is_truncated(replay, wire):
    record = replay(wire.stream(wire.delta(content="a")))
    assert record.outcome is Outcome.TRUNCATED
    assert "without finish_reason or [DONE]" in record.error
    assert replay.kept_alive is True
    assert replay(wire.stream()).outcome is Outcome.TRUNCATED
    assert replay(wire.stream(b": ping\n\n")).outcome is Outcome.TRUNCATED


async def test_done_without_a_finish_reason_is_ok(replay, wire):
    record = replay(wire.stream(wire.delta(content="a"), wire.DONE))
    assert (record.outcome, record.finish_reason) == (Outcome.OK, "")


async def test_a_finish_reason_without_done_is_ok(replay, wire):
    record = replay(wire.stream(wire.delta(content="a"), wire.delta("length")))
    assert (record.outcome, record.finish_reason) == (Outcome.OK, "length")


async def test_done_without_its_line_break_is_no_event(replay, wire):
    record = replay(wire.stream(wire.delta(content="a"), b"data: [DONE]"))
    assert record.outcome is Outcome.TRUNCATED


async def test_an_error_event_is_a_stream_error_even_after_the_finish(replay, wire):
    error = wire.event({"error": {"message": "out of memory"}})
    for events in itertools.permutations([wire.delta(content="a"), wire.delta("stop"), error], 3):
        record = replay(wire.stream(*events))
        assert (record.outcome, record.error) == (Outcome.STREAM_ERROR, "out of memory")
        assert record.token_events == 1
    record = replay(wire.STREAM_HEAD + wire.chunk(error), end=RESET)
    assert record.outcome is Outcome.STREAM_ERROR


async def test_an_event_that_is_not_json_ends_the_request_at_once(replay, wire):
    raw = wire.STREAM_HEAD + wire.chunk(wire.delta(content="a")) + wire.chunk(b"data: {\n\n")
    record = replay(raw, end=None)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert record.token_events == 1


@pytest.mark.parametrize("size", [1, 65536])
async def test_a_head_beyond_the_limit_is_a_protocol_error(replay, size):
    limits = Limits(head=1000)
    for lines in (b"x: " + b"y" * 4000, b"x: y\r\n" * 1000):
        record = replay(
            itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(lines[:size], 10**6)),
            limits=limits,
            end=None,
        )
        assert record.outcome is Outcome.PROTOCOL_ERROR
    record = replay(itertools.repeat(head(status=b"100 Continue"), 10**6), limits=limits, end=None)
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert "head" in record.error


ENDLESS = {
    "an event": (head(SSE, TE), b"10000\r\n" + b"x" * 65536 + b"\r\n", "no end"),
    "comments": (head(SSE, TE), b"10000\r\n:" + b"x" * 65534 + b"\n\r\n", "without a token"),
    "empty deltas": (
        head(SSE, TE),
        b'22\r\ndata: {"choices":[{"delta":{}}]}\n\n\r\n' * 100,
        "without a token",
    ),
    "a plain body": (
        head(b"content-type: application/json\r\n", TE),
        b"10000\r\n" + b"x" * 65536 + b"\r\n",
        "body",
    ),
    "an error body": (head(TE, status=b"500 Oops"), b"10000\r\n" + b"x" * 65536 + b"\r\n", "body"),
    "a body until the close": (head(status=b"500 Oops"), b"x" * 65536, "body"),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ENDLESS)
async def test_a_gigabyte_of_anything_costs_a_protocol_error_and_not_memory(replay, name):
    start, piece, word = ENDLESS[name]
    size = 1 << 20
    limits = Limits(event=size, body=size, idle=2 * size)
    pieces = itertools.repeat(piece, (1 << 30) // len(piece))
    tracemalloc.start()
    try:
        record = replay(itertools.chain([start], pieces), limits=limits, end=None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert record.outcome is Outcome.PROTOCOL_ERROR
    assert word in record.error
    assert peak < 4 * size
    left = sum(1 for _ in pieces)
    assert left >= (1 << 30) // len(piece) - 3 * size // len(piece)


async def test_a_token_stream_may_pass_the_limits_of_a_body(replay, wire):
    limits = Limits(event=1000, body=1000, idle=1000)
    tokens = [wire.chunk(wire.delta(content="a"))] * 100
    record = replay(
        [wire.STREAM_HEAD, *tokens, wire.chunk(wire.DONE) + wire.LAST_CHUNK], limits=limits
    )
    assert (record.outcome, record.token_events) == (Outcome.OK, 100)


async def test_events_of_one_read_share_its_stamp(replay, wire):
    deltas = b"".join(wire.chunk(wire.delta(content="a")) for _ in range(3))
    record = replay([wire.STREAM_HEAD + deltas, deltas, wire.chunk(wire.DONE) + wire.LAST_CHUNK])
    assert list(record.events) == [3, 3]
    assert len(record.stamps) == 2
    assert record.first_byte_ns == record.first_token_ns == record.stamps[0]


@pytest.mark.parametrize(
    ("body", "answer", "text"),
    [
        (b'{"data": []}', {"data": []}, None),
        (b"plain", None, "plain"),
        (b"", None, ""),
        (b'{"error": "x"}', {"error": "x"}, None),
    ],
)
async def test_what_is_asked_beside_generation_is_kept_as_it_is(replay, wire, body, answer, text):
    record = replay(wire.plain(body), ask=True)
    assert (record.outcome, record.answer, record.text) == (Outcome.OK, answer, text)
    assert record.streamed is False
    record = replay(head() + body, ask=True)
    assert (record.outcome, record.answer, record.text) == (Outcome.OK, answer, text)
