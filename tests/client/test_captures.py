"""What real servers sent, byte for byte, replayed under every cut."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from benchcore.client import template
from benchcore.client.events import READERS
from benchcore.client.records import Outcome

FOLDER = Path(__file__).parents[1] / "real" / "captures"
CAPTURES = sorted(FOLDER.glob("*.http"))
ASKED = ("models", "health", "tokenize", "no-such-path", "request-id")


def way(name, raw):
    """How the client would have asked for this answer."""
    if name.endswith(ASKED):
        return {"ask": True}
    endpoint = "chat"
    if "completions-" in name or name.endswith("too-long"):
        endpoint = "completions"
    elif "responses-" in name:
        endpoint = "responses"
    return {"endpoint": endpoint, "stream": b"text/event-stream" in raw or b" 200 OK" not in raw}


def essence(record):
    """All of a record but its instants and its id."""
    fields = asdict(record)
    for name in list(fields):
        if name.endswith("_ns") or name in ("request_id", "stamps"):
            del fields[name]
    events = fields.pop("events")
    lanes = fields.pop("lanes")
    tokens = fields.pop("tokens")
    # A read that holds the last token and the final usage says what it carried; one event may not.
    assert tokens is None or sum(tokens) <= record.usage.completion_tokens
    fields["lanes"] = None if lanes is None else sorted(set(lanes))
    fields["events"] = sum(events) if events is not None else len(record.stamps)
    return fields


def test_there_are_captures_of_each_server():
    for server in ("transformers", "llama-cpp", "vllm"):
        assert sum(path.name.startswith(server) for path in CAPTURES) >= 15


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_a_real_answer_is_the_same_however_it_is_cut(replay, path):
    raw = path.read_bytes()
    asked = way(path.stem, raw)
    whole = essence(replay(raw, keep=True, **asked))
    assert whole["outcome"] is not Outcome.PROTOCOL_ERROR
    for size in (1, 2, 3, 7, 64):
        assert essence(replay(raw, size=size, keep=True, **asked)) == whole


EXPECTED = {
    # name: outcome, status, token events, tokens billed, finish reason
    "vllm-chat-stream": (Outcome.OK, 200, 5, None, "length"),
    "vllm-chat-stream-usage": (Outcome.OK, 200, 5, 6, "length"),
    "vllm-chat-stream-continuous": (Outcome.OK, 200, 5, 6, "length"),
    "vllm-chat-plain": (Outcome.OK, 200, 0, 6, "length"),
    "vllm-completions-stream-usage": (Outcome.OK, 200, 6, 6, "length"),
    "vllm-unknown-model": (Outcome.HTTP_ERROR, 404, 0, None, ""),
    "vllm-bad-value": (Outcome.HTTP_ERROR, 400, 0, None, ""),
    "llama-cpp-chat-stream": (Outcome.OK, 200, 6, None, "length"),
    "llama-cpp-chat-stream-usage": (Outcome.OK, 200, 6, None, "length"),
    "llama-cpp-completions-plain": (Outcome.OK, 200, 0, 6, "length"),
    "llama-cpp-models": (Outcome.OK, 200, 0, None, ""),
    "transformers-chat-stream": (Outcome.OK, 200, 5, 6, "length"),
    "transformers-models": (Outcome.HTTP_ERROR, 500, 0, None, ""),
    "transformers-unknown-model": (Outcome.HTTP_ERROR, 400, 0, None, ""),
    "transformers-cb-chat-plain": (Outcome.OK, 200, 0, 6, "length"),
}


@pytest.mark.parametrize("name", EXPECTED)
async def test_what_some_real_answers_say(replay, name):
    raw = (FOLDER / f"{name}.http").read_bytes()
    record = replay(raw, **way(name, raw))
    billed = None if record.usage is None else record.usage.completion_tokens
    assert (
        record.outcome,
        record.status,
        record.token_events,
        billed,
        record.finish_reason,
    ) == EXPECTED[name]


async def test_a_real_running_usage_gives_the_tokens_of_each_arrival(replay):
    raw = (FOLDER / "vllm-chat-stream-continuous.http").read_bytes()
    record = replay(raw, size=1)
    assert list(record.tokens) == [1, 1, 2, 1, 1]  # one was half a character, held back
    assert record.events is None


STREAMED = [path for path in CAPTURES if b"text/event-stream" in path.read_bytes()]


def chunks(raw):
    """Cut a chunked answer behind each of its chunks, as a server sends them."""
    *most, last = re.split(rb"(?<=\n\n\r\n)", raw)
    return [*most, last] if last else most


@pytest.mark.parametrize("path", STREAMED, ids=lambda path: path.stem)
async def test_a_real_stream_is_the_same_with_an_event_template_and_without(
    replay, path, monkeypatch
):
    raw = path.read_bytes()
    asked = way(path.stem, raw)
    ways = [[raw], chunks(raw), *([raw[:cut], raw[cut:]] for cut in range(0, len(raw), 41))]
    found = [replay(pieces, **asked) for pieces in ways]
    monkeypatch.setattr(template, "ATTEMPTS", 0)
    for pieces, record in zip(ways, found, strict=True):
        expected = replay(pieces, **asked)
        assert essence(record) == essence(expected)
        assert record.events == expected.events
        assert record.lanes == expected.lanes
        assert record.tokens == expected.tokens


@pytest.mark.parametrize(
    ("name", "tokens", "parsed"),
    [
        # Parsed is the first token, or two of them, and each event that is no ordinary token.
        ("vllm-chat-stream", 5, 5),
        ("llama-cpp-chat-stream", 6, 4),
        ("transformers-chat-stream", 5, 3),
        ("transformers-cb-chat-stream", 6, 3),
        ("vllm-completions-stream-usage", 6, 5),
        ("llama-cpp-completions-stream-usage", 6, 4),
        ("transformers-completions-stream-usage", 5, 3),
        ("transformers-cb-completions-stream-usage", 5, 3),
        # With a running usage it is each event.
        ("vllm-chat-stream-continuous", 5, 9),
        # And each one from where a second choice begins.
        ("vllm-chat-stream-two", 11, 15),
    ],
)
async def test_of_a_real_stream_few_events_are_parsed(replay, name, tokens, parsed, monkeypatch):
    raw = (FOLDER / f"{name}.http").read_bytes()
    asked = way(name, raw)
    reader = READERS[asked["endpoint"]]
    seen = []
    event = reader.event
    monkeypatch.setattr(reader, "event", lambda *given: seen.append(given) or event(*given))
    record = replay(chunks(raw), **asked)
    assert (record.token_events, len(seen)) == (tokens, parsed)
