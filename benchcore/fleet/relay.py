"""Relay: the end of a fleet that is on another host, beside the worker's process.

It is a Dask actor, so that all that it says and is told goes over Dask's own connections. It starts
the process that `--workers` starts, passes messages on both ways, and passes on the worker's log as
it grows; what the log holds stays on this host's disk until the driver has it. It never sends of
itself: the driver asks, again and again, and one that asks no more is gone.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.base.clock import NS
from benchcore.fleet.crew import Message
from benchcore.fleet.shard_log import LogPieces
from benchcore.fleet.workers import Worker

FOLDER: Final = "benchcore-fleet-"
"""How the name of a worker's folder begins, where its host has its temporary files."""
BATCH_SECONDS: Final = 0.05
"""So long the log grows before it is passed on, where there are few workers."""
GONE_SECONDS: Final = 3.0
"""A driver that has asked nothing for so long is gone."""
_LOOK_SECONDS: Final = 0.25
LAST: Final = ("over", "failed")
"""The messages that end a level: what the log holds is passed on before them."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something for a worker.

    Args:
        number: in the order of sending, from 1; a second time, a number changes nothing.
        message: a pickle; `None`: the log is to be emptied, since the driver has all of it.
        not_before_ns: by this host's clock; a message about an instant that has passed does not
            come before it.
    """

    number: int
    message: bytes | None
    not_before_ns: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """An answer to the driver.

    Args:
        received_ns: when the question came, by this host's clock.
        sent_ns: when this answer left.
        first: the number of the first message.
        messages: what the worker has said.
        log: what it has written, cut between entries.
        more: whether the driver should ask again at once.
        end: how the worker has ended, and no more comes; empty: it has not.
    """

    received_ns: int
    sent_ns: int
    first: int = 0
    messages: tuple[Message, ...] = ()
    log: bytes = b""
    more: bool = False
    end: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is: the id of its process, and the folder for requests that nobody takes."""

    pid: int
    folder: Path


class Relay:
    """Starts a worker on this host and stands between it and the driver.

    Args:
        number: which worker, from 1.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._outbox: deque[Message] = deque()
        self._first = 0
        self._told = 0
        self._silent_looks = 0
        self._given_up = ""

    async def start(self) -> Place:
        """Start the worker's process; it comes up while the driver does something else.

        Raises:
            OSError: it cannot be started.
        """
        self._news = asyncio.Event()
        self._telling = asyncio.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER))
        self._worker = await Worker.started(self._number, self._folder)
        self._log = LogPieces(self._worker.log)
        self._listening = asyncio.create_task(self._worker.listen(self._take))
        self._watching = asyncio.create_task(self._watch())
        return Place(self._worker.pid, self._folder)

    def _take(self, _worker: Worker, message: Message | None) -> None:
        if message is not None and message[0] == "spilled":
            self._log.spilled(message[1])
            return
        if message is not None:
            self._outbox.append(message)
        self._news.set()

    # What the driver asks.

    async def tell(self, told: Sequence[Told]) -> Report:
        """Pass messages on to the worker; with none, only say what time it is."""
        received_ns = self._heard()
        async with self._telling:
            for one in told:
                await self._tell(one)
        return Report(received_ns, time.perf_counter_ns())

    async def _tell(self, told: Told) -> None:
        if told.number <= self._told or self._given_up:
            return
        self._told = told.number
        if told.message is None:
            self._log.begin_again()
            return
        early_ns = told.not_before_ns - time.perf_counter_ns()
        if told.not_before_ns and early_ns > 0:
            await asyncio.sleep(early_ns / NS)
        self._worker.pass_on(told.message)

    async def poll(
        self, place: int, first: int, wait_seconds: float, batch_seconds: float = BATCH_SECONDS
    ) -> Report:
        """Return what the worker has said and written, as soon as there is something.

        Args:
            place: up to where the driver has the log.
            first: the number of the first message that it does not have yet, from 0.
            wait_seconds: how long to wait at most.
            batch_seconds: how long the log grows before it is passed on; messages do not wait.
        """
        received_ns = self._heard()
        if self._given_up:
            return Report(received_ns, time.perf_counter_ns(), end=self._given_up)
        while self._first < first:
            self._outbox.popleft()
            self._first += 1
        until_ns = received_ns + round(wait_seconds * NS)
        while not (self._outbox or self._worker.has_ended or self._given_up):
            left = (until_ns - time.perf_counter_ns()) / NS
            if left <= 0:
                break
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, batch_seconds)):
                    await self._news.wait()
            if self._given_up or self._log.has_more(place):
                break
        if self._given_up:
            return Report(received_ns, time.perf_counter_ns(), end=self._given_up)
        # In this order: what was written before a message was sent is there once it has come.
        ended, messages = self._worker.has_ended, tuple(self._outbox)
        log = self._log.since(place)
        more = bool(log) and self._log.has_more(place + len(log))
        if more:
            messages = messages[: _place_of_last(messages)]
        return Report(
            received_ns,
            time.perf_counter_ns(),
            self._first,
            messages,
            log,
            more,
            self._worker.end if ended and not more else "",
        )

    async def stop(self) -> None:
        """End the worker."""
        self._watching.cancel()
        await self._end("it was stopped", keep=False)

    # What the driver does not ask.

    def _heard(self) -> int:
        self._silent_looks = 0
        return time.perf_counter_ns()

    async def _watch(self) -> None:
        """End the worker once the driver has gone: it keeps what it has finished."""
        # Looks are counted instead of time: while this loop stood still, nobody could be heard.
        while self._silent_looks * _LOOK_SECONDS < GONE_SECONDS:
            await asyncio.sleep(_LOOK_SECONDS)
            self._silent_looks += 1
        await self._end("it had heard nothing for some seconds", keep=True)

    async def _end(self, why: str, *, keep: bool) -> None:
        self._given_up = why
        await self._worker.stop(keep=keep)
        await asyncio.gather(self._listening, return_exceptions=True)
        with suppress(OSError):  # something was kept in it
            self._folder.rmdir()


def _place_of_last(messages: Sequence[Message]) -> int:
    """Return where the first message is that ends a level."""
    return next(
        (place for place, one in enumerate(messages) if one[0] in LAST),
        len(messages),
    )
