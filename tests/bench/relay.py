"""Relay: takes connections, encrypted or plain, and passes their bytes on to a server.

    python -m tests.bench.relay PORT_OF_THE_SERVER [CERTIFICATE_AND_KEY.pem]

Prints the port it listens on. Both ways through it are alike but for the encryption.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

import uvloop


class Upstream(asyncio.Protocol):
    """The side of the server: what it says goes to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hang up, too."""
        self.client.close()


class Client(asyncio.Protocol):
    """The side of the client: what it says goes to the server, once that is connected."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waiting: list[bytes] = []
        self.upstream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server."""
        client = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.connecting = asyncio.ensure_future(self._connect(client))

    async def _connect(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self.upstream, _ = await loop.create_connection(
            lambda: Upstream(transport), "127.0.0.1", self.port
        )
        for data in self.waiting:
            self.upstream.write(data)

    def data_received(self, data: bytes) -> None:
        """Pass it on, or keep it for later."""
        if self.upstream is None:
            self.waiting.append(data)
        else:
            self.upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Hang up, too."""
        if self.upstream is not None:
            self.upstream.close()


async def relay(port: int, certificate: str | None) -> None:
    """Serve until the process is ended."""
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(port), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(relay(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
