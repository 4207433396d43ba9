"""Scraper: reads pages of metrics, the target's and others', besides the measured path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from benchcore.base.errors import BenchcoreError
from benchcore.client.client import Client
from benchcore.client.exchange import Limits
from benchcore.client.records import Outcome, Reply
from benchcore.config.target import Target, Timeouts
from benchcore.observe.families import Change, PageReader, Series
from benchcore.observe.server import Sample, block_tokens, columns, now, parse, picked
from benchcore.observe.windows import SourceFigures, SourceWindow

SCRAPE_EVERY_SECONDS: Final = 0.5
OTHERS_EVERY_SECONDS: Final = 1.0
"""Replicas and exporters may be many."""
PAGE: Final = "/metrics"
MOST_BYTES: Final = 16 * 1024 * 1024
"""A page of metrics is shorter."""
SECONDS: Final = 5.0
"""A page that takes longer is not there."""
_MOST_REDIRECTS: Final = 4
_REDIRECTS: Final = (301, 302, 307, 308)


@dataclass(frozen=True, slots=True)
class Page:
    """What is new on a page.

    Args:
        source: the name of its source.
        at_ns: when it came, in ns of CLOCK_MONOTONIC.
        series: every series of the source.
        changes: in their order on the page.
    """

    source: str
    at_ns: int
    series: Sequence[Series]
    changes: Sequence[Change]


class ServerMetrics:
    """Reads a page of metrics: the target's `/metrics`, or another one.

    It has a client of its own: what is measured shares neither connections nor counts with it.

    Args:
        target: whose page it is.
        path: of the page.
        on_page: told what is new on each.
        picks: whether the lines that matter of the server under test are wanted.
    """

    def __init__(
        self,
        target: Target,
        path: str = PAGE,
        on_page: Callable[[Page], None] = lambda _page: None,
        *,
        picks: bool = True,
    ) -> None:
        limits = Timeouts(connect=SECONDS, total=SECONDS)
        self._target = target.model_copy(update={"timeouts": limits})
        self._path = path
        self._on_page = on_page
        self._picks = picks
        self._client: Client | None = None
        self.source = source_name(target, path)
        """What it is called in results: its address, without what may be secret."""
        self.reader = PageReader()
        self.read_ns: int | None = None
        """When the last page came; `None`: none has."""
        self.available: bool | None = None
        """Whether the page is there; `None`: never asked."""
        self.block_tokens: int | None = None
        """Tokens of a block of its prefix cache; `None`: it does not say."""
        self.status = 0
        """Of the last answer; 0: none came."""

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def read(self) -> bytes | None:
        """Return the lines that matter; `None` where there is no such page."""
        if self.available is False:
            return None
        reply = await self._reply(self._path)
        self.status = 0 if reply is None else reply.status
        if reply is None:
            self.available = False if self.available is None else self.available
            return None
        page = reply.body if reply.status == 200 else b""
        lines = picked(page) if self._picks else b""
        changes = self.reader.read(page) if page else []
        if self.available is None:
            self.available = bool(self.reader.series)
            self.block_tokens = block_tokens(page)
        if page and self.available:
            self.read_ns = time.perf_counter_ns()
            self._on_page(Page(self.source, self.read_ns, self.reader.series, changes))
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


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but not for longer."""
    # Not wait_for: before Python 3.12 it loses a cancellation that meets the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def source_name(target: Target, path: str) -> str:
    """Return what a source is called in results: its address without its query.

    Args:
        target: whose page it is.
        path: of the page; `/metrics` is not said.
    """
    place = target.base_url if target.uds else target.url(path)
    return place.partition("?")[0].removesuffix(PAGE)


class Scraper:
    """Reads a server's metrics while a level runs.

    Args:
        server: where they are.
        sources: what each of these says of the window is wanted, too; the server may be one.
    """

    def __init__(self, server: ServerMetrics, sources: Sequence[ServerMetrics] = ()) -> None:
        self._server = server
        self._samples: list[tuple[int, Sample]] = []
        self._windows = {
            source: SourceWindow(source.source, source.reader, source.read_ns) for source in sources
        }
        self._others = [source for source in sources if source is not server]
        self._opened_ns: int | None = None
        self._closed_ns: int | None = None
        self._now = asyncio.Event()
        self._now_others = asyncio.Event()
        self._stopped = False

    def opened(self, at_ns: int) -> None:
        """Take note that the window has opened, and read as soon as can be."""
        self._opened_ns = at_ns
        self.at_once()

    def closed(self, at_ns: int) -> None:
        """Take note that the window has closed, likewise."""
        self._closed_ns = at_ns
        self.at_once()

    def at_once(self) -> None:
        """Read as soon as can be."""
        self._now.set()
        self._now_others.set()

    async def run(self) -> None:
        """Read until stopped."""
        async with asyncio.TaskGroup() as group:
            if self._others:
                group.create_task(self._run_others())
            while self._server.available is not False and not self._stopped:
                self._now.clear()
                await self.read()
                await _wait(self._now, SCRAPE_EVERY_SECONDS)

    async def _run_others(self) -> None:
        while not self._stopped:
            self._now_others.clear()
            await self.read_others()
            await _wait(self._now_others, OTHERS_EVERY_SECONDS)

    def stop(self) -> None:
        """Read no more; what is being read is for the caller to cancel."""
        self._stopped = True
        self.at_once()

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
        await asyncio.gather(self.read(), self.read_others())

    async def read(self) -> None:
        """Read the server's page once."""
        text = await self._read(self._server)
        if text is not None:
            self._samples.append((time.perf_counter_ns(), parse(text)))

    async def read_others(self) -> None:
        """Read the pages of the other sources once, all at the same time."""
        await asyncio.gather(*map(self._read, self._others))

    async def _read(self, source: ServerMetrics) -> bytes | None:
        text = await source.read()
        window = self._windows.get(source)
        if window is None or source.available is False:
            return text
        if source.status == 200 and source.read_ns is not None:
            window.read(source.read_ns, self._opened_ns, self._closed_ns)
        else:
            window.missed += 1
        return text

    def now(self) -> dict[str, float | None]:
        """Return how the server stands by its last page; empty: there was none."""
        return now([sample for _, sample in self._samples[-2:]])

    def figures(self, opened_ns: int, closed_ns: int) -> list[SourceFigures]:
        """Return what each source says of a window; those without a page are not there."""
        return [
            figures
            for window in self._windows.values()
            for figures in window.figures(opened_ns, closed_ns)
        ]

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
