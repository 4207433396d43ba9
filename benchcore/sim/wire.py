"""The bytes of one streamed response, from aiohttp's headers to the socket."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Wire:
    """Writes a prepared response's body from plain functions, without a task switch.

    Goes to the transport, past aiohttp's writer, whose ``write`` is a coroutine; asyncio's and
    uvloop's transports both hand the bytes to the socket within the call.

    Raises:
        ConnectionResetError: the client has left already.
    """

    __slots__ = ("_chunked", "_protocol", "_transport", "lost")

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before the headers")
        self._transport: asyncio.Transport = transport
        self._protocol = request.protocol
        self._chunked = response.chunked
        self.lost = False

    @property
    def blocked(self) -> bool:
        """The client reads too slowly: wait for the payload writer's drain."""
        return self._protocol.writing_paused

    def write(self, data: bytes) -> None:
        """Writes a piece of the body; nothing once the connection is lost."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._transport.is_closing():
            self.lost = True
        if not self.lost:
            self._transport.write(data)

    def cut(self, data: bytes) -> None:
        """Begins a piece and closes the connection in its middle."""
        framed = b"%x\r\n%b" % (len(data), data) if self._chunked else data
        self._transport.write(framed[: len(framed) // 2 + 1])
        self.lost = True
        self._transport.close()

    def close(self) -> None:
        """Closes the connection once what was written has gone."""
        self.lost = True
        self._transport.close()

    def reset(self) -> None:
        """Closes the connection with a reset (RST)."""
        self.lost = True
        raw = self._transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(raw.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
