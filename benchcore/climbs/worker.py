"""Worker: the process that sends one share of a load, told what to do by the one that started it.

``python -m benchcore.climbs.worker SOCKET LOG`` is what `benchcore.fleet.workers` starts.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchcore.base.clock import LoopClock
from benchcore.base.errors import BenchcoreError
from benchcore.client.client import Client
from benchcore.client.records import Record
from benchcore.climbs.load_run import Listener, LoadRun
from benchcore.climbs.plan import Part, Step
from benchcore.climbs.requests import Tally
from benchcore.climbs.watch import SoFar
from benchcore.config.target import Target
from benchcore.fleet.shard_log import Ended, ShardLog
from benchcore.fleet.workers import Channel
from benchcore.load.level_plan import LevelPlan, Stage
from benchcore.runs.sinks import FanOut, LevelHead, RequestRow
from benchcore.runs.tables import REQUESTS

LEFT_ALONE = "requests-worker{}.csv"
"""Where a worker writes its requests whose driver has gone, in the folder of the run."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker needs to know once.

    Args:
        number: which worker it is, from 1.
        target: the server, settled.
        parts: the workloads, fitted.
        keep: keep texts in the records.
        kernel_stamps: ask for the kernel's receive stamps.
        source_ips: addresses of this machine that connections come from.
        folder: of the run; `None`: there is none.
    """

    number: int
    target: Target
    parts: list[Part]
    keep: bool
    kernel_stamps: bool
    source_ips: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True, slots=True)
class LevelOrders:
    """What a worker needs to know of a level.

    Args:
        part: place of its workload.
        repeat: of the climb.
        level: its users, rate or speed.
        name: what it is called.
        plan: this worker's share of it.
        e2e_seconds: how long one request took, alone; `None`: unknown.
        block_tokens: of the server's prefix cache; `None`: unknown.
    """

    part: int
    repeat: int
    level: float
    name: str
    plan: LevelPlan
    e2e_seconds: float | None
    block_tokens: int | None


class _Told:
    """A conductor that is elsewhere: it is told each thing once a level."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._said: set[str] = set()

    def _once(self, name: str, *more: Any) -> None:
        if name not in self._said:
            self._said.add(name)
            self._send(name, *more)

    def warm(self) -> None:
        """See `Conductor`."""
        self._once("warm")

    def filled(self, latest_ns: int) -> None:
        """See `Conductor`."""
        self._once("filled", latest_ns)

    def drained(self) -> None:
        """See `Conductor`."""
        self._once("drained")


class LevelShare:
    """One level, as a worker runs its share of it.

    Args:
        client: open.
        orders: of this worker.
        level: which level.
        log: takes what it begins and ends.
        channel: to the driver.
    """

    def __init__(
        self, client: Client, orders: Orders, level: LevelOrders, log: ShardLog, channel: Channel
    ) -> None:
        self._channel = channel
        self._log = log
        self._number = orders.number
        self._starts: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        step = Step(orders.parts[level.part], level.repeat, level.level, level.name)
        nowhere = FanOut({})
        self._load = LoadRun(
            client,
            step,
            level.plan,
            tally=Tally(nowhere, keep_text=True),
            sinks=nowhere,
            so_far=SoFar(step.name, level.plan),
            listener=Listener(
                ended=self._ended,
                begun=log.begun,
                second=log.second,
                say=lambda text: channel.send("say", text),
            ),
            e2e_seconds=level.e2e_seconds,
            block_tokens=level.block_tokens,
            conductor=_Told(channel.send),
        )
        self._clock = LoopClock()
        self._level = level
        self._running = asyncio.create_task(self._run())

    def _ended(self, record: Record, stage: Stage) -> None:
        record.worker = self._number
        self._log.ended(record, stage)

    def take(self, name: str, *more: Any) -> None:
        """Take what the driver says of the level."""
        getattr(self, f"_take_{name}")(*more)

    def _take_open(self, at_ns: int, requests: int | None) -> None:
        self._load.level.open_at(at_ns, requests)

    def _take_start(self, at_ns: int) -> None:
        self._clock.call_at(at_ns, lambda: self._starts.set_result(at_ns))

    def _take_close(self, end_ns: int) -> None:
        self._load.level.close_at(end_ns)

    def _take_finish(self) -> None:
        self._load.level.finish()

    def _take_interrupt(self, grace_seconds: float, at_ns: int | None = None) -> None:
        self._load.interrupt(grace_seconds, at_ns)

    @property
    def head(self) -> LevelHead:
        """Which level it is, and when it began."""
        level = self._level
        return LevelHead(level.name, level.repeat, self._load.level.result.start_ns)

    async def cancel(self) -> None:
        """End it now."""
        if not self._running.done():
            self._load.interrupt(0.0)
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """Run it, and tell what was measured."""
        load = self._load
        try:
            await load.prepare()
            self._channel.send("ready")
            measured = await load.run(await self._starts)
            load.house.finish(measured.records.over_ns)
            self._channel.send("over", measured)
        except BenchcoreError as error:
            self._channel.send("failed", error)
        except Exception as fault:  # noqa: BLE001  the edge of this process: the driver ends the run by it
            traceback.print_exc()
            self._channel.send("failed", f"{type(fault).__name__}: {fault}")
        finally:
            load.close()
            self._clock.close()


async def serve(channel: Channel, file: int) -> None:
    """Do what the driver says, until it has gone."""
    said = await channel.receive()
    if said is None or said[0] == "end":
        return
    orders: Orders = said[1]
    log = ShardLog(file, lambda data: channel.send("spilled", data))
    async with Client(
        orders.target,
        keep=orders.keep,
        kernel_stamps=orders.kernel_stamps,
        source_ips=orders.source_ips,
    ) as client:
        share: LevelShare | None = None
        while (said := await channel.receive()) is not None:
            name, *more = said
            if name == "end":
                return
            if name == "level":
                share = LevelShare(client, orders, more[0], log, channel)
            elif share is not None:
                share.take(name, *more)
        if share is not None:
            # The driver is no more: what is on its way ends, and what has ended is kept.
            await share.cancel()
            keep_requests(log, orders, share.head)


def keep_requests(log: ShardLog, orders: Orders, head: LevelHead) -> None:
    """Write the requests of a level that nobody takes any more into the folder of the run."""
    if orders.folder is None:
        return
    ended = [entry for entry in log.entries() if isinstance(entry, Ended)]
    if not ended:
        return
    rows = [RequestRow(head, entry.record, entry.stage.value) for entry in ended]
    path = orders.folder / LEFT_ALONE.format(orders.number)
    try:
        path.write_bytes(REQUESTS.head() + REQUESTS.lines(rows))
        where = f"are in {path}"
    except OSError as error:
        where = f"cannot be written to {path}: {error.strerror}"
    print(
        f"benchcore: worker {orders.number}: the process that started it has gone during "
        f"{head.level}; the {len(rows)} requests that it had finished {where}",
        file=sys.stderr,
    )


def main() -> int:
    """Serve the one who has started this process."""
    control, file = map(int, sys.argv[1:])

    async def work() -> None:
        channel = await Channel.of(socket.socket(fileno=control))
        await serve(channel, file)

    try:
        import uvloop
    except ImportError:
        asyncio.run(work())
    else:
        uvloop.run(work())
    return 0


if __name__ == "__main__":
    sys.exit(main())
