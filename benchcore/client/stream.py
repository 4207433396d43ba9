"""Stream: what one streamed answer has said so far, and the arrivals of its token events."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import orjson

from benchcore.base.text import AMPLE
from benchcore.client.in_band import IN_BAND_KEYS, read_bodies
from benchcore.client.openai import (
    BROKEN_ENDS,
    MOST_TOKENS,
    TOO_DEEP,
    error_text,
    plain_text,
    read_usage,
)
from benchcore.client.records import Outcome, Record

_loads = orjson.loads
_DecodeError = orjson.JSONDecodeError
_MOST_CHOICES = 1024
DONE = b"[DONE]"
_UNSEEN = object()
_SEVERAL = object()


def _index(lane: Any) -> int:
    """Return the number of a choice; whatever is no number of one counts as the first."""
    return lane if type(lane) is int and 0 <= lane < _MOST_CHOICES else 0


class StreamReader:
    """What one stream has said so far; the base of one reader per endpoint.

    `pending` counts the token events since the last commit. The connection commits once per read,
    with that read's stamp: where `plain` holds and one event is pending by appending the stamp to
    `stamps`, else by `commit`.
    """

    content_key: ClassVar[str] = ""
    """What holds the content of a token event; empty where no two events are alike beside it."""

    __slots__ = (
        "_in_band",
        "_keep_text",
        "_kept",
        "_lane",
        "_lanes_pending",
        "_output_seen",
        "_record",
        "_said_tokens",
        "_tokens_known",
        "_unfinished",
        "_usage",
        "_usage_is_new",
        "done",
        "ended_ns",
        "error",
        "finish_reason",
        "merged_reads",
        "outcome",
        "pending",
        "plain",
        "reasoning_events",
        "stamps",
    )

    def __init__(self, record: Record, *, keep_text: bool) -> None:
        self._record = record
        self.stamps = record.stamps
        self._keep_text = keep_text
        self._kept: dict[tuple[int, str], list[str]] = {}  # by choice and kind
        self.pending = 0
        self.plain = False
        self._lane: Any = _UNSEEN  # the only choice so far; a null is the index of one, too
        self._lanes_pending: dict[Any, int] | None = None  # per choice, once there are several
        self._unfinished: set[Any] = set()
        self._output_seen = False
        self._tokens_known = True  # every arrival so far came with a running usage
        self._said_tokens = 0
        self._usage: Any = None
        self._in_band: dict[str, Any] = {}
        self._usage_is_new = False
        self.merged_reads = 0
        self.reasoning_events = 0
        self.finish_reason = ""
        self.done = False
        self.ended_ns = 0
        """The stamp of the read that brought the proper end, or the fault; 0 before it."""
        self.outcome: Outcome | None = None
        self.error = ""

    def event(self, data: bytes, kind: bytes) -> None:
        """Take one event of the stream: its data and its type."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """Whether the stream came to its proper end."""
        return self.done or (bool(self.finish_reason) and not self._unfinished)

    @property
    def single(self) -> bool:
        """Whether there was one choice at most so far."""
        return self._lanes_pending is None

    @property
    def speaks(self) -> bool:
        """Whether output that is not reasoning has begun, and has not ended."""
        return self._output_seen and not self.finish_reason

    def only_token(self, message: Any) -> dict[str, Any] | None:
        """Return what holds the content, if `message` is one more token event and nothing else.

        It is that with any content that is a string and not empty. `None` where it is more, or
        where the content is to be kept.
        """
        try:
            (choice,) = message["choices"]
            holder: dict[str, Any] = self._holder(choice)
            if (
                isinstance(holder[self.content_key], str)
                and self._output_seen
                and not self._keep_text
                and choice.get("index", 0) == self._lane
                and not choice.get("finish_reason")
                and not message.get("usage")
                and "error" not in message
            ):
                return holder
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        return None

    def _holder(self, choice: Any) -> Any:
        """Return the part of a choice that holds its content."""
        raise NotImplementedError

    def note_end(self, stamp_ns: int) -> None:
        """Note `stamp_ns` as the stream's end, if it has come to one and to none before."""
        if not self.ended_ns and (self.ended or self.outcome is not None):
            self.ended_ns = stamp_ns

    def fail(self, outcome: Outcome, error: str) -> None:
        """Note a fault; the first one counts."""
        self.plain = False
        if self.outcome is None:
            self.outcome = outcome
            self.error = error

    def said_all(self) -> None:
        """Take the event behind all others."""
        self.done = True
        self.plain = False

    def _undecodable(self, data: bytes, kind: bytes, error: Exception) -> None:
        data = data.strip()
        if data == DONE:
            self.said_all()
        elif kind == b"error":
            self.fail(Outcome.STREAM_ERROR, error_text(data.decode(errors="replace")))
        elif data:
            what = f"an event is not JSON in UTF-8 ({error})"
            self.fail(Outcome.PROTOCOL_ERROR, f"{what}: {data[:AMPLE]!r}")

    def _unshaped(self, message: Any, kind: bytes) -> None:
        """Take an event without choices: an error, a usage report, or something unheard of."""
        if kind == b"error" or (
            isinstance(message, dict) and (message.get("error") or message.get("object") == "error")
        ):
            self.fail(Outcome.STREAM_ERROR, error_text(message))
        elif isinstance(message, dict):
            self._usage = message.get("usage") or self._usage
        else:
            said = plain_text(message)[:AMPLE]
            self.fail(Outcome.PROTOCOL_ERROR, f"an event is no object: {said}")

    def _keep(self, lane: Any, pieces: Iterable[tuple[str, Any]]) -> None:
        """Keep what was generated of a choice: kinds, and what they hold."""
        for kind, piece in pieces:
            self._kept.setdefault((_index(lane), kind), []).append(plain_text(piece))

    def _output(self) -> None:
        """Note the first output that is not reasoning: the next commit is of the careful kind."""
        self._output_seen = True
        self.plain = False

    def _beside(self, message: Any, kind: bytes) -> None:
        """Take what stands beside the choices: a usage, an error."""
        if message.get("usage"):
            self._said_usage(message["usage"])
            self._note_in_band(message)
        if kind == b"error" or "error" in message:
            self._unshaped(message, kind)

    def _note_in_band(self, holder: Mapping[str, Any]) -> None:
        """Keep what the server says of the request, in an event that is no plain token's."""
        for key in IN_BAND_KEYS:
            if key in holder:
                self._in_band[key] = holder[key]

    def _said_usage(self, usage: Any) -> None:
        self._usage = usage
        self._usage_is_new = True
        self.plain = False

    def _other_lane(self, lane: Any) -> None:
        """Count a token event of a choice that is new, or one of several."""
        lane = _index(lane)
        self.pending += 1
        pending = self._lanes_pending
        if pending is None:
            if self._lane is _UNSEEN:
                self._lane = lane
                self._unfinished.add(lane)
                return
            if lane == self._lane:
                return
            self._record.lanes = array("q", [self._lane]) * len(self.stamps)
            pending = self._lanes_pending = {self._lane: self.pending - 1}
            # Equal to none from now on: every event of several choices is counted here.
            self._lane = _SEVERAL
            self.plain = False
        if lane not in pending:
            self._unfinished.add(lane)
            self.ended_ns = 0
        pending[lane] = pending.get(lane, 0) + 1

    def _finish(self, lane: Any, reason: Any) -> None:
        self.finish_reason = plain_text(reason)
        self._unfinished.discard(_index(lane))
        self.plain = False
        if self.finish_reason == TOO_DEEP:
            self.fail(
                Outcome.PROTOCOL_ERROR, "the finish_reason is no string, and nested too deeply"
            )
        elif self.finish_reason.lower() in BROKEN_ENDS:
            self.fail(Outcome.STREAM_ERROR, f"the answer ended as {self.finish_reason!r}")

    def commit(self, stamp_ns: int) -> None:
        """Turn the pending token events into arrivals at `stamp_ns`: the general case."""
        record = self._record
        pending, self.pending = self.pending, 0
        if self._output_seen and not record.first_output_ns:
            record.first_output_ns = stamp_ns
        if self.done or self.finish_reason or self.outcome is not None:
            self.note_end(stamp_ns)
        self._commit_tokens()
        lanes = self._lanes_pending
        if lanes is not None:
            self._commit_lanes(stamp_ns, lanes)
            return
        if pending > 1:
            self.merged_reads += 1
            if record.events is None:
                record.events = array("q", [1]) * len(self.stamps)
        if record.events is not None:
            record.events.append(pending)
        self.stamps.append(stamp_ns)
        self.plain = record.events is None and not self._tokens_known

    def _commit_lanes(self, stamp_ns: int, lanes: dict[Any, int]) -> None:
        record = self._record
        if record.events is None:
            record.events = array("q", [1]) * len(self.stamps)
        assert record.lanes is not None
        merged = False
        for lane, count in lanes.items():
            if count:
                self.stamps.append(stamp_ns)
                record.events.append(count)
                record.lanes.append(lane)
                merged = merged or count > 1
                lanes[lane] = 0
        self.merged_reads += merged

    def _commit_tokens(self) -> None:
        """Note how many tokens this arrival carried, where the running usage says so."""
        if not self._tokens_known:
            return
        record = self._record
        said = None
        if self._usage_is_new and isinstance(self._usage, dict):
            said = self._usage.get("completion_tokens")
        self._usage_is_new = False
        if (
            self._lanes_pending is not None
            or not isinstance(said, int)
            or not 0 <= said < MOST_TOKENS
        ):
            # It counts all choices together, or has a gap: it tells nothing of this arrival.
            self._tokens_known = False
            record.tokens = None
            return
        if record.tokens is None:
            record.tokens = array("q")
        record.tokens.append(max(said - self._said_tokens, 0))
        self._said_tokens = said

    @property
    def countable(self) -> bool:
        """Whether one more token event of the stream's template is that and no more."""
        return (
            self._output_seen
            and self._lanes_pending is None
            and bool(self._record.first_output_ns)
            and not (self.pending or self.finish_reason or self.done)
            and self.outcome is None
        )

    def arrived(
        self,
        stamps: array[int],
        events: array[int],
        said: array[int],
        usage: dict[str, Any] | None,
    ) -> None:
        """Take arrivals of plain token events that were counted elsewhere, as `commit` would.

        Args:
            stamps: of each arrival, in ns.
            events: token events of each.
            said: output tokens of the stream after each, as its running usage says; -1: none does.
            usage: the rest of what it says.
        """
        record = self._record
        merged = sum(count > 1 for count in events)
        if merged and record.events is None:
            record.events = array("q", [1]) * len(self.stamps)
        if record.events is not None:
            record.events += events
        self.merged_reads += merged
        self.stamps += stamps
        if usage is not None:
            self._usage = {**usage, "completion_tokens": said[-1]}
            self._usage_is_new = False
        if self._tokens_known and usage is not None:
            if record.tokens is None:
                record.tokens = array("q")
            for count in said:
                record.tokens.append(max(count - self._said_tokens, 0))
                self._said_tokens = count
        else:
            self._tokens_known = False
            record.tokens = None
        self.plain = record.events is None and not self._tokens_known

    def close(self) -> None:
        """Write what was learnt into the record."""
        record = self._record
        record.finish_reason = self.finish_reason
        record.usage = read_usage(self._usage)
        if self._in_band:
            record.in_band = read_bodies(self._in_band)
        if record.stamps:
            record.first_token_ns = record.stamps[0]
            record.last_token_ns = record.stamps[-1]
        record.token_events = len(record.stamps) if record.events is None else sum(record.events)
        record.reasoning_events = self.reasoning_events
        if self._keep_text:
            record.text = "".join(self._kept.get((0, "content"), ()))
            record.texts = ["".join(pieces) for pieces in self._kept.values()]
            record.refused = any("refusal" in kind for _, kind in self._kept)
