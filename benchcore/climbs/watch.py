"""Watch: what goes on beside a running level."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchcore.base.clock import NS
from benchcore.base.errors import BenchcoreError
from benchcore.client.client import Client
from benchcore.client.records import FAILED, Outcome, Phase, Record
from benchcore.climbs import findings
from benchcore.climbs.probe import MODELS
from benchcore.load.level_plan import LevelPlan
from benchcore.metrics.figures import ttft_ns
from benchcore.metrics.percentiles import nearest_rank
from benchcore.show.progress import Live

CONNECT_SECONDS = 5.0
"""Connections are opened ahead for no longer than this."""


async def connect_ahead(
    client: Client,
    count: int,
    interrupted: asyncio.Event,
    say: Callable[[str], None] = lambda _what: None,
) -> int | None:
    """Open connections for a while; those that are missing are opened when they are needed.

    Args:
        client: opens them.
        count: how many.
        interrupted: ends it.
        say: is told where not all could be opened.

    Returns:
        How many were opened; `None`: the time was up before.

    Raises:
        CapacityError: this process may not open that many.
    """
    opening = asyncio.ensure_future(client.connect_ahead(count))
    stop = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait(
        {opening, stop}, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    stop.cancel()
    if not opening.done():
        opening.cancel()
    opened = (await asyncio.gather(opening, return_exceptions=True))[0]
    if isinstance(opened, BenchcoreError):
        raise opened
    if opened != count and not interrupted.is_set():
        say(f"not all {count} connections could be opened ahead")
    return opened if isinstance(opened, int) else None


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector still: what lives is frozen, what dies is freed by counting."""
    was_enabled, was_frozen = gc.isenabled(), gc.get_freeze_count() > 0
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        # As the user of the library had it.
        if was_enabled:
            gc.enable()
        if not was_frozen:
            gc.unfreeze()


@contextmanager
def faults_end(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> Iterator[None]:
    """Let a fault in a callback of the loop, which nobody awaits, surface.

    Args:
        loop: the running event loop.
        end: called at the fault, to end what is being waited for.

    Raises:
        BaseException: the first fault.
    """
    faults: list[BaseException] = []
    before = loop.get_exception_handler()

    def on_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if fault is None:
            loop.default_exception_handler(context)
            return
        faults.append(fault)
        end()

    loop.set_exception_handler(on_fault)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
    if faults:
        raise faults[0]


GONE_ERRORS = 5
"""Requests in a row that found nobody, until the target is looked for."""
GONE_TRIES = 3
GONE_PAUSE_SECONDS = 1.0
GONE_LOOK_SECONDS = 5.0
"""Whoever takes a connection and says nothing for so long is slow, and not gone."""


class Presence:
    """Looks for the target once several requests in a row have found nobody.

    Args:
        client: asks.
        on_gone: called once where no look finds it.
    """

    def __init__(self, client: Client, on_gone: Callable[[], None]) -> None:
        self.gone = ""
        """How the last look at a target that has gone ended; empty: it is there."""
        self._client = client
        self._on_gone = on_gone
        self._unreached = 0
        self._looking: asyncio.Task[None] | None = None

    def note(self, record: Record) -> None:
        """Take notice of a request that has ended."""
        if record.first_byte_ns:
            self._unreached = 0
        elif record.outcome is Outcome.CONNECT_ERROR or record.phase is Phase.CONNECT:
            self._unreached += 1
            if self._unreached >= GONE_ERRORS and self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look())

    async def settled(self, interrupted: asyncio.Event) -> None:
        """Wait until it is known whether the target is there, where its last request found nobody.

        A level may end before a look does, or before enough requests have failed for one.

        Args:
            interrupted: ends the waiting.
        """
        if self._looking is None and self._unreached and not interrupted.is_set():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        if self._looking is None:
            return
        told = asyncio.create_task(interrupted.wait())
        await asyncio.wait({self._looking, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        problem = ""
        for again in range(GONE_TRIES):
            if again:
                await asyncio.sleep(GONE_PAUSE_SECONDS)
            asking = asyncio.ensure_future(self._client.ask("GET", MODELS))
            try:
                await asyncio.wait({asking}, timeout=GONE_LOOK_SECONDS)
                answered = not asking.done() or bool(asking.result().first_byte_ns)
            finally:
                asking.cancel()
            if answered or not self._unreached:
                self._unreached, self._looking = 0, None
                return
            problem = asking.result().error
        if self._unreached:
            found = f"{self._unreached} requests in a row found nobody, nor did a look"
            self.gone = f"{found}: {problem}"
            self._on_gone()


RECENT = 4096


class SoFar:
    """Counts the requests of a level as they end; remembers the latest times to first token.

    Args:
        name: of the level.
        plan: what it does.
        failures: tells of those that failed; `None`: nobody does.
    """

    def __init__(
        self, name: str, plan: LevelPlan, failures: findings.Failures | None = None
    ) -> None:
        self._name = name
        self._plan = plan
        self._failures = failures
        self._ttfts_ns: deque[int] = deque(maxlen=RECENT)
        self._ok = 0
        self._failed = 0
        self.token_reads = 0
        """Reads that held token events."""

    def note(self, record: Record) -> None:
        """Take a request that has ended."""
        self.token_reads += len(record.stamps)
        if record.outcome is Outcome.OK:
            self._ok += 1
            ttft = ttft_ns(record)
            if ttft is not None:
                self._ttfts_ns.append(ttft)
        elif record.outcome in FAILED:
            self._failed += 1
            if self._failures is not None:
                self._failures.note(self._name, record)

    def live(self, stands: findings.Standing, now_ns: int, tokens_per_second: float | None) -> Live:
        """Return how it stands, for people.

        Args:
            stands: how it stands.
            now_ns: what time it is.
            tokens_per_second: of the last second that is over.
        """
        share, eta = findings.how_far(self._plan, stands, now_ns)
        ttfts = sorted(self._ttfts_ns)
        return Live(
            level=self._name,
            stage=stands.stage.value,
            elapsed_seconds=(now_ns - stands.start_ns) / NS,
            done_share=share,
            eta_seconds=eta,
            in_flight=stands.in_flight,
            tokens_per_second=tokens_per_second,
            ttft_p50_seconds=nearest_rank(ttfts, 0.5) / NS if ttfts else None,
            ttft_p99_seconds=nearest_rank(ttfts, 0.99) / NS if ttfts else None,
            ok=self._ok,
            failed=self._failed,
        )
