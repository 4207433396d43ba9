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

    A token goes to the socket in the call that writes it: uvloop's transport would hold it
    until the end of the loop's turn, after every other stream of the step. Whatever the socket
    does not take, and everything over TLS, goes through the transport, in order.
    """

    __slots__ = ("_chunked", "_fd", "_protocol", "_transport", "lost")

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before the headers")
        self._transport: asyncio.Transport = transport
        self._protocol = request.protocol
        self._chunked = response.chunked
        raw = transport.get_extra_info("socket")
        tls = transport.get_extra_info("ssl_object") is not None
        self._fd = -1 if tls or raw is None else raw.fileno()
        self.lost = False

    @property
    def blocked(self) -> bool:
        """The client reads too slowly: wait for the payload writer's drain."""
        return self._protocol.writing_paused

    def write(self, data: bytes) -> None:
        """Writes a piece of the body; nothing once the connection is lost."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self.write_raw(data)

    def write_raw(self, data: bytes) -> None:
        """Writes bytes past the body's framing."""
        transport = self._transport
        if self.lost or transport.is_closing():
            self.lost = True
            return
        if self._fd < 0 or transport.get_write_buffer_size():
            transport.write(data)
            return
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            self.lost = True
            transport.abort()
            return
        if sent < len(data):
            transport.write(data[sent:])

    def cut(self, data: bytes) -> None:
        """Begins a piece and closes the connection in its middle."""
        framed = b"%x\r\n%b" % (len(data), data) if self._chunked else data
        self.write_raw(framed[: len(framed) // 2 + 1])
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
