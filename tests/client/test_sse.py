from __future__ import annotations

import re
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.client.sse import EventTooLargeError, SSEParser

BOM = b"\xef\xbb\xbf"


def parse(*pieces, limit=1 << 20):
    found = []
    parser = SSEParser(lambda data, kind: found.append((data, kind)), limit)
    for piece in pieces:
        parser.feed(piece)
    return found, parser.last_event_id, parser.retry_ms


def oracle(stream):
    """HTML standard, 9.2.6, word by word, over the whole stream at once."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))
    del lines[-1]  # no end of line came behind it
    found, data, kind, last_id, retry = [], b"", b"", b"", None
    for line in lines:
        if line == b"":
            if data != b"":
                found.append((data.removesuffix(b"\n"), kind))
            data, kind = b"", b""
        elif line.startswith(b":"):
            pass
        else:
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                kind = value
            elif field == b"data":
                data += value + b"\n"
            elif field == b"id" and b"\0" not in value:
                last_id = value
            elif field == b"retry" and re.fullmatch(rb"[0-9]+", value):
                retry = int(value)
    return found, last_id, retry


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [(b"a", b"")]),
        (b"data: a\r\n\r\n", [(b"a", b"")]),
        (b"data: a\r\r", [(b"a", b"")]),
        (b"data:a\n\n", [(b"a", b"")]),
        (b"data:  a\n\n", [(b" a", b"")]),
        (b"data: a\ndata: b\n\n", [(b"a\nb", b"")]),
        (b"data: a\ndata\ndata: b\n\n", [(b"a\n\nb", b"")]),
        (b"data\n\ndata\ndata\n\ndata:", [(b"", b""), (b"\n", b"")]),
        (b"data: \n\n", [(b"", b"")]),
        (b"data:\n\n", [(b"", b"")]),
        (b": ping\n\n", []),
        (b":\n\ndata: a\n\n", [(b"a", b"")]),
        (b": c\ndata: a\n: c\n\n", [(b"a", b"")]),
        (b"event: error\ndata: a\n\ndata: b\n\n", [(b"a", b"error"), (b"b", b"")]),
        (b"event: lost\n\ndata: b\n\n", [(b"b", b"")]),
        (b"data: a\nevent: late\n\n", [(b"a", b"late")]),
        (b"Data: a\n\n", []),
        (b"data : a\n\n", []),
        (b" data: a\n\n", []),
        (b"data: a: b\n\n", [(b"a: b", b"")]),
        (BOM + b"data: a\n\n", [(b"a", b"")]),
        (BOM + BOM + b"data: a\n\n", []),
        (b"data: a\n\n" + BOM + b"data: b\n\n", [(b"a", b"")]),
        (b"data: a\n", []),
        (b"data: a\n\ndata: b", [(b"a", b"")]),
        (b"data: a", []),
        (b"\n\n\ndata: a\n\n\n\n", [(b"a", b"")]),
        ("data: 你好😀\n\n".encode(), [("你好😀".encode(), b"")]),
        (b"data: \xff\xfe\n\n", [(b"\xff\xfe", b"")]),
        (b"data: a\0b\n\n", [(b"a\0b", b"")]),
        (b"", []),
    ],
)
def test_events_by_the_standard(stream, events):
    assert parse(stream)[0] == events
    assert parse(*(stream[i : i + 1] for i in range(len(stream))))[0] == events
    assert oracle(stream)[0] == events


def test_id_and_retry_are_kept():
    assert parse(b"id: 7\nretry: 1500\n\n") == ([], b"7", 1500)
    assert parse(b"id: 7\n\nid: a\0b\nretry: 1x\nretry: \n\n") == ([], b"7", None)
    assert parse(b"id: 7\n\nid\n\n") == ([], b"", None)


contents = st.sampled_from(
    [
        b"data: x",
        b'data: {"a": 1}',
        b"data:y",
        b"data",
        b"",
        b"",
        b": ping",
        b":",
        b"event: error",
        b"event",
        b"id: 1",
        b"id: \0",
        b"retry: 12",
        b"retry: 1a",
        b" data: z",
        b"data: " + "é你😀".encode(),
        b"data: " + "😀".encode()[:2],
        BOM + b"data: x",
    ]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"])
lines = st.tuples(contents, ends).map(b"".join)
streams = st.tuples(
    st.sampled_from([b"", b"", BOM, BOM[:2]]), st.lists(lines, max_size=8).map(b"".join), contents
).map(b"".join)


@given(streams)
def test_a_whole_stream_gives_what_the_slow_oracle_gives(stream):
    assert parse(stream) == oracle(stream)


@given(streams)
def test_any_cutting_in_two_or_in_equal_pieces_gives_the_same_events(stream):
    expected = oracle(stream)
    for place in range(1, len(stream)):
        assert parse(stream[:place], stream[place:]) == expected
    for size in (1, 2, 3, 7):
        assert parse(*(stream[i : i + size] for i in range(0, len(stream), size))) == expected


@given(streams, st.lists(st.integers(0, 120)))
def test_any_cutting_of_a_stream_gives_the_same_events(stream, cuts):
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    assert parse(*pieces) == oracle(stream)


@pytest.mark.parametrize(
    "pieces",
    [
        # The piece behind the cut is one whole event, and yet not alone.
        [b"data: a\n", b"data: b\n\n"],
        [b"event: error\n", b"data: b\n\n"],
        [b"data: a\n\ndat", b"data: b\n\n"],
        [b"data: a\r", b"\n", b"data: b\r\n\r\n"],
        [b"data: a\r", b"data: b\n\n", b"\ndata: c\n\n"],
        [b"data: a\rdata: b\n\n"],
        [b"data: a\r\r", b"data: b\n\n", b"\ndata: c\n\n"],
        [BOM[:1], b"data: b\n\n"],
    ],
)
def test_a_piece_that_looks_like_one_event(pieces):
    assert parse(*pieces) == oracle(b"".join(pieces))


@given(st.binary(max_size=60), st.integers(1, 7))
def test_any_bytes_in_any_pieces_give_what_the_oracle_gives(stream, size):
    assert parse(*(stream[i : i + size] for i in range(0, len(stream), size))) == oracle(stream)


def test_empty_pieces_change_nothing():
    assert parse(b"", b"data: a\r", b"", b"\n", b"", b"\n", b"")[0] == [(b"a", b"")]


def test_a_gigabyte_without_a_line_break_costs_the_limit_and_no_more():
    limit = 1 << 20
    piece = b"x" * 65536
    parser = SSEParser(lambda data, kind: None, limit)
    fed = 0

    def feed_all():
        nonlocal fed
        for _ in range((1 << 30) // len(piece)):
            parser.feed(piece)
            fed += len(piece)

    tracemalloc.start()
    try:
        with pytest.raises(EventTooLargeError):
            feed_all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fed == limit
    assert peak < 3 * limit


@pytest.mark.parametrize("line", [b"data: 0123456789abcdef\n", b"data: 0123456789abcdef\r\n"])
def test_an_event_of_endless_lines_reaches_the_limit(line):
    with pytest.raises(EventTooLargeError):
        parse(*[line] * 1000, limit=1000)


def test_one_piece_that_is_an_event_beyond_the_limit_is_refused():
    with pytest.raises(EventTooLargeError):
        parse(b"data: %b\n\n" % (b"x" * 100), limit=100)
    with pytest.raises(EventTooLargeError):
        parse(b"data: %b\n\ndata: y\n\n" % (b"x" * 100), limit=100)


def test_many_events_together_may_pass_the_limit_of_one():
    assert len(parse(b"data: x\n\n" * 1000, limit=100)[0]) == 1000
    assert len(parse(*[b"data: x\n\n"] * 1000, limit=100)[0]) == 1000
    assert parse(*[b": %b\n" % (b"x" * 60)] * 1000, limit=100)[0] == []
