"""Workers: processes of this machine that send a load together, and the messages between us.

A message is a pickle, over a socket that only we and the child we have started hold.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.fleet.crew import OPEN_AHEAD_NS, START_AHEAD_NS, Inbox, Message, give_orders
from benchcore.fleet.shard_log import LogReader, open_log

_LENGTH: Final = struct.Struct("<I")
STOP_SECONDS: Final = 3.0
"""A worker that is asked to end is killed after this."""
MODULE: Final = "benchcore.climbs.worker"


class Channel:
    """One end of the socket between two processes of ours.

    Args:
        reader: reads.
        writer: writes.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of(cls, sock: socket.socket) -> Channel:
        """Return the channel over one end of a pair of sockets."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock))

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens where the other end has gone.

        Raises:
            pickle.PicklingError, TypeError, AttributeError: something in it cannot be sent.
        """
        self.pass_on(pickle.dumps(message))

    def pass_on(self, data: bytes) -> None:
        """Send a message that is a pickle already."""
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Message | None:
        """Return the next message; `None`: the other end has gone."""
        try:
            head = await self._reader.readexactly(_LENGTH.size)
            data = await self._reader.readexactly(*_LENGTH.unpack(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        message: Message = pickle.loads(data)  # noqa: S301 - from a process of ours
        return message

    def close(self) -> None:
        """Close it: the other end sees that we have gone."""
        self._writer.close()


class Worker:
    """One process, from its start to its end.

    Args:
        number: which one, from 1.
        process: it.
        channel: to it.
        log: what it writes.
    """

    def __init__(self, number: int, process: Process, channel: Channel, log: LogReader) -> None:
        self.number = number
        self.log = log
        self.has_ended = False
        """Whether it is no more."""
        self._process = process
        self._channel = channel

    @classmethod
    async def started(cls, number: int, folder: Path | None) -> Self:
        """Start one.

        Args:
            number: which one, from 1.
            folder: where its log is made; `None`: where temporary files are.

        Raises:
            OSError: it cannot be started.
        """
        file = open_log(folder)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", MODULE, str(theirs.fileno()), str(file)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # A Ctrl-C in the terminal is for the one who started it, who says what to do.
                    start_new_session=True,
                    pass_fds=(theirs.fileno(), file),
                    env={**os.environ, "PYTHONPATH": _import_path()},
                )
        except BaseException:
            ours.close()
            os.close(file)
            raise
        return cls(number, process, await Channel.of(ours), LogReader(file))

    async def listen(self, on_message: Callable[[Worker, Message | None], None]) -> None:
        """Pass on each message, and at last `None`: it has ended.

        Args:
            on_message: takes them.
        """
        while (message := await self._channel.receive()) is not None:
            on_message(self, message)
        await self._process.wait()
        self.has_ended = True
        on_message(self, None)

    def send(self, *message: Any) -> None:
        """Send it a message."""
        self._channel.send(*message)

    def pass_on(self, data: bytes) -> None:
        """Send it a message that is a pickle already."""
        self._channel.pass_on(data)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What `run.json` says of it: nothing, since it is of this machine."""
        return {}

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def end(self) -> str:
        """How it has ended, as text."""
        code = self._process.returncode
        if code is None:
            return "it runs"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def kill(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, *, keep: bool = False) -> None:
        """Ask it to end, and kill it after a while.

        Args:
            keep: whether it is to write what it has finished of a level, as if we had gone.
        """
        if not keep:
            self._channel.send("end")
        self._channel.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
        self.log.close()


def _import_path() -> str:
    """Return where this process finds modules: a worker finds the same."""
    return os.pathsep.join(path or str(Path.cwd()) for path in sys.path)


class Crew(Inbox[Worker]):
    """The workers of a run.

    Args:
        count: how many.
    """

    start_ahead_ns = START_AHEAD_NS
    open_ahead_ns = OPEN_AHEAD_NS

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.workers: list[Worker] = []
        self._folder: Path | None = None
        self._listeners: list[asyncio.Task[None]] = []

    async def start(self, folder: Path | None) -> None:
        """Start them; they come up while we do something else.

        Args:
            folder: where their logs are made; `None`: where temporary files are.

        Raises:
            ConfigError: a process cannot be started.
        """
        self._folder = folder
        try:
            for number in range(1, self.count + 1):
                self.workers.append(await Worker.started(number, folder))
        except OSError as error:
            raise ConfigError(f"--workers {self.count}: cannot be started: {error}") from None
        for worker in self.workers:
            listening = worker.listen(self._arrived)
            self._listeners.append(asyncio.create_task(listening))

    def order(self, orders: Callable[[int, Path | None], object]) -> None:
        """See `AnyCrew`."""
        give_orders(
            self.workers,
            lambda worker: orders(worker.number, self._folder),
            f"--workers {self.count}",
        )

    async def close(self) -> None:
        """End them all."""
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        for listening in self._listeners:
            listening.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)


class WorkerError(BenchcoreError):
    """A worker met a fault of benchcore's own."""
