"""Scraper: reads the target's `/metrics`, besides the measured path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from benchcore.base.errors import BenchcoreError
from benchcore.client.client import Client
from benchcore.client.exchange import Limits
from benchcore.client.records import Outcome, Reply
from benchcore.config.target import Target, Timeouts
from benchcore.observe.server import Sample, block_tokens, columns, parse, picked

SCRAPE_EVERY_SECONDS: Final = 0.5
PAGE: Final = "/metrics"
MOST_BYTES: Final = 16 * 1024 * 1024
"""A page of metrics is shorter."""
SECONDS: Final = 5.0
"""A page that takes longer is not there."""
_MOST_REDIRECTS: Final = 4
_REDIRECTS: Final = (301, 302, 307, 308)


class ServerMetrics:
    """Reads the target's `/metrics`.

    It has a client of its own: what is measured shares neither connections nor counts with it.

    Args:
        target: whose page it is.
    """

    def __init__(self, target: Target) -> None:
        limits = Timeouts(connect=SECONDS, total=SECONDS)
        self._target = target.model_copy(update={"timeouts": limits})
        self._client: Client | None = None
        self.available: bool | None = None
        """Whether the page is there; `None`: never asked."""
        self.block_tokens: int | None = None
        """Tokens of a block of its prefix cache; `None`: it does not say."""

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def read(self) -> bytes | None:
        """Return the lines that matter; `None` where there is no such page."""
        if self.available is False:
            return None
        reply = await self._reply(PAGE)
        if reply is None:
            self.available = False if self.available is None else self.available
            return None
        lines = picked(reply.body) if reply.status == 200 else b""
        if self.available is None:
            self.available = bool(lines)
            self.block_tokens = block_tokens(reply.body)
        return lines + b"\n" if lines else None

    async def _reply(self, path: str) -> Reply | None:
        """Return the whole answer for a path; `None`: none came.

        A server that mounts the page as an application of its own leads to the path with a slash at
        its end, as vLLM does.
        """
        target = self._target
        for _ in range(_MOST_REDIRECTS):
            try:
                client = await self._open()
            except BenchcoreError:  # whoever measures says what is wrong with the address
                return None
            record = await client.send(client.prepare_raw("GET", path))
            reply = record.reply
            if record.outcome is not Outcome.OK or reply is None:
                return None
            location = reply.header("location") if reply.status in _REDIRECTS else None
            if location is None:
                return reply
            origin = target.url("").removesuffix(target.server_root)
            there = location.removeprefix(origin)
            if not there.startswith(f"{target.server_root}/"):
                return None
            path = there.removeprefix(target.server_root)
        return None

    async def _open(self) -> Client:
        if self._client is None:
            client = Client(self._target, kernel_stamps=False, limits=Limits(body=MOST_BYTES))
            await client.open()
            self._client = client
        return self._client


class Scraper:
    """Reads a server's metrics while a level runs.

    Args:
        server: where they are.
    """

    def __init__(self, server: ServerMetrics) -> None:
        self._server = server
        self._samples: list[tuple[int, Sample]] = []
        self._now = asyncio.Event()
        self._stopped = False

    def at_once(self) -> None:
        """Read as soon as can be: a window opens or closes."""
        self._now.set()

    async def run(self) -> None:
        """Read until stopped."""
        while self._server.available is not False and not self._stopped:
            self._now.clear()
            await self.read()
            # Not wait_for: before Python 3.12 it loses a cancellation that meets the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(SCRAPE_EVERY_SECONDS):
                    await self._now.wait()

    def stop(self) -> None:
        """Read no more; what is being read is for the caller to cancel."""
        self._stopped = True
        self._now.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read while something goes on, and once more when that has ended well."""
        reading = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self.stop()
            reading.cancel()
        (ended,) = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
        await self.read()

    async def read(self) -> None:
        """Read once."""
        text = await self._server.read()
        if text is not None:
            self._samples.append((time.perf_counter_ns(), parse(text)))

    def columns(self, opened_ns: int, closed_ns: int) -> dict[str, float]:
        """Return the columns of a window: gauges inside it, counters across it.

        Args:
            opened_ns: when the window opened.
            closed_ns: when it closed.
        """
        before = [sample for at_ns, sample in self._samples if at_ns < opened_ns]
        inside = [sample for at_ns, sample in self._samples if opened_ns <= at_ns <= closed_ns]
        after = [sample for at_ns, sample in self._samples if at_ns > closed_ns]
        return columns(inside, [*before[-1:], *inside, *after[:1]])
