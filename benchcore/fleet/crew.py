"""Crew: workers that send a load together, wherever they are, as the driver of a level sees them.

`benchcore.fleet.workers` has those of this machine, `benchcore.fleet.dask_crew` those of a cluster.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from benchcore.base.errors import ConfigError
from benchcore.fleet.shard_log import Entry

START_AHEAD_NS: Final = 50_000_000
"""On one machine orders to begin are on their way for less than this."""
OPEN_AHEAD_NS: Final = 10_000_000
"""Likewise those to open the window."""

Message = tuple[Any, ...]
"""Its name, and what belongs to it."""


class AnyLog(Protocol):
    """What a worker has begun, ended and counted, as far as it has come here."""

    def read(self, most: int | None = ...) -> Iterator[Entry]:
        """Yield what has come since the last time; at most so many bytes, about."""
        ...

    def spilled(self, data: bytes) -> None:
        """Take what could not be written to the worker's disk."""
        ...

    def begin_again(self) -> None:
        """Empty it, all of which has been read and written elsewhere."""
        ...


class AnyWorker(Protocol):
    """One worker; all instants that it is told and tells are of our clock."""

    @property
    def number(self) -> int:
        """Which one, from 1."""
        ...

    @property
    def log(self) -> AnyLog:
        """What it writes."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        ...

    @property
    def end(self) -> str:
        """How it has ended, as text."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `run.json` says of it beside its part in the verdict."""
        ...

    def send(self, *message: Any) -> None:
        """Send it a message; nothing happens where it is no more."""
        ...

    def kill(self) -> None:
        """End it now: nobody waits for it any more."""
        ...


class AnyCrew(Protocol):
    """The workers of a run."""

    @property
    def workers(self) -> Sequence[AnyWorker]:
        """Them, in the order of their numbers."""
        ...

    @property
    def start_ahead_ns(self) -> int:
        """How long orders to begin at an instant have to be given before it."""
        ...

    @property
    def open_ahead_ns(self) -> int:
        """Likewise those to open the window."""
        ...

    @property
    def remarks(self) -> Sequence[str]:
        """What a user should be told of them, once they are started."""
        ...

    async def start(self, folder: Path | None) -> None:
        """Start them.

        Args:
            folder: of the run; `None`: there is none.

        Raises:
            ConfigError: they cannot be started as they are asked for.
        """
        ...

    def order(self, orders: Callable[[int, Path | None], object]) -> None:
        """Send each of them its orders.

        Args:
            orders: returns those of a worker by its number, and the folder where it keeps requests
                that nobody takes any more.

        Raises:
            ConfigError: something in them is of this process alone.
        """
        ...

    async def next_message(self, seconds: float) -> tuple[AnyWorker, Message | None] | None:
        """Return the next message and whose it is; `None`: none came.

        The message of a worker that is no more is `None`.

        Args:
            seconds: to wait at most.
        """
        ...

    async def close(self) -> None:
        """End them all."""
        ...


_Worker = TypeVar("_Worker", bound=AnyWorker)


class Inbox(Generic[_Worker]):
    """What the workers have said and nobody has heard yet."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[_Worker, Message | None]] = asyncio.Queue()
        self.remarks: list[str] = []

    def _arrived(self, worker: _Worker, message: Message | None) -> None:
        self._waiting.put_nowait((worker, message))

    async def next_message(self, seconds: float) -> tuple[_Worker, Message | None] | None:
        """See `AnyCrew`."""
        if not self._waiting.empty() or seconds <= 0:
            return None if self._waiting.empty() else self._waiting.get_nowait()
        try:
            async with asyncio.timeout(seconds):
                return await self._waiting.get()
        except TimeoutError:
            return None


def give_orders(
    workers: Sequence[_Worker], orders: Callable[[_Worker], object], option: str
) -> None:
    """Send each worker its orders.

    Args:
        workers: them.
        orders: returns those of one.
        option: what asked for them, for messages.

    Raises:
        ConfigError: something in them is of this process alone.
    """
    try:
        for worker in workers:
            worker.send("orders", orders(worker))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{option}: the workload cannot be sent to another process ({error}); "
            "define it in a module that can be imported, or use one worker"
        ) from None
