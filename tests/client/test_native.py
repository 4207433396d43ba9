"""The reader in C against the one in Python: the same bytes make the same records."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchcore.base.clock import NEVER_NS
from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.client.connection import Connection
from benchcore.client.exchange import CLOSED, Exchange, Limits, Request
from benchcore.client.native import library
from benchcore.client.native.build import compiled
from benchcore.client.native.reader import ChunkedExchange, NativeConnection, NativeReader
from benchcore.client.records import Outcome, Record
from benchcore.client.request import Prompt
from benchcore.client.stamps import Stamper
from benchcore.client.template import Shape
from benchcore.config.target import Target

pytestmark = pytest.mark.skipif(not library.path().exists(), reason="it was not built")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
MS = 1_000_000


class Owner:
    """Ends exchanges as the client does, without sockets."""

    due_ns = NEVER_NS

    def __init__(self):
        self.faults = 0

    def run_due(self):
        pytest.fail("nothing was due")

    def exchange_over(self, connection, exchange, lost):
        exchange.conclude(lost=lost)

    def connection_lost(self, connection):
        pass

    def stream_done(self, connection, exchange):
        pass

    def confine(self, exchange, fault):
        self.faults += exchange.blame(fault)


class Unread(Connection):
    """A connection whose bytes come by hand."""

    def _listen(self):
        pass

    def _deafen(self):
        pass


class Loop:
    """An event loop that watches nothing."""

    def add_reader(self, descriptor, call):
        pass

    def remove_reader(self, descriptor):
        pass


@contextmanager
def native_reader(owner, *, kernel=False):
    stamper = Stamper(kernel=False)
    reader = NativeReader(library.load(library.path()), Loop(), owner, stamper, kernel=kernel)
    try:
        yield reader
    finally:
        reader.close()
        stamper.close()


def exchange_of(kind, endpoint, limits):
    request = Request(payload=b"", request_id="1", endpoint=endpoint, stream=True)
    exchange = kind(request, Record("1"), lambda _record: None, limits=limits)
    exchange.record.sent_ns = 1
    return exchange


def result(connection, exchange, owner):
    if connection.exchange is not None:
        connection.collect()
        connection._lost(CLOSED)
        exchange.record.done_ns = exchange.record.tail_ns = 0  # by the clock
    # By the clock, too, and by the socket, which only one of them has read.
    exchange.record.read_lag_ns = exchange.record.retransmits = exchange.record.out_of_order = None
    reader = exchange.reader
    more = ("outcome", "error", "ended", "ended_ns", "done", "merged_reads", "finish_reason")
    return asdict(exchange.record) | {
        "faults": owner.faults,
        "keep alive": exchange.keep_alive,
        **{f"reader's {name}": getattr(reader, name) for name in more},
    }


def read_in_python(reads, endpoint="chat", limits=None):
    owner, sock = Owner(), socket.socket()
    connection = Unread(sock, owner, Loop(), Stamper(kernel=False))
    connection.exchange = exchange = exchange_of(Exchange, endpoint, limits or Limits())
    exchange.connection = connection
    for stamp_ns, data in reads:
        if connection.exchange is None:
            break
        connection.stamp_ns = stamp_ns
        try:
            connection._received(data)
        except Exception as fault:
            owner.confine(exchange, fault)
            connection.abort()
    return result(connection, exchange, owner)


def read_in_c(reads, endpoint="chat", limits=None):
    """Return the result, and how many token events were counted in C."""
    owner, sock = Owner(), socket.socketpair()[0]
    with native_reader(owner) as reader:
        connection = NativeConnection(sock, owner, reader)
        connection.exchange = exchange = exchange_of(ChunkedExchange, endpoint, limits or Limits())
        exchange.connection = connection
        for stamp_ns, data in reads:
            if connection.exchange is None:
                break
            reader.feed(connection._name, data, stamp_ns)
        return result(connection, exchange, owner), reader.plain_events


def framed(payload, size=None):
    return (size or b"%x" % len(payload)) + b"\r\n" + payload + b"\r\n"


def event(content, *, usage=None, index=0, finish=None, key="content", ascii_only=False, **more):
    choice = {"index": index, "delta": {key: content}, "logprobs": None, "finish_reason": finish}
    message = {"id": "chatcmpl-7", "created": 7, "choices": [choice], **more}
    if usage is not None:
        message["usage"] = usage
    text = json.dumps(message, ensure_ascii=ascii_only, separators=(",", ":"))
    return b"data: " + text.encode("utf-8", "surrogatepass") + b"\n\n"


def stamped(pieces):
    return [(MS * (number + 1), piece) for number, piece in enumerate(pieces)]


def running(said, content="x"):
    usage = {"prompt_tokens": 9, "total_tokens": 9 + said, "completion_tokens": said}
    return event(content, usage=usage)


TEXTS = [
    "a",
    " the",
    "\x7f",
    "进公也",
    "😀é",
    '"}], "x": [',
    "\n\t\\/",
    "\u0004",
    "￿",
    "\U0010ffff",
]


@pytest.mark.parametrize("content", TEXTS)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_plain_event_is_counted_in_c(content, ascii_only):
    plain = framed(event(content, ascii_only=ascii_only))
    chunks = [HEAD, framed(event("", role="assistant")), *[framed(event("one"))] * 2, *[plain] * 50]
    reads = stamped([*chunks, framed(event("", finish="stop")), framed(DONE) + b"0\r\n\r\n"])
    found, counted = read_in_c(reads)
    assert found == read_in_python(reads)
    assert found["outcome"] is Outcome.OK
    assert found["token_events"] == 52
    assert counted == 51  # the template is proven with the first of them


def test_events_that_tell_the_tokens_so_far_are_counted_in_c():
    chunks = [framed(running(said)) for said in (1, 2, 3, 5, 9, 10, 100, 99)]
    usage = {"prompt_tokens": 9, "total_tokens": 108, "completion_tokens": 99}
    last = b"data: " + json.dumps({"id": "x", "choices": [], "usage": usage}).encode() + b"\n\n"
    ends = [framed(event("", finish="stop")), framed(last), framed(DONE) + b"0\r\n\r\n"]
    reads = stamped([HEAD, framed(event("", role="assistant")), *chunks, *ends])
    found, counted = read_in_c(reads)
    assert found == read_in_python(reads)
    assert list(found["tokens"]) == [1, 1, 1, 2, 4, 1, 90, 0]
    assert counted == 7


def test_a_stream_that_breaks_off_keeps_the_usage_it_told_last():
    reads = stamped([HEAD, *[framed(running(said)) for said in range(1, 20)]])
    found, counted = read_in_c(reads)
    assert found == read_in_python(reads)
    assert found["usage"]["completion_tokens"] == 19
    assert found["outcome"] is Outcome.TRUNCATED
    assert counted > 10


def test_several_chunks_of_one_read_are_one_arrival():
    plain = framed(event("x"))
    reads = stamped([HEAD, *[plain] * 3, plain * 3, plain, plain * 2])
    found, counted = read_in_c(reads)
    assert found == read_in_python(reads)
    assert list(found["events"]) == [1, 1, 1, 3, 1, 2]
    assert found["reader's merged_reads"] == 2
    assert counted == 7


@pytest.mark.parametrize(
    "odd",
    [
        framed(event("x"), b"000" + b"%x" % len(event("x"))),
        framed(event("x"), b"%X" % len(event("x"))),
        framed(event("x"), b"%x;name=value" % len(event("x"))),
        framed(event("x") + event("y")),
        framed(event("x")[:20]) + framed(event("x")[20:]),
        framed(event("")),
        framed(event("x", index=1)),
        framed(event("x", key="reasoning_content")),
        framed(event("x").replace(b'"x"', b'"\\ud800"')),
        framed(event("x").replace(b'"x"', b'"\\udc00\\ud800"')),
        framed(event("x").replace(b'"x"', b'"\\ud83dx"')),
        framed(event("x").replace(b'"x"', b'"\\u12"')),
        framed(event("x").replace(b'"x"', b'"\\x"')),
        framed(event("x").replace(b'"x"', b'"\\"')),
        framed(event("x").replace(b'"x"', b'"\xff"')),
        framed(event("x").replace(b'"x"', b'"\xc0\x80"')),
        framed(event("x").replace(b'"x"', b'"\xed\xa0\x80"')),
        framed(event("x").replace(b'"x"', b'"\xf4\x90\x80\x80"')),
        framed(event("x").replace(b'"x"', b'"\xe2\x82"')),
        framed(event("x").replace(b'"x"', b'"\n"')),
        framed(event("x").replace(b'"x"', b"5")),
        framed(event("x").replace(b'"x"', b'"x","content":"y"')),
        framed(event("x", error={"message": "broken"})),
        framed(b": a comment\n\n"),
        framed(b"event: error\ndata: {}\n\n"),
        framed(DONE),
        b"zz\r\n",
        b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x00",
    ],
    ids=repr,
)
def test_what_is_not_plain_is_left_to_python(odd):
    plain = framed(event("x"))
    for reads in (
        [HEAD, plain, plain, plain, odd, plain, plain],
        [HEAD, plain, plain, plain + odd + plain, plain],
        [HEAD, plain, plain, plain, *[odd[at : at + 1] for at in range(len(odd))], plain],
    ):
        found, _ = read_in_c(stamped(reads))
        assert found == read_in_python(stamped(reads))


def test_a_chunk_of_which_a_part_came_is_not_counted():
    plain = framed(event("x"))
    for at in range(1, len(plain)):
        reads = stamped([HEAD, plain, plain, plain[:at], plain[at:] + plain, plain])
        found, _ = read_in_c(reads)
        assert found == read_in_python(reads)
        assert found["token_events"] == 5


def test_the_next_stream_of_a_connection_has_a_template_of_its_own():
    owner, sock = Owner(), socket.socketpair()[0]
    with native_reader(owner) as reader:
        connection = NativeConnection(sock, owner, reader)
        for name in ("first", "second"):
            exchange = exchange_of(ChunkedExchange, "chat", Limits())
            connection.exchange, exchange.connection = exchange, connection
            plain = framed(event("x").replace(b"chatcmpl-7", name.encode()))
            end = framed(event("", finish="stop")) + framed(DONE) + b"0\r\n\r\n"
            for stamp_ns, data in stamped([HEAD, *[plain] * 5, end]):
                reader.feed(connection._name, data, stamp_ns)
            assert exchange.record.outcome is Outcome.OK
            assert list(exchange.record.stamps) == [MS * number for number in range(2, 7)]
        assert reader.plain_events == 6  # a BOM might have come before the first of each


contents = st.one_of(
    st.sampled_from(TEXTS), st.text(min_size=1, max_size=5), st.just(""), st.just("\ud800")
)
plain_events = st.builds(event, contents, ascii_only=st.booleans())
counts = st.integers(0, 2_000_000_000)
odd_events = st.one_of(
    st.builds(running, counts, contents),
    st.builds(event, contents, index=st.integers(0, 2)),
    st.builds(event, contents, finish=st.sampled_from(["stop", "length", "abort"])),
    st.builds(event, contents, key=st.sampled_from(["reasoning", "refusal", "text"])),
    st.sampled_from(
        [DONE, b": ping\n\n", b"data: {}\n\n", b"data: nonsense\n\n", b"\n\n", b"\r\n"]
    ),
    st.binary(min_size=1, max_size=12),
)
sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b"])


@st.composite
def bodies(draw):
    """Draw a body in chunks: mostly plain events, one in each."""
    events = draw(
        st.lists(
            st.one_of(
                st.just(event("x")),
                st.just(event("x")),
                st.builds(running, st.integers(1, 50)) if draw(st.booleans()) else plain_events,
                plain_events,
                odd_events,
            ),
            max_size=20,
        )
    )
    chunks = []
    for payload in events:
        if draw(st.integers(0, 9)):
            chunks.append(framed(payload))
        else:
            at = draw(st.integers(1, len(payload)))
            size = draw(sizes)
            pieces = [piece for piece in (payload[:at], payload[at:]) if piece]
            chunks += [framed(piece, size % len(piece)) for piece in pieces]
    if draw(st.booleans()):
        chunks.append(b"0\r\n\r\n")
    return chunks


@st.composite
def read_by_read(draw):
    """Draw a stream and how it is cut into reads, each with its stamp."""
    chunks = [HEAD, framed(event("one")), *draw(bodies())]
    whole = b"".join(chunks)
    ends, at = set(), 0
    for piece in chunks:
        at += len(piece)
        if draw(st.integers(0, 4)):
            ends.add(at)
    ends |= draw(st.sets(st.integers(1, len(whole)), max_size=4))
    ends.add(len(whole))
    stamp_ns, begin, reads = MS, 0, []
    for end in sorted(ends):
        stamp_ns += draw(st.integers(0, 10 * MS))
        reads.append((stamp_ns, whole[begin:end]))
        begin = end
    return reads


@given(read_by_read(), st.sampled_from(["chat", "completions"]))
@example(stamped([HEAD, *[framed(event("x"))] * 4, framed(running(3)), framed(event("x"))]), "chat")
@example(stamped([HEAD, *[framed(running(3))] * 4, framed(event("x")), framed(running(4))]), "chat")
def test_both_readers_make_the_same_record(reads, endpoint):
    found, _ = read_in_c(reads, endpoint)
    assert found == read_in_python(reads, endpoint)


CAPTURES = sorted((Path(__file__).parents[1] / "real" / "captures").glob("*.http"))


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_what_real_servers_sent_makes_the_same_record(capture):
    raw = capture.read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    endpoint = "completions" if "completions-" in capture.stem else "chat"
    ends = [match.end() for match in re.finditer(rb"\n\n\r\n", body)]
    by_chunk = [body[at:end] for at, end in pairwise([0, *ends, len(body)])]
    for pieces in ([body], by_chunk, [body[at : at + 97] for at in range(0, len(body), 97)]):
        reads = stamped([head + b"\r\n\r\n", *filter(None, pieces)])
        found, _ = read_in_c(reads, endpoint)
        assert found == read_in_python(reads, endpoint)


def test_limits_hold_in_both():
    large = framed(event("x" * 3000))
    reads = stamped([HEAD, *[framed(event("x"))] * 3, large, framed(event("x"))])
    found, _ = read_in_c(reads, limits=Limits(event=2000))
    assert found == read_in_python(reads, limits=Limits(event=2000))


# What the reader is told, and tells.


def test_bytes_are_read_from_sockets_with_their_stamp():
    owner, (near, far) = Owner(), socket.socketpair()
    with native_reader(owner) as reader:
        connection = NativeConnection(near, owner, reader)
        connection.exchange = exchange = exchange_of(ChunkedExchange, "chat", Limits())
        exchange.connection = connection
        before_ns = time.perf_counter_ns()
        for piece in (HEAD, *[framed(event("x"))] * 5):
            far.send(piece)
            reader._on_ready()
        assert reader.plain_events == 3
        far.close()
        reader._on_ready()
        assert exchange.record.outcome is Outcome.TRUNCATED
        assert exchange.record.error.endswith(f"after 5 token events: {CLOSED}")
        instants = [before_ns, *exchange.record.stamps, time.perf_counter_ns()]
        assert instants == sorted(instants)
        assert reader.userspace == 6
        assert connection.closed


def test_what_waits_is_dispatched_before_what_is_read_next():
    """A drain that is called while the bytes of several connections wait keeps their order."""
    owner, (near, far) = Owner(), socket.socketpair()
    with native_reader(owner) as reader:
        connection = NativeConnection(near, owner, reader)
        connection.exchange = exchange = exchange_of(ChunkedExchange, "chat", Limits())
        exchange.connection = connection
        reader._queue.append((connection._name, 0, 5, len(HEAD), HEAD, 0))
        far.send(framed(event("x")))
        connection.drain(time.perf_counter_ns())
        assert not reader._queue
        assert exchange.record.first_byte_ns == 5
        assert len(exchange.record.stamps) == 1
        far.close()


def test_a_name_is_not_given_twice():
    owner = Owner()
    with native_reader(owner) as reader:
        (near, _one), (other, _two) = socket.socketpair(), socket.socketpair()
        first = NativeConnection(near, owner, reader)
        name = first._name
        first.close()
        second = NativeConnection(other, owner, reader)
        assert second._name != name
        assert not reader.read(name)
        second.close()


def test_hundreds_of_connections_and_none_left():
    owner = Owner()
    with native_reader(owner) as reader:
        pairs = [socket.socketpair() for _ in range(300)]
        connections = [NativeConnection(near, owner, reader) for near, _ in pairs]
        for connection, (_, far) in zip(connections, pairs, strict=True):
            connection.exchange = exchange_of(ChunkedExchange, "chat", Limits())
            connection.exchange.connection = connection
            far.send(HEAD)
        reader._on_ready()
        assert [connection.exchange.record.first_byte_ns > 0 for connection in connections] == [
            True
        ] * 300
        for connection in connections:
            connection.close()
        assert not reader._connections
        for _, far in pairs:
            far.close()


def tokens(reader, connection, every_ns, streams, seconds, begin_ns):
    """Feed plain events, `streams` tokens each `every_ns`, of one connection for each stream."""
    for number in range(int(seconds * 1e9 / every_ns)):
        for at in range(streams):
            reader.feed(
                connection[at]._name, framed(event("x")), begin_ns + number * every_ns + at * 1000
            )


@pytest.mark.parametrize(
    ("every_ms", "streams", "took_ms", "pace_ns"),
    [
        (10, 64, 1000, 1_000_000),  # 6,400 tokens/s: by the longest pace
        (10, 10, 1000, 0),  # 1,000 tokens/s: by event
        (5, 64, 1000, 500_000),  # an eighth of the gap, rounded down by halves
        (1, 64, 1000, 125_000),
        (0.5, 8, 1000, 0),
        (10, 64, 300, 250_000),  # no more than a thousandth of what a request takes
        (10, 64, 100, 0),
    ],
)
def test_the_pace_follows_gaps_rate_and_requests(every_ms, streams, took_ms, pace_ns):
    owner = Owner()
    begin_ns = time.perf_counter_ns() + 1_000_000_000
    with native_reader(owner, kernel=True) as reader:
        pairs = [socket.socketpair() for _ in range(streams)]
        connections = [NativeConnection(near, owner, reader) for near, _ in pairs]
        for connection in connections:
            connection.exchange = exchange_of(ChunkedExchange, "chat", Limits())
            connection.exchange.connection = connection
            for place, piece in enumerate((HEAD, framed(event("x")))):
                reader.feed(connection._name, piece, begin_ns - (20 - place) * MS)
        reader._library.bc_ended(reader._handle, int(took_ms * MS))
        tokens(reader, connections, int(every_ms * MS), streams, 0.4, begin_ns)
        assert reader.pace_ns == pace_ns
        # Slower again: by event.
        tokens(reader, connections, 500 * MS, 1, 4, begin_ns + 1_000_000_000)
        assert reader.pace_ns == 0
        for near, far in pairs:
            near.close()
            far.close()


# Which reader there is.


def test_the_environment_chooses_the_reader(monkeypatch):
    monkeypatch.delenv(library.CHOICE, raising=False)
    assert library.chosen()[1] == "native"
    assert library.chosen(tls=True) == (None, "python (TLS is read in Python)")
    monkeypatch.setenv(library.CHOICE, "python")
    assert library.chosen() == (None, "python (BENCHCORE_READER=python)")
    monkeypatch.setenv(library.CHOICE, "native")
    assert library.chosen()[0] is not None
    with pytest.raises(ConfigError, match="no native reader: TLS is read in Python"):
        library.chosen(tls=True)
    monkeypatch.setenv(library.CHOICE, "rust")
    with pytest.raises(ConfigError, match="BENCHCORE_READER=rust: it is one of auto, native, py"):
        library.chosen()


def test_without_a_library_the_reader_in_python_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "path", lambda: tmp_path / "_reader.so")
    monkeypatch.delenv(library.CHOICE, raising=False)
    said = (None, "python (it was not compiled when benchcore was installed)")
    assert library.chosen() == said
    (tmp_path / "_reader.so").write_bytes(b"no library")
    with pytest.raises(library.UnavailableError, match=r"^_reader\.so cannot be loaded: "):
        library.load(tmp_path / "_reader.so")


@pytest.mark.parametrize("choice", ["native", "python"])
async def test_the_client_reads_with_the_reader_chosen(choice, monkeypatch, serve):
    monkeypatch.setenv(library.CHOICE, choice)

    def answer(peer):
        peer.request()
        peer.send(HEAD)
        for _ in range(20):
            peer.send(framed(event("x")))
        peer.send(framed(event("", finish="stop")) + framed(DONE) + b"0\r\n\r\n")

    server = serve(answer)
    async with Client(Target(server.url, model="m")) as client:
        assert client.reader.startswith(choice)
        record = await client.send(client.prepare(Prompt("hi", output_tokens=20)))
        assert record.outcome is Outcome.OK
        assert record.token_events == 20


def test_a_reader_that_was_closed_does_nothing():
    owner, (near, far) = Owner(), socket.socketpair()
    with native_reader(owner) as reader:
        connection = NativeConnection(near, owner, reader)
        connection.exchange = exchange_of(ChunkedExchange, "chat", Limits())
        connection.exchange.taught = Shape((0,), (b"", b""))
    connection.collect()
    assert not reader.read(connection._name)
    assert reader.stamp_ns(connection._name) == 0
    connection.close()
    far.close()


def test_descriptors_are_given_back():
    before = len(os.listdir("/proc/self/fd"))
    with native_reader(Owner()) as reader:
        assert reader.pace_ns == 0
    assert len(os.listdir("/proc/self/fd")) == before


# How it is built.

SOURCE = Path(library.__file__).with_name("reader.c")


def test_the_build_makes_a_library_that_loads(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    assert compiled(SOURCE, tmp_path / "_reader.so") == ""
    assert library.load(tmp_path / "_reader.so").bc_abi() == library.ABI
    assert [path.name for path in tmp_path.iterdir()] == ["_reader.so"]


def test_the_build_says_why_there_is_no_library(tmp_path, monkeypatch):
    made = tmp_path / "_reader.so"
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    assert compiled(SOURCE, made) == "there is no C compiler (no-such-compiler)"
    monkeypatch.delenv("CC")
    (tmp_path / "broken.c").write_text("int broken(void) { return x; }\n")
    assert "broken.c:1:" in compiled(tmp_path / "broken.c", made)
    monkeypatch.setattr("sys.platform", "darwin")
    assert compiled(SOURCE, made) == "it reads by epoll, which darwin has not"
    assert not made.exists()


def test_a_library_of_another_version_is_not_driven(tmp_path, monkeypatch):
    monkeypatch.setenv("CFLAGS", "-Dbc_abi=bc_other_abi")
    assert compiled(SOURCE, tmp_path / "_reader.so") == ""
    with pytest.raises(library.UnavailableError, match=r"cannot be loaded: .*bc_abi"):
        library.load(tmp_path / "_reader.so")
