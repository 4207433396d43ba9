"""A proxy on loopback before a server, which may refuse what goes through it."""

from __future__ import annotations

import time
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "host", "expect"}


@asynccontextmanager
async def proxied(
    upstream: str, refuse: Callable[[web.Request, bytes], web.Response | None]
) -> AsyncIterator[str]:
    """Serve what another server does, piece by piece, and give the address.

    Args:
        upstream: its address.
        refuse: what is answered instead; `None`: nothing.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        refusal = refuse(request, body)
        if refusal is not None:
            return refusal
        headers = [(name, value) for name, value in request.headers.items() if kept(name)]
        async with session.request(
            request.method, f"{upstream}{request.path_qs}", data=body, headers=headers
        ) as found:
            answer = web.StreamResponse(status=found.status, reason=found.reason)
            answer.headers.extend((k, v) for k, v in found.headers.items() if kept(k))
            await answer.prepare(request)
            async for piece in found.content.iter_any():
                await answer.write(piece)
            await answer.write_eof()
            return answer

    app = web.Application(client_max_size=256 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)
    ) as session:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


def kept(name: str) -> bool:
    """Return whether a header goes through."""
    return name.lower() not in _HOP


class Limiter:
    """Lets so many requests of a second through, and answers 429 to the others.

    Args:
        per_second: how many.
        headers: of a refusal.
        clock: seconds that pass.
    """

    def __init__(
        self,
        per_second: int,
        headers: dict[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._headers = headers
        self._passed: deque[float] = deque()
        self.passed = self.refused = 0

    def __call__(self, _request: web.Request, _body: bytes) -> web.Response | None:
        now = self._clock()
        while self._passed and now - self._passed[0] >= 1.0:
            self._passed.popleft()
        if len(self._passed) < self._per_second:
            self._passed.append(now)
            self.passed += 1
            return None
        self.refused += 1
        error = {"error": {"message": "slow down", "type": "rate_limit_error"}}
        return web.json_response(error, status=429, headers=self._headers)
