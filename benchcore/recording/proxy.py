"""Proxy: passes bytes between clients and a server, and shows a copy of them to a tap.

Bytes are passed on before anything else is done with them, in both directions, with the end of
each: nothing is parsed, gathered into messages, added or taken away. What the tap makes of its copy
can neither hold them up nor change them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from benchcore.client.connection import tls_context
from benchcore.config.target import Target

MOST_AHEAD = 256 * 1024
"""Bytes of a client that wait until the server is connected; then the client is not read on."""


class Tap(Protocol):
    """Sees a copy of the bytes of one connection; must take it quickly and not raise."""

    def sent(self, data: bytes) -> None:
        """Take bytes of the client."""
        ...

    def answered(self, data: bytes) -> None:
        """Take bytes of the server."""
        ...

    def closed(self) -> None:
        """Take note that both sides are closed."""
        ...


class _Side(asyncio.Protocol):
    """One side of a connection that is passed through."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.waiting: list[bytes] | None = None  # until the other side is there
        self.take: Callable[[bytes], None] = lambda _data: None
        self.gone: Callable[[], None] = lambda: None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.waiting is not None:
            self.waiting.append(data)
            if sum(map(len, self.waiting)) > MOST_AHEAD and self.transport is not None:
                self.transport.pause_reading()
        elif self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        self.take(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.waiting is None:
            self.pass_end()
        # Kept open for the other direction; TLS has no half that could be closed.
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is None

    def pass_end(self) -> None:
        """Tell the other side that no more will come."""
        if self.other is None or self.other.transport is None:
            return
        if self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        else:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            if error is None:
                self.other.transport.close()
            else:
                self.other.transport.abort()
        self.gone()


class Proxy:
    """Listens, and passes every connection on to one server.

    Args:
        target: the server.
        tap: makes what sees a copy of each connection.
        on_problem: told, a line each, why a connection could not be passed on.
    """

    def __init__(
        self,
        target: Target,
        tap: Callable[[], Tap],
        on_problem: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._target = target
        self._tap = tap
        self._on_problem = on_problem
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[_Side] = set()
        self._context = tls_context(target) if target.tls else None

    async def open(self, host: str, port: int) -> str:
        """Listen; returns the address that clients are to ask.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)
        place = self._server.sockets[0].getsockname()
        name = f"[{place[0]}]" if ":" in place[0] else place[0]
        return f"http://{name}:{place[1]}"

    async def close(self) -> None:
        """Listen no more, and close what is open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for client in list(self._clients):
            for side in (client, client.other):
                if side is not None and side.transport is not None:
                    side.transport.abort()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def _accept(self) -> asyncio.Protocol:
        client = _Side()
        client.waiting = []
        tap = self._tap()
        client.take = tap.sent
        self._clients.add(client)
        open_sides = 2

        def gone() -> None:
            nonlocal open_sides
            open_sides -= 1
            if not open_sides or client.other is None:
                self._clients.discard(client)
                tap.closed()

        client.gone = gone
        task = asyncio.get_running_loop().create_task(self._connect(client, tap, gone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return client

    async def _connect(self, client: _Side, tap: Tap, gone: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        server = _Side()
        server.take = tap.answered
        server.gone = gone
        target = self._target
        try:
            if target.uds is not None:
                await loop.create_unix_connection(lambda: server, target.uds)
            else:
                await loop.create_connection(
                    lambda: server,
                    target.host,
                    target.port,
                    ssl=self._context,
                    server_hostname=target.host if self._context is not None else None,
                )
        except OSError as error:
            self._on_problem(f"{target.base_url} cannot be reached: {error.strerror or error}")
            if client.transport is not None:
                client.transport.abort()
            return
        assert server.transport is not None
        if client.transport is None:  # the client has gone meanwhile
            server.transport.abort()
            return
        server.other, client.other = client, server
        waiting, client.waiting = client.waiting or [], None
        for data in waiting:
            server.transport.write(data)
        client.transport.resume_reading()
        if client.ended:
            client.pass_end()
