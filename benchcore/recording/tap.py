"""Tap: reads requests and answers out of the bytes of one connection."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import httptools

MOST_BODY = 64 * 1024 * 1024
"""A body longer than this is passed through, and not recorded."""


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its answer, as they went by; instants in ns of CLOCK_MONOTONIC.

    Args:
        method: of HTTP.
        path: with its query, as it was asked.
        begun_ns: when its first byte came.
        done_ns: when its answer ended; 0: it never did.
        status: of the answer; 0: none came.
        body: of the request.
        answer: the body of the answer.
        streamed: the answer is a stream of events.
        whole: neither body was too long, and no end is missing.
    """

    begun_ns: int
    method: str = ""
    path: str = ""
    done_ns: int = 0
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    answer: bytearray = field(default_factory=bytearray)
    streamed: bool = False
    whole: bool = True
    encoding: str = ""
    answer_encoding: str = ""


class HTTPTap:
    """Reads HTTP/1.1 on one connection, pipelined or not.

    What is not HTTP/1.1, or is upgraded to something else, is read no further: it goes through
    unrecorded.

    Args:
        on_begun: told of each request when its first byte has come.
        on_ended: told of each when its answer has ended, or will not.
        on_unread: told once where the connection is not HTTP/1.1.
    """

    def __init__(
        self,
        on_begun: Callable[[Exchange], None],
        on_ended: Callable[[Exchange], None],
        on_unread: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_begun = on_begun
        self._on_ended = on_ended
        self._on_unread = on_unread
        self._requests = httptools.HttpRequestParser(_Requests(self))
        self._answers = httptools.HttpResponseParser(_Answers(self))
        self._open: deque[Exchange] = deque()
        self._reading = True
        self._delimited = True  # the answer says how long it is; else its connection ends it
        self._asking: Exchange | None = None

    def sent(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._feed(self._requests, data)

    def answered(self, data: bytes) -> None:
        """Take bytes of the server."""
        self._feed(self._answers, data)

    def closed(self) -> None:
        """Take note that both sides are closed."""
        while self._open:
            self._end(self._open.popleft())

    def _feed(
        self, parser: httptools.HttpRequestParser | httptools.HttpResponseParser, data: bytes
    ) -> None:
        if not self._reading:
            return
        try:
            parser.feed_data(data)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._reading = False
            self._on_unread()

    # What the parsers tell.

    def request_begun(self) -> None:
        """A request begins."""
        self._asking = Exchange(time.monotonic_ns())
        self._open.append(self._asking)
        self._on_begun(self._asking)

    def request_head(self, path: bytes, headers: dict[bytes, bytes]) -> None:
        """Its head has come."""
        assert self._asking is not None
        self._asking.method = self._requests.get_method().decode()
        self._asking.path = path.decode("latin-1")
        self._asking.encoding = headers.get(b"content-encoding", b"").decode("latin-1").lower()

    def request_body(self, body: bytes) -> None:
        """A piece of its body has come."""
        assert self._asking is not None
        _add(self._asking, self._asking.body, body)

    def answer_head(self, headers: dict[bytes, bytes]) -> None:
        """The head of an answer has come."""
        if not self._open:
            return
        exchange = self._open[0]
        exchange.status = self._answers.get_status_code()
        exchange.streamed = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        exchange.answer_encoding = headers.get(b"content-encoding", b"").decode("latin-1").lower()
        self._delimited = b"content-length" in headers or b"chunked" in headers.get(
            b"transfer-encoding", b""
        )

    def answer_body(self, body: bytes) -> None:
        """A piece of the body of an answer has come."""
        if self._open:
            _add(self._open[0], self._open[0].answer, body)

    def answer_ended(self) -> None:
        """An answer has ended."""
        if not self._open or self._open[0].status < 200:  # 100 comes before the answer proper
            return
        exchange = self._open.popleft()
        exchange.done_ns = time.monotonic_ns()
        self._end(exchange)

    def _end(self, exchange: Exchange) -> None:
        if not exchange.done_ns:
            exchange.done_ns = time.monotonic_ns()
            exchange.whole = exchange.whole and exchange.status >= 200 and not self._delimited
        self._on_ended(exchange)


class _Requests:
    """What llhttp tells of requests."""

    def __init__(self, tap: HTTPTap) -> None:
        self._tap = tap
        self._path = bytearray()
        self._headers: dict[bytes, bytes] = {}

    def on_message_begin(self) -> None:
        self._path.clear()
        self._headers = {}
        self._tap.request_begun()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._tap.request_head(bytes(self._path), self._headers)

    def on_body(self, body: bytes) -> None:
        self._tap.request_body(body)


class _Answers:
    """What llhttp tells of answers."""

    def __init__(self, tap: HTTPTap) -> None:
        self._tap = tap
        self._headers: dict[bytes, bytes] = {}

    def on_message_begin(self) -> None:
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value.lower()

    def on_headers_complete(self) -> None:
        self._tap.answer_head(self._headers)

    def on_body(self, body: bytes) -> None:
        self._tap.answer_body(body)

    def on_message_complete(self) -> None:
        self._tap.answer_ended()


def _add(exchange: Exchange, body: bytearray, piece: bytes) -> None:
    if len(body) + len(piece) > MOST_BODY:
        exchange.whole = False
        body.clear()
    elif exchange.whole:
        body += piece


def decoded(body: bytes | bytearray, encoding: str) -> bytes | None:
    """Return a body without its content encoding; `None`: it is one that is not read here.

    Args:
        body: as it went by.
        encoding: as `content-encoding` has it, in lower case.
    """
    if encoding in ("", "identity"):
        return bytes(body)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        # Also of a body that was cut short: 32 finds out whether it is gzip or zlib.
        reader = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        data = reader.decompress(bytes(body), MOST_BODY)
    except zlib.error:
        return None
    return None if reader.unconsumed_tail else data
