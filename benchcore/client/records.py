"""Records: what is known of one request once it has ended."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from benchcore.base.secrets import SURELY_SECRET, masked, masked_bytes, masked_text
from benchcore.base.text import harmless


class Outcome(StrEnum):
    """How a request ended; every scheduled request ends in exactly one of these."""

    OK = "ok"
    HTTP_ERROR = "http_error"
    STREAM_ERROR = "stream_error"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    PROTOCOL_ERROR = "protocol_error"
    CONNECT_ERROR = "connect_error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DROPPED = "dropped"


FAILED = frozenset(Outcome) - {Outcome.OK, Outcome.CANCELLED, Outcome.DROPPED}
"""The outcomes that count as failures of a request that was sent."""


class Phase(StrEnum):
    """Where a request was when its time ran out."""

    CONNECT = "connect"
    FIRST_TOKEN = "first_token"
    BETWEEN_TOKENS = "between_tokens"
    TOTAL = "total"
    DRAIN = "drain"


class TokenCountSource(StrEnum):
    """Where a count of output tokens comes from."""

    USAGE = "usage"
    TOKENIZER = "tokenizer"
    EVENTS = "events"


@dataclass(slots=True)
class Usage:
    """Token counts as the server billed them; `None` where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(slots=True)
class InBand:
    """What the server says of one request in its own answer; `None`: it does not say.

    Args:
        source: who says it, such as `vllm` or `server-timing`; several joined by `+`.
        queue_seconds: from its arrival until it was scheduled.
        prefill_seconds: from scheduling, or the begin of the prompt's work, to the first token.
        ttft_seconds: from its arrival to the first token, where that is said as such.
        decode_seconds: from the first token to the last.
        e2e_seconds: from its arrival to its end.
        upstream_seconds: what a proxy waited for the head of the answer.
        cached_tokens: of the prompt, taken from the cache.
        draft_tokens: proposed by speculative decoding.
        accepted_tokens: of these, accepted.
    """

    source: str = ""
    queue_seconds: float | None = None
    prefill_seconds: float | None = None
    ttft_seconds: float | None = None
    decode_seconds: float | None = None
    e2e_seconds: float | None = None
    upstream_seconds: float | None = None
    cached_tokens: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None


@dataclass(slots=True)
class Record:
    """One request: its instants, its tokens and how it ended.

    Instants are nanoseconds of CLOCK_MONOTONIC; 0 where it never came to that.
    An *arrival* is what one read brought for one choice: one stamp, one or more token events.

    Args:
        request_id: sent as `x-request-id`.
        scheduled_ns: the planned instant (open loop) or the end of the user's previous request.
        index: its number within the level, from 0, in the order of scheduling.
        stamps: the stamp of each arrival, in ns.
        events: token events of each arrival; `None`: one each.
        tokens: output tokens of each arrival, as the server's running usage says; `None`: unknown.
        lanes: choice index of each arrival; `None`: all of the first choice seen.
    """

    request_id: str
    scheduled_ns: int = 0
    index: int = 0
    outcome: Outcome | None = None
    phase: Phase | None = None
    status: int = 0
    error: str = ""
    retry_after: str = ""
    """What a refusal said in `Retry-After`: seconds or a date."""
    refused_field: str = ""
    """The field of the body that a refusal names in a place of its own, such as `error.param`."""
    finish_reason: str = ""

    connect_ns: int = 0
    """How long it waited for a connection to be opened, in ns; 0 on an open one."""
    reused: bool = False
    retried: bool = False

    sent_ns: int = 0
    send_end_ns: int = 0
    first_byte_ns: int = 0
    first_token_ns: int = 0
    first_output_ns: int = 0
    last_token_ns: int = 0
    done_ns: int = 0
    tail_ns: int = 0
    """From the proper end of a stream to that of its HTTP body, as far as that was waited for."""
    released_ns: int = 0
    """When it was let go, where that was after `done_ns`; else 0."""
    read_lag_ns: int | None = None
    """From the arrival of the last of the answer until it was read; `None`: not known."""

    rtt_ns: int = 0
    """The smallest round trip to the server that the kernel has seen of late; 0: not known."""
    retransmits: int | None = None
    """Segments that were sent anew for it; `None`: not known."""
    out_of_order: int | None = None
    """Segments of the answer that came out of order, as they do where one was lost; likewise."""

    stamps: array[int] = field(default_factory=lambda: array("q"))
    events: array[int] | None = None
    tokens: array[int] | None = None
    lanes: array[int] | None = None
    token_events: int = 0
    reasoning_events: int = 0

    asked_input_tokens: int | None = None
    asked_output_tokens: int | None = None
    usage: Usage | None = None
    in_band: InBand | None = None
    """What the server says of it in its answer, beside the usage; `None`: nothing."""
    streamed: bool = True
    session: int = 0
    """Its session's number within the level, from 0."""
    turn: int = 1
    """Its place in the session, from 1."""
    kind: str = ""
    """Its class, where the workload has several."""
    worker: int = 0
    """Which of several workers has sent it, from 1; 0: there is one."""
    text: str | None = None
    """What was generated, where it was asked to be kept."""
    texts: list[str] | None = None
    """All of it, each choice and kind (content, reasoning, a call) a text of its own; likewise."""
    counted_tokens: int | None = None
    """Output tokens by a tokenizer of ours, where the answer had no usage."""
    refused: bool = False
    """Whether the model declined in a field of its own, where texts were asked to be kept."""
    answer: Any = None
    """The whole JSON of a plain answer, where it was asked to be kept."""
    reply: Reply | None = None
    """The answer as it came, of a request that asked for that."""

    @property
    def cause(self) -> str:
        """How it failed, in a line: outcome, status and what was said."""
        status = f" {self.status}" if self.status and self.outcome is Outcome.HTTP_ERROR else ""
        # A title stands by itself, behind its status.
        link = " " if self.error.startswith('"') else ": "
        return f"{self.outcome}{status}{link}{self.error}"

    @property
    def usage_contradicted(self) -> bool:
        """Whether the server billed fewer output tokens than half of the events that had output.

        Some events have output and no token of their own, such as the rest of a character; a
        server that counts has not half of them so.
        """
        usage = self.usage
        return (
            self.streamed
            and usage is not None
            and usage.completion_tokens is not None
            and 2 * usage.completion_tokens < self.token_events
        )

    @property
    def output_tokens(self) -> int | None:
        """Output tokens: the server's usage, a tokenizer's count, token events, or unknown.

        Usage that what came contradicts does not count.
        """
        if self.usage is not None and self.usage.completion_tokens is not None:
            return self.token_events if self.usage_contradicted else self.usage.completion_tokens
        if self.counted_tokens is not None:
            return self.counted_tokens
        return self.token_events if self.streamed else None

    @property
    def token_count_source(self) -> TokenCountSource | None:
        """Where `output_tokens` comes from."""
        if self.usage is not None and self.usage.completion_tokens is not None:
            return TokenCountSource.EVENTS if self.usage_contradicted else TokenCountSource.USAGE
        if self.counted_tokens is not None:
            return TokenCountSource.TOKENIZER
        return TokenCountSource.EVENTS if self.streamed else None


def make_harmless(record: Record, secrets: tuple[str, ...]) -> None:
    """Bound what a server said in a record, and take out the secrets that it may repeat.

    What leaves the process is made from records: files, tables, pages and pushes.

    Args:
        record: of a request that has ended.
        secrets: what was shown to the server.
    """

    def mask(text: str) -> str:
        return masked_text(text, secrets)

    if record.error:
        record.error = harmless(record.error, mask)
    if record.finish_reason:
        record.finish_reason = harmless(record.finish_reason, mask)
    if record.retry_after:
        record.retry_after = harmless(record.retry_after, mask)
    # In what is judged, a short key such as `k` or `token` would mask words that are none.
    sure = tuple(one for one in secrets if len(one) >= SURELY_SECRET)
    if not sure:
        return
    if record.text is not None:
        record.text = masked_text(record.text, sure)
    if record.texts is not None:
        record.texts = [masked_text(text, sure) for text in record.texts]
    if record.reply is not None:
        record.reply.mask(sure)
    if record.answer is not None:
        record.answer = masked(record.answer, sure)


@dataclass(slots=True)
class Reply:
    """An answer, whatever its status and however far it came.

    Args:
        status: of the final answer; 0: its head never came whole.
        headers: names in lower case and values as Latin-1, in their order; of the final answer.
        trailers: what came behind a chunked body.
        pieces: the body as it was read, without the chunking of HTTP.
        stamps: when each piece arrived, in ns of CLOCK_MONOTONIC.
    """

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    stamps: array[int] = field(default_factory=lambda: array("q"))

    def mask(self, secrets: tuple[str, ...]) -> None:
        """Take out secrets that the server repeats.

        A secret may be cut in two by the pieces, so that the body is masked as a whole: where there
        is one in it, the whole body stands in the first piece.
        """
        for lines in (self.headers, self.trailers):
            lines[:] = [(name, masked_text(value, secrets)) for name, value in lines]
        body = self.body
        shown = masked_bytes(body, secrets)
        if shown != body:
            self.pieces[:] = [shown, *[b""] * (len(self.pieces) - 1)]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    def header(self, name: str) -> str | None:
        """Return the value of a header, several joined by commas (RFC 9110, 5.3)."""
        found = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(found) if found else None
