"""Heard: one request of a check and the answer, judged from its raw bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from benchcore.client.openai import TOO_DEEP
from benchcore.client.records import Outcome
from benchcore.stages.functional.check import CheckFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchcore.client.records import Record
    from benchcore.client.reply import Reply

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
    found = value
    for depth, key in enumerate(path):
        inside = isinstance(found, dict) and key in found
        if isinstance(found, list) and isinstance(key, int):
            inside = -len(found) <= key < len(found)
        if not inside:
            raise CheckFailedError(
                f"{place(path)} to be there", f"none in {place(path[:depth])}: {shown(found)}"
            )
        found = found[key]
    kinds = kind if isinstance(kind, tuple) else (kind,) if kind else ()
    wrong_boolean = isinstance(found, bool) and bool not in kinds
    if kinds and (wrong_boolean or not isinstance(found, kinds)):
        names = " or ".join(_NAMES.get(one, one.__name__) for one in kinds)
        raise CheckFailedError(f"{place(path)} to be {names}", shown(found))
    return found


@dataclass(slots=True)
class Heard:
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
        found = self.json
        for key in path:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    # An answer of chat or completions.

    @property
    def choices(self) -> list[Any]:
        """The choices, in the order of their index."""
        found: list[Any] = self.at("choices", a=list)
        return sorted(found, key=lambda choice: dig(choice, ("index",), int))

    def text(self, choice: int = 0) -> str:
        """Return what a choice says: its content, `""` for null, or a completion's text."""
        if self.path.endswith("/chat/completions"):
            content = dig(self.choices, (choice, "message", "content"), (str, type(None)))
            return content or ""
        text: str = dig(self.choices, (choice, "text"), str)
        return text

    def message(self, choice: int = 0) -> dict[str, Any]:
        """Return a choice's message."""
        found: dict[str, Any] = dig(self.choices, (choice, "message"), dict)
        return found

    def finish(self, choice: int = 0) -> str:
        """Return why a choice ended."""
        found: str = dig(self.choices, (choice, "finish_reason"), str)
        return found

    def calls(self, choice: int = 0) -> list[dict[str, Any]]:
        """Return the tool calls of a choice; none: an empty list."""
        found = self.message(choice).get("tool_calls")
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(call, dict) for call in found):
            raise CheckFailedError("tool_calls to be an array of objects", shown(found))
        return found

    def usage(self, name: str) -> int:
        """Return one count of the usage."""
        found: int = self.at("usage", name, a=int)
        return found

    # A refusal.

    @property
    def problem(self) -> str:
        """What an error's body says, as a server's developer would like to read it."""
        for path in (("error", "message"), ("message",), ("detail",), ("error",)):
            try:
                found = self.find(*path)
            except CheckFailedError:
                break
            if isinstance(found, str) and found:
                return found[:_SHOWN]
        return " ".join(self.body[:_SHOWN].decode(errors="backslashreplace").split())
