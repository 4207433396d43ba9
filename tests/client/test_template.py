from __future__ import annotations

import gc
import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.events import READERS
from benchcore.client.exchange import Exchange, Limits, Request
from benchcore.client.records import Outcome, Record
from benchcore.client.sse import MAX_EVENT_BYTES, EventTooLargeError, SSEParser
from benchcore.client.template import ATTEMPTS, EventTemplate

DONE = b"data: [DONE]\n\n"


class Body:
    """Reads the body of a streamed answer as exchange and connection do, read by read."""

    def __init__(self, endpoint, *, template=True, keep_text=False, limit=MAX_EVENT_BYTES):
        self.record = Record("1")
        self.reader = READERS[endpoint](self.record, keep_text=keep_text)
        self.parsed = 0
        parser = SSEParser(self._event, limit)
        self.feed = parser.feed
        if template:
            self.template = EventTemplate(self.reader, pytest.fail)
            self.template.follow(parser)
            self.feed = self.template.feed
        self.stamp = 0

    def _event(self, data, kind):
        self.parsed += 1
        self.reader.event(data, kind)

    def read(self, *pieces):
        reader = self.reader
        self.stamp += 1
        try:
            for piece in pieces:
                self.feed(piece)
        except EventTooLargeError:
            reader.fail(Outcome.PROTOCOL_ERROR, "too large")
        if not reader.pending:
            reader.note_end(self.stamp)
        elif reader.plain and reader.pending == 1:
            reader.pending = 0
            reader.stamps.append(self.stamp)
        else:
            reader.commit(self.stamp)

    def result(self):
        reader = self.reader
        reader.close()
        more = ("outcome", "error", "ended", "ended_ns", "done", "merged_reads", "finish_reason")
        return asdict(self.record) | {f"reader's {name}": getattr(reader, name) for name in more}


def chunk(content, *, ascii_only=False, spaces=False, finish=None, **more):
    """One event of a chat as vLLM, or with spaces llama.cpp's Python server, writes it."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish}
    message = {"id": "chatcmpl-1", "created": 7, "choices": [choice], **more}
    separators = None if spaces else (",", ":")
    text = json.dumps(message, ensure_ascii=ascii_only, separators=separators)
    return b"data: " + text.encode() + b"\n\n"


def split(event, content):
    before, _, behind = event.partition(json.dumps(content).encode())
    return before + b'"', b'"' + behind


VLLM = split(chunk("TEXT"), "TEXT")
LLAMA = split(chunk("TEXT", spaces=True), "TEXT")
TRANSFORMERS = (b'data: {"choices":[{"delta":{"content":"', b'"},"index":0}],"created":7}\n\n')
COMPLETIONS = (b'data: {"choices":[{"text":"', b'","index":0,"finish_reason":null}]}\n\n')
SHAPES = {"vllm": VLLM, "llama": LLAMA, "transformers": TRANSFORMERS, "completions": COMPLETIONS}


def endpoint_of(shape):
    return "completions" if shape == "completions" else "chat"


def both(endpoint, reads, **options):
    """Read with the template and without it; return the results and what the template read."""
    body = Body(endpoint, **options)
    other = Body(endpoint, template=False, **options)
    for pieces in reads:
        body.read(*pieces)
        other.read(*pieces)
    return body.result(), other.result(), body


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "content", ["a", " the", "\x7f", "进公也", "😀é", '"}], "x": [', "\n\t\\", "\u0004"]
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_token_that_fits_the_template_is_not_parsed(shape, content, ascii_only):
    before, behind = SHAPES[shape]
    inside = json.dumps(content, ensure_ascii=ascii_only)[1:-1].encode()
    first = before + b"first" + behind
    reads = [[first], [first]] + [[before + inside + behind]] * 50
    result, expected, body = both(endpoint_of(shape), reads)
    assert result == expected
    assert result["token_events"] == 52
    # The BOM that might have come keeps the first event of a stream from being learnt from.
    assert body.parsed == 2


@pytest.mark.parametrize(
    "first",
    [
        chunk("a", finish="stop"),
        chunk("a", usage={"completion_tokens": 1}),
        chunk("a", error="no"),
        chunk("a").replace(b"data: ", b"data:"),
        chunk("a").replace(b"data: ", b"event: message\ndata: "),
        chunk("a").replace(b"\n", b"\r\n"),
        chunk("a")[:-1] + b": a comment\n\n",
        chunk("a")[:-1] + b"id: 7\n\n",
        chunk("a") + b": a comment\n",
        chunk("a")[:-2] + b"\r: a comment\n\n",
        chunk("a") + chunk("a"),
        chunk(["a"]),
        chunk(7),
        chunk("").replace(b'"content"', b'"reasoning_content":"a","content"'),
        chunk("a").replace(b'"content"', b'"content":"b","content"'),
        chunk("a").replace(b'"choices"', b'"prompt":{"content":"b"},"choices"'),
    ],
)
def test_what_is_no_ordinary_token_event_is_no_template(first):
    result, expected, body = both("chat", [[DONE], *[[first]] * 5])
    assert result == expected
    assert body.parsed == 1 + 5 * first.count(b"data:")


def test_a_message_of_several_choices_is_no_template():
    two = {"choices": [{"index": n, "delta": {"content": "a"}} for n in range(2)]}
    one = {"choices": [{"index": 1, "delta": {"content": "a"}}]}
    events = [b"data: %b\n\n" % json.dumps(message).encode() for message in (two, one)]
    result, expected, body = both("chat", [[event] for event in events * 10])
    assert result == expected
    assert body.parsed == 20


def test_two_tokens_of_one_choice_in_a_message_are_no_template():
    choice = {"index": 0, "delta": {"content": "a"}}
    twice = b"data: %b\n\n" % json.dumps({"choices": [choice, choice]}).encode()
    result, expected, body = both("chat", [[twice]] * 10)
    assert result == expected
    assert (result["token_events"], body.parsed) == (20, 10)


def test_a_second_choice_ends_the_template():
    of = [chunk("a"), chunk("b").replace(b'"index":0', b'"index":1')]
    reads = [[of[0]], [of[0]], [of[0]], [of[1]], [of[0]], [of[1]], [of[0], of[0], of[1]]]
    result, expected, body = both("chat", reads)
    assert result == expected
    assert list(result["lanes"]) == [0, 0, 0, 1, 0, 1, 0, 1]
    assert list(result["events"]) == [1, 1, 1, 1, 1, 1, 2, 1]
    assert body.parsed == 8


def test_a_stream_whose_text_is_kept_is_parsed():
    result, expected, body = both("chat", [[chunk(c)] for c in "abcdef"], keep_text=True)
    assert result == expected
    assert result["text"] == "abcdef"
    assert body.parsed == 6


def test_responses_are_parsed():
    delta = b'data: {"type":"response.output_text.delta","delta":"a"}\n\n'
    result, expected, body = both("responses", [[delta]] * 9)
    assert result == expected
    assert body.parsed == 9


def test_reasoning_is_parsed_and_the_content_behind_it_is_not():
    reasoning = chunk("a").replace(b'"content"', b'"reasoning_content"')
    result, expected, body = both("chat", [[reasoning]] * 20 + [[chunk("a")]] * 20)
    assert result == expected
    assert (result["token_events"], result["reasoning_events"]) == (40, 20)
    assert body.parsed == 21


def test_a_server_that_changes_every_event_is_looked_at_a_few_times(monkeypatch):
    learnt = []
    learn = EventTemplate._learn
    monkeypatch.setattr(EventTemplate, "_learn", lambda self, e: learnt.append(e) or learn(self, e))
    result, expected, body = both("chat", [[chunk("a", id=n)] for n in range(50)])
    assert result == expected
    assert body.parsed == 50
    assert len(learnt) <= ATTEMPTS


def test_an_event_whose_shape_has_changed_is_learnt():
    last = [[chunk("a", system_fingerprint="x")]] * 10
    result, expected, body = both("chat", [[DONE], *[[chunk("a")]] * 10, *last])
    assert result == expected
    assert body.parsed == 3


@pytest.mark.parametrize(
    "between",
    [
        b"d",
        b"data: ",
        b"data: 7\n",
        b"event: error\n",
        b": comment",
        b"\r",
        chunk("a")[:-1],
        chunk("a")[:40],
    ],
)
def test_a_token_that_continues_something_is_parsed(between):
    token = chunk("a")
    reads = [[token], [token], [token], [between], [token], [token]]
    result, expected, _ = both("chat", reads)
    assert result == expected


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b'"',
        b"\\",
        b'\\"',
        b"\\u12",
        b"\\u12G4",
        b"\\ud800",
        b"\\ude00",
        b"\\ud83d\\ude00",
        b"\\U0041",
        b"\\x41",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\x1f",
        b"\t",
        b"\xff",
        b"\xc3",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b'"},"finish_reason":"stop","x":{"y":"',
        b'\\"},\\"finish_reason\\":\\"stop\\"',
        b'a","content":"',
        b'a"}}],"error":"no","x":[{"y":{"z":"',
        b'a"\n\ndata: "',
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_in_the_place_of_the_content_mean_what_they_mean(shape, inside):
    before, behind = SHAPES[shape]
    token, odd = (before + content + behind for content in (b"a", inside))
    reads = [[token], [token], [token], [odd], [token], [odd], [odd], [token], [DONE]]
    result, expected, _ = both(endpoint_of(shape), reads)
    assert result == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_what_begins_and_ends_like_the_template_but_is_shorter_is_parsed(shape):
    before, behind = SHAPES[shape]
    reads = [[before + b"a" + behind]] * 3 + [[before[:-1] + behind]]
    result, expected, body = both(endpoint_of(shape), reads)
    assert result == expected
    assert body.parsed == 3


def test_the_limit_of_an_event_holds():
    token = chunk("a")
    body = Body("chat", limit=len(token) + 10)
    for _ in range(3):
        body.read(token)
    body.read(chunk("a" * 11))
    assert body.parsed == 2
    assert body.reader.outcome is None
    body.read(chunk("a" * 12))
    assert body.reader.outcome is Outcome.PROTOCOL_ERROR
    assert body.result()["token_events"] == 4


def test_nothing_counts_behind_the_end():
    body = Body("chat")
    for _ in range(3):
        body.read(chunk("a"))
    body.template.stop()
    body.read(chunk("a"), DONE)
    assert body.result()["token_events"] == 3
    assert not body.reader.done


def test_an_exchange_that_is_released_is_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        request = Request(b"", "1", endpoint="chat", stream=True)
        exchange = Exchange(request, Record("1"), pytest.fail, limits=Limits())
        assert any(
            isinstance(holder, EventTemplate) for holder in gc.get_referrers(exchange.reader)
        )
        reader = exchange.reader
        exchange.release()
        del exchange
        holders = gc.get_referrers(reader)
        assert not any(isinstance(holder, EventTemplate) for holder in holders)
    finally:
        gc.enable()


WORDS = st.one_of(
    st.sampled_from(
        ["a", " the", "ing", ".", " 7", "\n", '"', "\\", "进公也", "é", "😀", "\x7f", ""]
    ),
    st.sampled_from(
        ['"},"finish_reason":"stop"', "[DONE]", "data: ", "\n\n", "\r", "\u2028", "\0"]
    ),
    st.text(max_size=6),
)
INSIDES = st.one_of(
    WORDS.map(lambda word: json.dumps(word)[1:-1].encode()),
    WORDS.map(lambda word: json.dumps(word, ensure_ascii=False)[1:-1].encode(errors="replace")),
    WORDS.map(lambda word: word.encode(errors="replace")),
    st.binary(max_size=4),
    st.lists(
        st.sampled_from(
            b'a|\\|"|n|\\u|d83d|\\ud83d|\\ude00|0041|\xe8|\xbf\x9b|:|,|}|{|\n|\r| |null'.split(b"|")
        ),
        max_size=6,
    ).map(b"".join),
)


def tool(**more):
    return {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}], **more}


VALUES = st.one_of(WORDS, st.none(), st.integers(0, 2), st.just(["a"]), st.just({"text": "a"}))
DELTAS = st.one_of(
    VALUES.map(lambda value: {"content": value}),
    st.just({"role": "assistant", "content": ""}),
    WORDS.map(lambda word: {"role": "assistant", "content": word}),
    WORDS.map(lambda word: {"reasoning_content": word}),
    WORDS.map(lambda word: {"content": word, "reasoning": "b"}),
    VALUES.map(lambda value: {"content": value, "extra": {"content": "b", "text": "c"}}),
    st.just(tool()),
    st.just(tool(content="a")),
    st.just({}),
    st.sampled_from([None, "a", 7, ["content"]]),
)


@st.composite
def messages(draw):
    """A message of either endpoint, well-formed JSON at least."""
    choices = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 1, 2, 0]))):
        choice = {"delta": draw(DELTAS), "text": draw(VALUES)}
        if draw(st.integers(0, 3)):
            choice["index"] = draw(st.sampled_from([0, 0, 0, 0, 1, "0", None, -1]))
        if draw(st.booleans()):
            choice["finish_reason"] = draw(st.sampled_from([None, None, None, "stop", "", 7]))
        if draw(st.booleans()):
            choice = dict(reversed(choice.items()))
        choices.append(choice)
    message = {"id": draw(st.sampled_from(["x", "x", "x", "y", "content", "text"]))}
    message["choices"] = draw(st.sampled_from([choices] * 9 + [{"a": choices}, "content", None]))
    message |= draw(
        st.sampled_from(
            [{}] * 6
            + [{"usage": None}, {"usage": {"completion_tokens": 3}}, {"error": {"message": "no"}}]
            + [{"object": "error"}, {"error": None}, {"text": "a"}, {"x": {"content": "a"}}]
        )
    )
    return message


CONTROL = st.sampled_from(
    [
        *(b": comment\n\n", b"id: 7\n\n", b"event: error\n", b"event: x\n\n", b"retry: 7\n", DONE),
        *(b"\n", b"\r", b"data\n\n", b"data:\n", b"data: 7\n\n", b"\xef\xbb\xbf"),
    ]
)
FORMS = st.sampled_from(
    [
        *[b"data: %b\n\n"] * 6,
        *(b"data:%b\n\n", b"data: %b\r\n\r\n", b"data: %b\r\r", b"event: message\ndata: %b\n\n"),
        *(b"id: 7\ndata: %b\n\n", b"data: %b\n: comment\n\n", b"event: error\ndata: %b\n\n"),
        *(b"data: %b\n", b"data:  %b\n\n", b"data: %b\r: comment\n\n"),
    ]
)
TWICE = st.sampled_from([b"", b"", b"", b'"content":"z",', b'"text":"",', b'"choices":[],'])


@st.composite
def payloads(draw):
    """The JSON of a message; a key of it may come twice."""
    separators = draw(st.sampled_from([(",", ":"), None, (" ,", " : ")]))
    text = json.dumps(draw(messages()), ensure_ascii=draw(st.booleans()), separators=separators)
    again = draw(TWICE)
    key = again.partition(b":")[0]
    return text.encode(errors="replace").replace(key, again + key, 1)


@st.composite
def shapes(draw, endpoint):
    """What stands around the content in most events of a stream."""
    if draw(st.booleans()):
        return SHAPES[draw(st.sampled_from([n for n in SHAPES if endpoint_of(n) == endpoint]))]
    event = b"data: %b\n\n" % draw(payloads())
    key = b"text" if endpoint == "completions" else b"content"
    before, found, behind = event.partition(b'"%b": "' % key)
    return before + found, behind[behind.find(b'"') :]


@st.composite
def events(draw, shape):
    """What a server may send between two events of that shape, one of them among it."""
    before, behind = shape
    kind = draw(st.integers(0, 11))
    if kind < 7:
        return before + draw(INSIDES) + behind
    if kind < 8:
        event = before + draw(INSIDES) + behind
        at = draw(st.integers(0, len(event)))
        return event[:at] + draw(st.binary(max_size=2)) + event[at + draw(st.integers(0, 2)) :]
    if kind < 9:
        return draw(st.sampled_from([before[6:] + b"a" + behind, before[:-1] + behind, before]))
    if kind < 10:
        return draw(CONTROL)
    return draw(FORMS) % draw(payloads())


@st.composite
def streams(draw):
    """An endpoint, the pieces of its answer's body read by read, and the limit of an event."""
    endpoint = draw(st.sampled_from(["chat", "chat", "completions"]))
    before, behind = shape = draw(shapes(endpoint))
    reads = [[before + b"a" + behind]] * draw(st.sampled_from([0, 2, 3, 3, 3]))
    pieces, kept = [], b""
    for sent in draw(st.lists(events(shape), max_size=12)):
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):  # often the same event again
            kept += sent
            cut = draw(st.sampled_from(["whole"] * 8 + ["split", "merged"]))
            if cut == "merged":
                continue
            at = draw(st.integers(0, len(kept))) if cut == "split" else 0
            pieces += [piece for piece in (kept[:at], kept[at:]) if piece]
            kept = b""
            if draw(st.integers(0, 4)):
                reads.append(pieces)
                pieces = []
    limit = len(before + behind) + draw(st.integers(1, 6))
    limit = draw(st.sampled_from([MAX_EVENT_BYTES] * 4 + [limit]))
    return endpoint, [*reads, [*pieces, kept]], limit


@given(streams(), st.integers(0, 9))
def test_the_record_is_the_same_with_the_template_and_without(stream, keep):
    endpoint, reads, limit = stream
    result, expected, _ = both(endpoint, reads, keep_text=keep == 9, limit=limit)
    assert result == expected
