"""Spoiling: where breaks strike, on the way of a request in and of its answer out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from benchcore.sim.breaks.breakage import Break, Spoil, Turn
from benchcore.sim.streaming import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SPOIL: Final = web.RequestKey("spoil", Spoil)
"""Where a request keeps the breaks that strike it."""


def spoiling(breaks: Sequence[Break]) -> Middleware:
    """Return the middleware, to be the outermost."""
    shared: dict[str, Any] = {}

    @web.middleware
    async def spoil(request: web.Request, handler: Handler) -> web.StreamResponse:
        raw = await _raw(request)
        turn = Turn(request.method, request.path, request.headers, raw, _object(raw), shared)
        active = [one for one in breaks if one.when(turn)]
        if not active:
            return await handler(request)
        spoil = request[SPOIL] = Spoil(turn, active)
        response = await handler(request)
        if isinstance(response, web.Response) and not response.prepared:
            response.set_status(spoil.status(response.status))
            if isinstance(response.body, bytes) and response.body[:1] == b"{":
                response.body = spoil.plain(response.body)
        return response

    return spoil


async def spoil_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let breaks edit the headers of a response that is about to be sent."""
    if SPOIL in request:
        request[SPOIL].headers(response.headers)


async def _raw(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return b""


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


_DONE = b"data: [DONE]"


class SpoiltWire(Wire):
    """Takes what is written apart into events and gives each to the breaks."""

    __slots__ = ("_held", "_rest", "_spoil")

    def __init__(
        self, request: web.BaseRequest, response: web.StreamResponse, spoil: Spoil
    ) -> None:
        super().__init__(request, response)
        self._spoil = spoil
        self._rest = b""
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write events, spoilt; an incomplete one waits for its rest."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        found = b"".join(self._spoil.events(event + b"\n\n") for event in events)
        if self._spoil.hold:
            self._held.append(found)
            if not any(event.startswith(_DONE) for event in events):
                return
            found = b"".join(self._held)
        if found:
            super().write(found)
