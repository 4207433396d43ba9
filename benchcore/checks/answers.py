"""Answers: what a server answered to a check, plain or streamed, judged from its raw bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from benchcore.client.openai import TOO_DEEP
from benchcore.client.records import Outcome
from benchcore.client.sse import EventTooLargeError, SSEParser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.client.records import Record, Reply


class VerdictSignal(Exception):  # noqa: N818  a verdict is no error of ours
    """Ends a try of a check with something else than a pass."""


class CheckFailedError(VerdictSignal):
    """The server did something else than expected.

    Args:
        expected: what it should have done.
        got: what it did.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got


class UnsupportedError(VerdictSignal):
    """The server refused the feature explicitly, or has been found not to have it."""


class UnsettledError(VerdictSignal):
    """The server put a request off for load, and did so again after every wait."""


class SkippedError(VerdictSignal):
    """Something that the check needs is not there."""


_NAMES = {
    str: "a string",
    dict: "an object",
    list: "an array",
    int: "an integer",
    bool: "a boolean",
}
_SHOWN = 300
_UNANSWERED = frozenset({Outcome.CONNECT_ERROR, Outcome.TRUNCATED, Outcome.TIMEOUT})


def shown(value: object) -> str:
    """Return a value as JSON in a message, cut where it is long."""
    try:
        text = orjson.dumps(value).decode()
    except (TypeError, ValueError):
        # What is nested so deeply that it cannot be written cannot be shown by Python either.
        text = TOO_DEEP if isinstance(value, (dict, list)) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def place(path: tuple[str | int, ...]) -> str:
    """Return a path into JSON as people write it: `choices[0].message`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.lstrip(".") or "the answer"


def dig(value: Any, path: tuple[str | int, ...], kind: type | tuple[type, ...] | None) -> Any:
    """Return what stands at a path of a JSON value.

    Args:
        value: any JSON.
        path: keys and indices.
        kind: what it must be; a boolean is no integer; `None`: anything.

    Raises:
        CheckFailedError: nothing stands there, or something of another type.
    """
    inner = value
    for depth, key in enumerate(path):
        inside = isinstance(inner, dict) and key in inner
        if isinstance(inner, list) and isinstance(key, int):
            inside = -len(inner) <= key < len(inner)
        if not inside:
            raise CheckFailedError(
                f"{place(path)} to be there", f"none in {place(path[:depth])}: {shown(inner)}"
            )
        inner = inner[key]
    kinds = kind if isinstance(kind, tuple) else (kind,) if kind else ()
    wrong_boolean = isinstance(inner, bool) and bool not in kinds
    if kinds and (wrong_boolean or not isinstance(inner, kinds)):
        names = " or ".join(_NAMES.get(kind, kind.__name__) for kind in kinds)
        raise CheckFailedError(f"{place(path)} to be {names}", shown(inner))
    return inner


@dataclass(slots=True)
class CheckAnswer:
    """One request and what came back.

    Args:
        method: of HTTP.
        path: from the API's root.
        sent: the body's bytes.
        sent_headers: over the usual ones; `None`: left out.
        record: instants and outcome.
    """

    method: str
    path: str
    sent: bytes
    sent_headers: Mapping[str, str | None]
    record: Record
    _parsed: list[Any] = field(default_factory=list, repr=False)

    @property
    def reply(self) -> Reply:
        """Status, headers and pieces."""
        assert self.record.reply is not None
        return self.record.reply

    @property
    def status(self) -> int:
        """Status; 0 where no head came."""
        return self.reply.status if self.record.reply is not None else 0

    @property
    def came(self) -> bool:
        """Whether a whole answer came, whatever it says."""
        return self.record.outcome is Outcome.OK

    @property
    def fault(self) -> str:
        """What kept the server from answering; empty where it answered with less than 500."""
        outcome = self.record.outcome
        if outcome in _UNANSWERED:
            return f"{outcome}: {self.record.error}"
        return f"status {self.status}: {self.problem}" if self.status >= 500 else ""

    @property
    def body(self) -> bytes:
        """The body."""
        return self.reply.body

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        return self.reply.header(name)

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            CheckFailedError: it is something else.
        """
        if not self._parsed:
            try:
                self._parsed.append(orjson.loads(self.body))
            except orjson.JSONDecodeError as error:
                text = self.body[:_SHOWN].decode(errors="backslashreplace")
                raise CheckFailedError("a body of JSON", f"{error}: {text!r}") from None
        return self._parsed[0]

    def at(self, *path: str | int, a: type | tuple[type, ...] | None = None) -> Any:
        """Return what stands at a path of the JSON.

        Args:
            *path: keys and indices.
            a: the type it must have.

        Raises:
            CheckFailedError: it is not there, or of another type.
        """
        return dig(self.json, path, a)

    def find(self, *path: str | int) -> Any:
        """Return what stands at a path, `None` where nothing does."""
        inner = self.json
        for key in path:
            try:
                inner = inner[key]
            except (KeyError, IndexError, TypeError):
                return None
        return inner

    # An answer of chat or completions.

    @property
    def choices(self) -> list[Any]:
        """The choices, in the order of their index."""
        choices: list[Any] = self.at("choices", a=list)
        return sorted(choices, key=lambda choice: dig(choice, ("index",), int))

    def text(self, choice: int = 0) -> str:
        """Return what a choice says: its content, `""` for null, or a completion's text."""
        if self.path.endswith("/chat/completions"):
            content = dig(self.choices, (choice, "message", "content"), (str, type(None)))
            return content or ""
        text: str = dig(self.choices, (choice, "text"), str)
        return text

    def message(self, choice: int = 0) -> dict[str, Any]:
        """Return a choice's message."""
        message: dict[str, Any] = dig(self.choices, (choice, "message"), dict)
        return message

    def finish(self, choice: int = 0) -> str:
        """Return why a choice ended."""
        reason: str = dig(self.choices, (choice, "finish_reason"), str)
        return reason

    def calls(self, choice: int = 0) -> list[dict[str, Any]]:
        """Return the tool calls of a choice; none: an empty list."""
        calls = self.message(choice).get("tool_calls")
        if calls is None:
            return []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise CheckFailedError("tool_calls to be an array of objects", shown(calls))
        return calls

    def usage(self, name: str) -> int:
        """Return one count of the usage."""
        count: int = self.at("usage", name, a=int)
        return count

    # A refusal.

    @property
    def problem(self) -> str:
        """What an error's body says, as a server's developer would like to read it."""
        for path in (("error", "message"), ("message",), ("detail",), ("error",)):
            try:
                text = self.find(*path)
            except CheckFailedError:
                break
            if isinstance(text, str) and text:
                return text[:_SHOWN]
        return " ".join(self.body[:_SHOWN].decode(errors="backslashreplace").split())


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
class StreamedAnswer(CheckAnswer):
    """A streamed answer. What is not a JSON object is in `events` and not in `chunks`.

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
        stamps = []
        for event in self.events:
            try:
                choices = orjson.loads(event.data)["choices"]
                said = [choice.get("delta") or choice for choice in choices]
                names = ("content", "text", "tool_calls", *keys)
                if any(delta.get(name) for delta in said for name in names):
                    stamps.append(event.stamp_ns)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                continue  # no chunk: other checks judge that
        return stamps

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
            entry
            for chunk in self.chunks
            for entry in _objects(chunk.get("choices"))
            if entry.get("index") == choice
        ]

    def deltas(self, choice: int = 0) -> list[dict[str, Any]]:
        """Return the deltas of one choice of a chat, in order; a null delta is an empty one."""
        return [dig(entry, ("delta",), (dict, type(None))) or {} for entry in self.of(choice)]

    def indices(self) -> set[int]:
        """Return the indices of all choices that came."""
        return {
            dig(entry, ("index",), int)
            for chunk in self.chunks
            for entry in _objects(chunk.get("choices"))
        }

    def text(self, choice: int = 0) -> str:
        """Return the content, or the text, of a choice, put together."""
        return "".join(self.texts(choice))

    def texts(self, choice: int = 0) -> list[str]:
        """Return the pieces of content, or text, of a choice; empty ones are left out."""
        if self.path.endswith("/chat/completions"):
            pieces = [delta.get("content") for delta in self.deltas(choice)]
        else:
            pieces = [entry.get("text") for entry in self.of(choice)]
        return [text for text in pieces if isinstance(text, str) and text]

    def reasoning(self, choice: int = 0, keys: tuple[str, ...] = REASONING_KEYS) -> str:
        """Return the reasoning of a choice, put together."""
        joined = ""
        for delta in self.deltas(choice):
            texts = [delta[key] for key in keys if isinstance(delta.get(key), str)]
            joined += texts[0] if texts else ""
        return joined

    def finishes(self, choice: int = 0) -> list[str]:
        """Return every finish reason of a choice; a good stream has exactly one."""
        return [entry["finish_reason"] for entry in self.of(choice) if entry.get("finish_reason")]

    def finish(self, choice: int = 0) -> str:
        """Return why a choice ended: its last finish reason."""
        reasons = self.finishes(choice)
        if not reasons:
            raise CheckFailedError(f"a finish_reason for choice {choice}", "none in the stream")
        return reasons[-1]

    @property
    def usages(self) -> list[dict[str, Any]]:
        """Every usage that came, in order."""
        return [chunk["usage"] for chunk in self.chunks if isinstance(chunk.get("usage"), dict)]

    def usage(self, name: str) -> int:
        """Return one count of the last usage."""
        if not self.usages:
            raise CheckFailedError("a chunk with usage", "none in the stream")
        count: int = dig(self.usages[-1], (name,), int)
        return count

    def tool_calls(self, choice: int = 0) -> list[ToolCall]:
        """Return the tool calls of a choice, put together by their index, in order of it."""
        calls: dict[int, ToolCall] = {}
        for delta in self.deltas(choice):
            for piece in _objects(delta.get("tool_calls")):
                index = dig(piece, ("index",), int)
                call = calls.setdefault(index, ToolCall(index))
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
        return [calls[index] for index in sorted(calls)]


def _objects(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckFailedError("an array of objects", shown(value))
    return value
