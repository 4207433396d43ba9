"""Presence: whether the target is still there while a level runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchcore.client.client import Client
from benchcore.client.records import Outcome, Phase, Record
from benchcore.stages.perf.probe import MODELS

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
