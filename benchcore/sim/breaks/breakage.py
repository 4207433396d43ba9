"""Breakage: what is done to requests and answers to make the simulator wrong in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from aiohttp import web
    from multidict import CIMultiDict

    from benchcore.sim.breaks.turn import Turn

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
        status: replaces the status.
        headers: edits the headers of the response.
        answer: answers in place of the server; `None` returned: it goes on.
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
    status: int | None = None
    headers: Callable[[Turn, CIMultiDict[str]], object] | None = None
    answer: Callable[[Turn], web.Response | None] | None = None
    hold: bool = False
    flags: frozenset[str] = frozenset()


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

    def answer(self) -> web.Response | None:
        """Return an answer in place of the server's."""
        for one in self._breaks:
            if one.answer is not None:
                return one.answer(self.turn)
        return None

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
                status = one.status
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
