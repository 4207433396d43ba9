"""Port forward: a loopback port whose connections go through the API server to pods."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import aiohttp

from benchcore.errors import TargetError
from benchcore.launch.cluster import Cluster
from benchcore.launch.resources import POD, one_line

PROTOCOL: Final = "v4.channel.k8s.io"
"""Each message begins with the number of its channel: 0 is the port's data, 1 its errors."""
_DATA: Final = 0
_BLOCK: Final = 65536


class PortForward:
    """Carries each connection over a web socket of its own, to the pods in turn.

    Args:
        cluster: where the pods are.
        pods: namespace, name and port of each.
        failed: takes why a connection could not be carried.
    """

    def __init__(
        self,
        cluster: Cluster,
        pods: Sequence[tuple[str, str, int]],
        *,
        failed: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._first = pods[0]
        self._turns = itertools.cycle(pods)
        self._failed = failed
        self._server: asyncio.Server | None = None
        self._carriers: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Open the port, after a try of the tunnel, and return it.

        Raises:
            TargetError: the API server refuses tunnels.
        """
        path, query = _where(self._first)
        async with self._cluster.web_socket(path, query, PROTOCOL):
            pass
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Close the port and what goes through it."""
        if self._server is not None:
            self._server.close()
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.current_task()
        assert carrier is not None
        self._carriers.add(carrier)
        try:
            path, query = _where(next(self._turns))
            async with self._cluster.web_socket(path, query, PROTOCOL) as socket:
                up = asyncio.create_task(_carry_up(reader, socket))
                down = asyncio.create_task(self._carry_down(socket, writer))
                try:
                    # Half of a connection cannot be closed in a web socket: one end ends both.
                    await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in (up, down):
                        way.cancel()
                    await asyncio.gather(up, down, return_exceptions=True)
        except TargetError as error:
            self._failed(str(error))
        finally:
            self._carriers.discard(carrier)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _carry_down(
        self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter
    ) -> None:
        opened: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in opened:
                # The first message of a channel only names the port, in two bytes.
                opened.add(channel)
                data = data[2:]
            if channel == _DATA:
                writer.write(data)
                await writer.drain()
            elif data:
                self._failed(f"port-forward: {one_line(data.decode(errors='replace'))}")
                return


async def _carry_up(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_BLOCK):
        await socket.send_bytes(bytes((_DATA,)) + data)


def _where(pod: tuple[str, str, int]) -> tuple[str, list[tuple[str, str]]]:
    namespace, name, port = pod
    return f"{POD.path(namespace, name)}/portforward", [("ports", str(port))]
