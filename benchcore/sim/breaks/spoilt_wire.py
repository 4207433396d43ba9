"""Spoilt wire: a stream whose events breaks have a hand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchcore.sim.wire import Wire

if TYPE_CHECKING:
    from aiohttp import web

    from benchcore.sim.breaks.breakage import Spoil

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
