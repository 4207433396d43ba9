"""Heard stream: a streamed answer, its events as they came and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from benchcore.client.sse import EventTooLargeError, SSEParser
from benchcore.stages.functional.check import CheckFailedError
from benchcore.stages.functional.heard import Heard, dig, shown

DONE = b"[DONE]"
REASONING_KEYS = ("reasoning_content", "reasoning")


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: its data, its type, and when its last byte came, in ns."""

    data: bytes
    kind: bytes
    stamp_ns: int


@dataclass(slots=True)
class ToolCall:
    """A tool call put together from its deltas; `ids`, `names`: each non-empty one that came."""

    index: int
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    arguments: str = ""


@dataclass(slots=True)
class HeardStream(Heard):
    """A streamed answer. What is no JSON object is in `events` and not in `chunks`.

    An answer that did not come whole has neither: no check judges it, and to take apart 64 MiB of
    comments would hold up the requests of all other checks for seconds.
    """

    events: list[Event] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    unended: bool = False
    """Whether an event grew beyond all bounds; what follows it is not read."""

    def __post_init__(self) -> None:
        """Take the stream apart."""
        if self.record.reply is None or not self.came:
            return
        stamp_ns = 0

        def take(data: bytes, kind: bytes) -> None:
            self.events.append(Event(data, kind, stamp_ns))

        parser = SSEParser(take)
        for piece, came_ns in zip(self.reply.pieces, self.reply.stamps, strict=True):
            stamp_ns = came_ns
            try:
                parser.feed(piece)
            except EventTooLargeError:
                self.unended = True
                break
        for event in self.events:
            try:
                parsed = orjson.loads(event.data)
            except orjson.JSONDecodeError:
                continue
            if isinstance(parsed, dict):
                self.chunks.append(parsed)

    def generated(self, keys: tuple[str, ...] = REASONING_KEYS) -> list[int]:
        """Return when each event came that says something, in ns: text, reasoning or a call."""
        found = []
        for event in self.events:
            try:
                choices = orjson.loads(event.data)["choices"]
                said = [one.get("delta") or one for one in choices]
                names = ("content", "text", "tool_calls", *keys)
                if any(one.get(name) for one in said for name in names):
                    found.append(event.stamp_ns)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                continue  # no chunk: other checks judge that
        return found

    @property
    def done(self) -> int:
        """How many `[DONE]` came."""
        return sum(1 for event in self.events if event.data.strip() == DONE)

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The chunks that are error events."""
        return [chunk for chunk in self.chunks if chunk.get("error")]

    def of(self, choice: int) -> list[dict[str, Any]]:
        """Return the pieces of one choice, `{index, delta | text, finish_reason, …}`, in order."""
        return [
            one
            for chunk in self.chunks
            for one in _objects(chunk.get("choices"))
            if one.get("index") == choice
        ]

    def deltas(self, choice: int = 0) -> list[dict[str, Any]]:
        """Return the deltas of one choice of a chat, in order; a null delta is an empty one."""
        return [dig(one, ("delta",), (dict, type(None))) or {} for one in self.of(choice)]

    def indices(self) -> set[int]:
        """Return the indices of all choices that came."""
        return {
            dig(one, ("index",), int)
            for chunk in self.chunks
            for one in _objects(chunk.get("choices"))
        }

    def text(self, choice: int = 0) -> str:
        """Return the content, or the text, of a choice, put together."""
        return "".join(self.texts(choice))

    def texts(self, choice: int = 0) -> list[str]:
        """Return the pieces of content, or text, of a choice; empty ones are left out."""
        if self.path.endswith("/chat/completions"):
            found = [delta.get("content") for delta in self.deltas(choice)]
        else:
            found = [one.get("text") for one in self.of(choice)]
        return [text for text in found if isinstance(text, str) and text]

    def reasoning(self, choice: int = 0, keys: tuple[str, ...] = REASONING_KEYS) -> str:
        """Return the reasoning of a choice, put together."""
        found = ""
        for delta in self.deltas(choice):
            texts = [delta[key] for key in keys if isinstance(delta.get(key), str)]
            found += texts[0] if texts else ""
        return found

    def finishes(self, choice: int = 0) -> list[str]:
        """Return every finish reason of a choice; a good stream has exactly one."""
        return [one["finish_reason"] for one in self.of(choice) if one.get("finish_reason")]

    def finish(self, choice: int = 0) -> str:
        """Return why a choice ended: its last finish reason."""
        found = self.finishes(choice)
        if not found:
            raise CheckFailedError(f"a finish_reason for choice {choice}", "none in the stream")
        return found[-1]

    @property
    def usages(self) -> list[dict[str, Any]]:
        """Every usage that came, in order."""
        return [chunk["usage"] for chunk in self.chunks if isinstance(chunk.get("usage"), dict)]

    def usage(self, name: str) -> int:
        """Return one count of the last usage."""
        if not self.usages:
            raise CheckFailedError("a chunk with usage", "none in the stream")
        found: int = dig(self.usages[-1], (name,), int)
        return found

    def tool_calls(self, choice: int = 0) -> list[ToolCall]:
        """Return the tool calls of a choice, put together by their index, in order of it."""
        found: dict[int, ToolCall] = {}
        for delta in self.deltas(choice):
            for piece in _objects(delta.get("tool_calls")):
                index = dig(piece, ("index",), int)
                call = found.setdefault(index, ToolCall(index))
                function = piece.get("function") or {}
                for value, seen in (
                    (piece.get("id"), call.ids),
                    (piece.get("type"), call.types),
                    (dig(function, (), dict).get("name"), call.names),
                ):
                    if value:
                        seen.append(str(value))
                arguments = function.get("arguments") or ""
                call.arguments += dig(arguments, (), str)
        return [found[index] for index in sorted(found)]


def _objects(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise CheckFailedError("an array of objects", shown(value))
    return value
