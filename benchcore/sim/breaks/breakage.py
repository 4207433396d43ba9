"""Breakage: what is done to requests and answers to make the simulator wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multidict import CIMultiDict


@dataclass(slots=True)
class Turn:
    """One request, as a break sees it.

    Args:
        method: of HTTP.
        path: of the request.
        headers: of the request.
        raw: its body; empty where that is too large.
        body: its JSON as it was sent; `None` where it is no object.
        shared: what breaks remember from request to request.
        state: what they remember within one.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes
    body: dict[str, Any] | None
    shared: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)

    def asked(self, *path: str) -> Any:
        """Return a field of the body, `None` where it is not there."""
        found: Any = self.body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def has(self, name: str) -> bool:
        """Return whether a field is there, be it null."""
        return self.body is not None and name in self.body

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return self.asked("stream") is True

    @property
    def chat(self) -> bool:
        """Whether it is a chat."""
        return self.path == "/v1/chat/completions"

    @property
    def plain_chat(self) -> bool:
        """Whether it is a chat that is not streamed."""
        return self.chat and self.method == "POST" and not self.stream

    @property
    def chat_stream(self) -> bool:
        """Whether it is a chat that is streamed."""
        return self.chat and self.stream

    @property
    def completion(self) -> bool:
        """Whether it is a completion."""
        return self.path == "/v1/completions"

    @property
    def ask(self) -> str:
        """The text of the last message, or of the prompt; empty where it is no text."""
        if isinstance(prompt := self.asked("prompt"), str):
            return prompt
        messages = self.asked("messages")
        if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
            return ""
        content = messages[-1].get("content")
        return content if isinstance(content, str) else ""


When = Callable[["Turn"], bool]


def always(turn: Turn) -> bool:
    """Whether it is a request for an answer: every POST."""
    return turn.method == "POST"


@dataclass(frozen=True, slots=True)
class Break:
    """One way in which the simulator is wrong.

    Args:
        when: which requests it strikes.
        body: edits the request before it is read: what a server that ignores a field does.
        payload: edits the JSON of a plain answer, or of an error.
        chunk: edits the JSON of each event of a stream; a list returned takes its place.
        event: edits the bytes of each event of a stream, after `chunk`.
        status: replaces the status, or makes another of it.
        headers: edits the headers of the response.
        hold: a stream's events are held back until its end.
        flags: faults of the engine: `open_door` (any key is good), `leak` (the place of a client
            that has left is never freed), `stall_together` (while one client does not read, nobody
            gets tokens).
    """

    when: When = always
    body: Callable[[Turn, dict[str, Any]], object] | None = None
    payload: Callable[[Turn, dict[str, Any]], object] | None = None
    chunk: Callable[[Turn, dict[str, Any]], object] | None = None
    event: Callable[[Turn, bytes], bytes] | None = None
    status: int | Callable[[int], int] | None = None
    headers: Callable[[Turn, CIMultiDict[str]], object] | None = None
    hold: bool = False
    flags: frozenset[str] = frozenset()


def asking(ask: str | None = None, **fields: Any) -> When:
    """Return whether a chat ends in a text and has some fields.

    Args:
        ask: the text; one that ends in `…` is how it begins; `None`: any.
        **fields: of the body; `None`: is null or not there.
    """

    def fits(turn: Turn) -> bool:
        said = ask is None or turn.ask == ask
        if ask is not None and ask.endswith("…"):
            said = turn.ask.startswith(ask[:-1])
        return turn.chat and said and all(turn.asked(key) == one for key, one in fields.items())

    return fits


def ignoring(*names: str, when: When = always) -> Break:
    """Return the fault of a server that ignores fields.

    Args:
        names: of the fields.
        when: which requests it strikes.
    """

    def ignore(_turn: Turn, body: dict[str, Any]) -> None:
        for name in names:
            body.pop(name, None)

    return Break(when=when, body=ignore)


def setting(when: When, **fields: Any) -> Break:
    """Return the fault of a server that takes fields to be others than they are."""
    return Break(when=when, body=lambda _turn, body: body.update(fields))


def failing(when: When) -> Break:
    """Return the fault of a server that fails with 500."""
    return Break(when=when, status=500)


def choices(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of an answer or a chunk; none of an error."""
    found: list[dict[str, Any]] = payload.get("choices", [])
    return found


def finishing(when: When, reason: str) -> Break:
    """Return the fault of a server that says another reason for the end, streamed or not."""

    def say(_turn: Turn, payload: dict[str, Any]) -> None:
        for choice in choices(payload):
            if choice["finish_reason"]:
                choice["finish_reason"] = reason

    return Break(when=when, payload=say, chunk=say)


def saying(when: When, edit: Callable[[str], str]) -> Break:
    """Return the fault of a server that garbles the content of plain answers."""

    def garble(_turn: Turn, payload: dict[str, Any]) -> None:
        for choice in choices(payload):
            if "message" in choice:
                choice["message"]["content"] = edit(choice["message"]["content"] or "")
            else:
                choice["text"] = edit(choice["text"])

    return Break(when=when, payload=garble)


def counting(when: When, edit: Callable[[dict[str, Any]], object]) -> Break:
    """Return the fault of a server that counts wrong, streamed or not."""

    def count(_turn: Turn, payload: dict[str, Any]) -> None:
        if payload.get("usage"):
            edit(payload["usage"])

    return Break(when=when, payload=count, chunk=count)


class Spoil:
    """The breaks that strike one request.

    Args:
        turn: the request.
        breaks: those that strike it.
    """

    __slots__ = ("_breaks", "hold", "turn")

    def __init__(self, turn: Turn, breaks: list[Break]) -> None:
        self.turn = turn
        self._breaks = breaks
        self.hold = any(one.hold for one in breaks)

    def flag(self, name: str) -> bool:
        """Return whether the engine has a fault."""
        return any(name in one.flags for one in self._breaks)

    def asked(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the request's body as it is to be read."""
        body = orjson.loads(orjson.dumps(body))
        for one in self._breaks:
            if one.body is not None:
                one.body(self.turn, body)
        return body

    def plain(self, data: bytes) -> bytes:
        """Return the body of a plain answer, or of an error."""
        if not any(one.payload for one in self._breaks):
            return data
        payload = orjson.loads(data)
        for one in self._breaks:
            if one.payload is not None:
                one.payload(self.turn, payload)
        return orjson.dumps(payload)

    def status(self, status: int) -> int:
        """Return the status of a response."""
        for one in self._breaks:
            if one.status is not None:
                status = one.status(status) if callable(one.status) else one.status
        return status

    def headers(self, headers: CIMultiDict[str]) -> None:
        """Edit the headers of a response."""
        for one in self._breaks:
            if one.headers is not None:
                one.headers(self.turn, headers)

    def events(self, event: bytes) -> bytes:
        """Return what is sent for one whole event of a stream."""
        found = [event]
        for one in self._breaks:
            if one.chunk is not None:
                found = [new for old in found for new in self._chunks(one.chunk, old)]
            if one.event is not None:
                found = [one.event(self.turn, old) for old in found]
        return b"".join(found)

    def _chunks(self, edit: Callable[[Turn, dict[str, Any]], object], event: bytes) -> list[bytes]:
        data = event.removeprefix(b"data: ")
        if not data.startswith(b"{"):
            return [event]
        chunk = orjson.loads(data)
        instead = edit(self.turn, chunk)
        chunks = instead if isinstance(instead, list) else [chunk]
        return [b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks]
