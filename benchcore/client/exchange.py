"""Exchange: one request on its way, from its first byte sent to the last one received."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import httptools
import orjson

from benchcore.base.text import AMPLE
from benchcore.client.events import READERS
from benchcore.client.in_band import IN_BAND_HEADERS, objects_of, read_bodies, with_headers
from benchcore.client.openai import BROKEN_ENDS, TOO_DEEP, error_text, read_answer, read_usage
from benchcore.client.records import Outcome, Record, Reply
from benchcore.client.refusals import blame, refusal
from benchcore.client.sse import SSEParser
from benchcore.client.stream import StreamReader
from benchcore.client.template import EventTemplate, Shape

if TYPE_CHECKING:
    import asyncio

    from benchcore.config.target import Endpoint


NO_END = "the stream's body has no end"
"""How a stream is cut that has said all, and whose HTTP body goes on."""
CLOSED = "the server closed the connection"
"""How a socket ends in good order, and a body without a length."""


class Carrier(Protocol):
    """What brings the bytes of an answer: a connection."""

    stamp_ns: int
    """When the bytes of the last read arrived."""

    def abort(self) -> None:
        """Close the socket at once."""

    def collect(self) -> None:
        """Hand over the token events that have been counted and not been told yet."""

    def stop_reading(self) -> None:
        """Leave what arrives where it is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server may send, in bytes, before it is a `protocol_error`."""

    head: int = 64 * 1024
    event: int = 16 * 1024 * 1024
    body: int = 64 * 1024 * 1024
    idle: int = 64 * 1024 * 1024
    """Of a stream: bytes in reads that brought no token event."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prepared request.

    Args:
        payload: all its bytes, head and body.
        request_id: as in its `x-request-id`.
        endpoint: how to read the answer; `None`: the JSON body is kept as it is.
        stream: whether a stream was asked for.
        asked_input_tokens: the length it was meant to have.
        asked_output_tokens: the most tokens it asked for.
        raw: keep the answer as it comes, read nothing of it.
        keep: keep the text of the answer, whatever the client does: a later turn goes on with it.
    """

    payload: bytes = field(repr=False)  # the key is in it
    request_id: str
    endpoint: Endpoint | None
    stream: bool
    asked_input_tokens: int | None = None
    asked_output_tokens: int | None = None
    raw: bool = False
    keep: bool = False


_NOT_STREAMS = (b"application/json", b"text/html")
_UNENCODED = frozenset({"", "identity"})


class Exchange:
    """One request on its way; llhttp calls its `on_…` methods.

    Args:
        request: what to send.
        record: where instants and counts go.
        on_done: called once with the record when it has ended.
        limits: how much the server may send.
        keep: keep the text, or the JSON of a plain answer, in the record.
        allow_empty: an answer without output is `ok`.
    """

    __slots__ = (
        "_body",
        "_content_type",
        "_delimited",
        "_encodings",
        "_head_complete",
        "_in_band_headers",
        "_limits",
        "_parser",
        "_server",
        "_size",
        "_streaming",
        "_template",
        "allow_empty",
        "between_chunks",
        "complete",
        "connection",
        "feed",
        "keep",
        "keep_alive",
        "lingering",
        "on_body",
        "on_done",
        "reader",
        "record",
        "request",
        "status",
        "taught",
    )

    def __init__(
        self,
        request: Request,
        record: Record,
        on_done: Callable[[Record], None],
        *,
        limits: Limits,
        keep: bool = False,
        allow_empty: bool = False,
    ) -> None:
        self.request = request
        self.record = record
        self.on_done: Callable[[Record], None] | None = on_done
        self.keep = keep
        self.allow_empty = allow_empty
        self.connection: Carrier | None = None
        self.reader: StreamReader = READERS[request.endpoint or "chat"](record, keep_text=keep)
        self._limits = limits
        self._body: list[bytes] = []
        self._size = 0
        self.complete = False
        self.keep_alive = False
        self.between_chunks = False
        """Whether llhttp is known to stand behind a chunk; nobody tells in the reader in Python."""
        self.taught: Shape | None = None
        """The template that the reader in C has been taught for it."""
        self.lingering: asyncio.TimerHandle | None = None
        """Runs once the stream has said all, until its HTTP body ends or is not waited for."""
        self._begin_head()
        self._template = EventTemplate(self.reader, self._gather)
        self.on_body: Callable[[bytes], None] = self._template.feed
        if request.raw:
            record.reply = Reply()
            self.on_body = self._keep  # before the parser is made: it looks its callbacks up once
        self._parser: Any = httptools.HttpResponseParser(self)
        self.feed: Callable[[bytes], None] = self._feed_head

    def _begin_head(self) -> None:
        self._head_complete = False
        self.status = 0
        self._delimited = False
        self._streaming = False
        self._content_type = b""
        self._encodings: list[str] = []
        self._server = ""
        self._in_band_headers: list[tuple[bytes, bytes]] = []

    def _feed_head(self, data: bytes) -> None:
        """Feed until the head is complete; then llhttp is fed directly."""
        assert self.connection is not None
        if not self.record.first_byte_ns:
            self.record.first_byte_ns = self.connection.stamp_ns
        self._size += len(data)
        self._parser.feed_data(data)
        if self._head_complete:
            self._size = 0
            self.feed = self._parser.feed_data
        elif self._size > self._limits.head:
            self.reader.fail(
                Outcome.PROTOCOL_ERROR, f"the head of the answer passes {self._limits.head} bytes"
            )

    def countable(self) -> Shape | None:
        """Return the template of the stream's token events, if what fits it is one and no more."""
        return self._template.shape if self._streaming and self.reader.countable else None

    def idle_read(self, size: int) -> None:
        """Take notice of a read that brought no token event."""
        if self._streaming:
            assert self.connection is not None
            self.reader.note_end(self.connection.stamp_ns)
            self._size += size
            if self._size > self._limits.idle:
                self.reader.fail(
                    Outcome.PROTOCOL_ERROR, f"{self._limits.idle} bytes came without a token"
                )

    # llhttp's calls.

    def on_message_begin(self) -> None:
        """Take notice of a first byte; behind the end of the answer nobody asked for it."""
        if self.complete:
            self.keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header, or one trailer."""
        name = name.lower()
        if name == b"content-type":
            self._content_type = value.lower()
        elif name == b"content-length":
            self._delimited = True
        elif name == b"transfer-encoding":
            self._delimited = b"chunked" in value.lower()
            self._encodings += _codings(value.lower().replace(b"chunked", b""))
        elif name == b"content-encoding":
            self._encodings += _codings(value)
        elif name == b"server":
            self._server = value.decode("latin-1").partition("/")[0].strip()
        elif name == b"retry-after":
            self.record.retry_after = value.decode("latin-1").strip()
        elif name in IN_BAND_HEADERS:
            self._in_band_headers.append((name, value))
        reply = self.record.reply
        if reply is not None:
            lines = reply.trailers if self._head_complete else reply.headers
            lines.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Decide how to read the body."""
        if self.complete:
            return
        self.status = self._parser.get_status_code()
        if self.status < 200:
            return
        self._head_complete = True
        self.record.status = self.status
        if self.record.reply is not None:
            self.record.reply.status = self.status
        if self._encodings and 200 <= self.status < 300:
            self.reader.fail(
                Outcome.PROTOCOL_ERROR,
                f"the answer is compressed ({', '.join(self._encodings)}), which was not "
                "asked for: something before the server compresses what passes it",
            )
        elif (
            self.status < 300
            and self.request.stream
            and not self._content_type.startswith(_NOT_STREAMS)
        ):
            self._streaming = True
            self._template.follow(SSEParser(self.reader.event, self._limits.event))

    def on_message_complete(self) -> None:
        """Note the end; `100 Continue` and its like are followed by the answer proper."""
        if self.complete:
            return
        if not self._head_complete:
            self._begin_head()
            if self.record.reply is not None:
                self.record.reply.headers.clear()
            return
        self.complete = True
        self._template.stop()
        self.keep_alive = self._parser.should_keep_alive()

    def _gather(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._limits.body:
            self.reader.fail(
                Outcome.PROTOCOL_ERROR, f"the body of the answer passes {self._limits.body} bytes"
            )
        else:
            self._body.append(body)

    def _keep(self, body: bytes) -> None:
        """Keep a piece of a raw answer, with its stamp."""
        assert self.record.reply is not None
        assert self.connection is not None
        self._gather(body)
        self.record.reply.pieces.append(body)
        self.record.reply.stamps.append(self.connection.stamp_ns)

    def collected(self) -> Record:
        """Return its record with all that has been read."""
        if self.connection is not None:
            self.connection.collect()
        return self.record

    # How it ended.

    def note_done(self, at_ns: int) -> None:
        """Note when the answer was over; a record that was handed over is not ours any more."""
        if self.on_done is not None:
            self.record.done_ns = at_ns

    def conclude(self, *, lost: str) -> None:
        """Write outcome and error into the record.

        Args:
            lost: empty where the answer is complete; else how the connection ended.
        """
        record = self.record
        self.reader.close()
        if self._in_band_headers:
            record.in_band = with_headers(record.in_band, self._in_band_headers)
        if self._streaming and self.reader.ended_ns:
            record.tail_ns = max(record.done_ns - self.reader.ended_ns, 0)
            if lost == NO_END:
                record.done_ns = self.reader.ended_ns
        if self.reader.outcome is Outcome.PROTOCOL_ERROR:
            record.outcome, record.error = Outcome.PROTOCOL_ERROR, self.reader.error
        elif not record.first_byte_ns:
            record.outcome, record.error = Outcome.CONNECT_ERROR, f"no answer: {lost}"
        elif not self._head_complete:
            record.outcome, record.error = Outcome.TRUNCATED, f"in the head of the answer: {lost}"
        elif record.reply is not None:
            if lost and (self._delimited or lost != CLOSED):
                record.outcome, record.error = Outcome.TRUNCATED, f"in the body: {lost}"
            else:
                record.outcome = Outcome.OK
        elif not 200 <= self.status < 300:
            record.outcome, record.error = Outcome.HTTP_ERROR, self._refusal()
        elif self._streaming:
            self._conclude_stream(lost)
        else:
            self._conclude_plain(lost)

    def _conclude_stream(self, lost: str) -> None:
        record = self.record
        reader = self.reader
        if reader.outcome is not None:
            record.outcome, record.error = reader.outcome, reader.error
        elif not reader.ended:
            record.outcome = Outcome.TRUNCATED
            record.error = (
                f"after {record.token_events} token events: "
                f"{lost or 'the stream ended without finish_reason or [DONE]'}"
            )
        elif record.token_events or self.allow_empty:
            record.outcome = Outcome.OK
        else:
            record.outcome = Outcome.EMPTY
            record.error = f"the stream ended ({record.finish_reason or 'no reason'}) empty"

    def blame(self, fault: Exception) -> bool:
        """Write into the record that reading has raised; returns whether we are to blame."""
        ours, error = blame(fault)
        self.record.outcome, self.record.error = Outcome.PROTOCOL_ERROR, error
        return ours

    def _conclude_plain(self, lost: str) -> None:
        record = self.record
        record.streamed = False
        body = b"".join(self._body)
        if lost and (self._delimited or lost != CLOSED):
            record.outcome = Outcome.TRUNCATED
            record.error = f"after {len(body)} bytes of the body: {lost}"
            return
        endpoint = self.request.endpoint
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if endpoint is None:
                record.outcome, record.text = Outcome.OK, body.decode(errors="replace")
                return
            record.outcome = Outcome.TRUNCATED if lost else Outcome.PROTOCOL_ERROR
            record.error = f"the answer is not JSON ({error}): {body[:AMPLE]!r}"
            return
        if self.keep or endpoint is None:
            record.answer = answer
        if endpoint is None:
            record.outcome = Outcome.OK
            return
        if isinstance(answer, dict) and answer.get("error"):
            record.outcome, record.error = Outcome.STREAM_ERROR, error_text(answer)
            return
        if self.request.stream:
            record.outcome = Outcome.PROTOCOL_ERROR
            record.error = (
                "a stream was asked for and a plain answer came; does the server stream? "
                "--no-stream measures plain answers"
            )
            return
        try:
            said = read_answer(endpoint, answer)
        except ValueError as error:
            record.outcome, record.error = Outcome.PROTOCOL_ERROR, str(error)
            return
        record.usage = read_usage(answer.get("usage"))
        record.in_band = with_headers(read_bodies(objects_of(answer)), self._in_band_headers)
        record.finish_reason = said.finish_reason
        if self.keep:
            record.text, record.refused = said.text, said.refused
        if said.finish_reason == TOO_DEEP:
            record.outcome = Outcome.PROTOCOL_ERROR
            record.error = "the finish_reason is no string, and nested too deeply"
        elif said.finish_reason.lower() in BROKEN_ENDS:
            record.outcome = Outcome.STREAM_ERROR
            record.error = f"the answer ended as {said.finish_reason!r}"
        elif said.generated or self.allow_empty:
            record.outcome = Outcome.OK
        else:
            record.outcome, record.error = Outcome.EMPTY, "the answer holds no output"

    def _refusal(self) -> str:
        said, self.record.refused_field = refusal(
            b"".join(self._body), self.status, self._content_type, self._encodings, self._server
        )
        return said

    def release(self) -> None:
        """Break the circle with llhttp: the collector is off while a load runs."""
        self._parser = None
        self.feed = self.on_body = _nothing
        self._template.stop()
        self.connection = None
        self.on_done = None
        if self.lingering is not None:
            self.lingering.cancel()
            self.lingering = None

    def settle(self) -> None:
        """Read no more of the body than it takes to find its end: the request is over."""
        self._template.stop()
        self.on_done = None


def _codings(value: bytes) -> list[str]:
    """Return the codings of a header that change bytes."""
    names = [name.strip().lower() for name in value.decode("latin-1").split(",")]
    return [name for name in names if name not in _UNENCODED]


def _nothing(_data: bytes) -> None:
    return
