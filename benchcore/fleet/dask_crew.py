"""Dask crew: workers on the hosts of a Dask cluster."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchcore.base.clock import NS
from benchcore.base.errors import ConfigError
from benchcore.fleet.clocks import HostClock
from benchcore.fleet.crew import OPEN_AHEAD_NS, START_AHEAD_NS, Inbox, give_orders
from benchcore.fleet.hosts import digest, examiner, exposed, host_of, refuse_different
from benchcore.fleet.relay import BATCH_SECONDS, Relay
from benchcore.fleet.remote import UNREACHABLE, WAIT_SECONDS, LoopThread, RemoteWorker
from benchcore.version import installing

try:
    import distributed
except ModuleNotFoundError:
    raise ConfigError(f"--fleet needs Dask: {installing('fleet')}") from None

LOCAL: Final = "local:"
"""How the address of a cluster begins that is started here, to try things; a number follows."""
CONNECT_SECONDS: Final = 10.0
REACH_SECONDS: Final = 2.0
EXAMINE_SECONDS: Final = 600.0
"""Digests of large files take their time."""
START_SECONDS: Final = 60.0
LONGEST_AHEAD_NS: Final = 5 * NS
QUESTIONS_A_SECOND: Final = 400
"""So many the driver asks about logs in all; of each worker no fewer than one a `WAIT_SECONDS`."""
_CONNECTIONS: Final = 1 << 16


class DaskCrew(Inbox[RemoteWorker]):
    """The workers of a run on a Dask cluster.

    Args:
        address: of the scheduler, such as `tls://head:8786`; or `local:4`, a cluster of so many
            processes that is started here.
        count: how many; `None`: one for each thread of the cluster.
        files: what a worker reads on its own host; it has to be the same on all.
    """

    def __init__(self, address: str, count: int | None = None, files: Sequence[str] = ()) -> None:
        super().__init__()
        self.workers: list[RemoteWorker] = []
        self._address = address
        self._count = count
        self._files = files
        self._loop = LoopThread()
        self._client: Any = None
        self._cluster: Any = None

    @property
    def start_ahead_ns(self) -> int:
        """See `AnyCrew`: messages and doubt about clocks both fit into it."""
        slowest_ns = max(max(worker.delays_ns) for worker in self.workers)
        doubt_ns = max(worker.offset.uncertainty_ns for worker in self.workers)
        return min(START_AHEAD_NS + 2 * (slowest_ns + doubt_ns), LONGEST_AHEAD_NS)

    @property
    def open_ahead_ns(self) -> int:
        """See `AnyCrew`."""
        return max(self.start_ahead_ns, OPEN_AHEAD_NS)

    async def start(self, folder: Path | None) -> None:
        """See `AnyCrew`."""
        del folder  # is of this machine; each host has its own
        driver = asyncio.get_running_loop()

        def post(call: Callable[[], None]) -> None:
            driver.call_soon_threadsafe(call)

        ours = {path: await asyncio.to_thread(_digest_here, path) for path in self._files}
        await self._loop.run(self._start(ours, post))

    def order(self, orders: Callable[[int, Path | None], object]) -> None:
        """See `AnyCrew`."""
        give_orders(
            self.workers,
            lambda worker: orders(worker.number, worker.place.folder),
            f"--fleet {self._address}",
        )

    async def close(self) -> None:
        """See `AnyCrew`."""
        await self._loop.run(self._stop())
        await asyncio.sleep(0)  # what was posted last
        self._loop.close()

    # On the thread.

    async def _start(self, ours: Mapping[str, str], post: Callable[..., None]) -> None:
        await self._connect()
        cores = await self._cores()
        if not self._address.startswith(LOCAL) and (remark := exposed(self._address, cores)):
            self.remarks.append(remark)
        hostnames = await self._examine(cores, ours)
        clocks = {host_of(address): HostClock() for address in cores}
        placed = placing(cores, self._count, self._address)
        self.workers = [
            RemoteWorker(
                *(number, address, hostnames[address], clocks[host_of(address)]),
                *(self._loop, self._arrived, batch_seconds(len(placed))),
            )
            for number, address in enumerate(placed, 1)
        ]
        with self._client.as_current():  # a relay's tasks talk through it
            await self._begin(post)

    async def _begin(self, post: Callable[..., None]) -> None:
        relays = [
            self._client.submit(
                *(Relay, worker.number),
                actor=True,
                workers=[worker.address],
                allow_other_workers=False,
                pure=False,
            )
            for worker in self.workers
        ]
        try:
            async with asyncio.timeout(START_SECONDS):
                actors = await asyncio.gather(*relays)
                await asyncio.gather(
                    *(
                        worker.begin(relay, post)
                        for worker, relay in zip(self.workers, actors, strict=True)
                    )
                )
        except UNREACHABLE as error:
            raise ConfigError(
                f"--fleet {self._address}: a worker cannot be started: {error or 'no answer'}"
            ) from None

    async def _connect(self) -> None:
        address: Any = self._address
        try:
            if address.startswith(LOCAL):
                count = int(address.removeprefix(LOCAL))
                address = self._cluster = await distributed.LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    memory_limit=None,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,  # of workers whose scheduler ends before them
                    asynchronous=True,
                )
            self._client = distributed.Client(
                address,
                asynchronous=True,
                set_as_default=False,
                direct_to_workers=True,
                timeout=CONNECT_SECONDS,
                connection_limit=_CONNECTIONS,
            )
            await self._client
        # Dask raises these for an address that it cannot read, and where certificates are missing.
        except (OSError, TimeoutError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"--fleet {self._address}: no Dask scheduler can be reached there: "
                f"{error or type(error).__name__}"
            ) from None

    async def _cores(self) -> dict[str, int]:
        """Return how many threads each Dask worker has, by its address."""
        info = await self._client.scheduler.identity(n_workers=-1)
        cores = {address: one["nthreads"] for address, one in info["workers"].items()}
        if not cores:
            raise ConfigError(
                f"--fleet {self._address}: the cluster has no Dask workers; start some first"
            )
        reached = await asyncio.gather(*map(self._is_reached, cores))
        self._client.direct_to_workers = all(reached)
        return cores

    async def _is_reached(self, address: str) -> bool:
        """Whether we can talk to a Dask worker ourselves; else its scheduler passes things on."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await self._client.rpc(address).identity()
        except (OSError, TimeoutError):
            return False
        return True

    async def _examine(
        self, addresses: Mapping[str, int], ours: Mapping[str, str]
    ) -> dict[str, str]:
        """Return what each host is called, all of which have what we have.

        Raises:
            ConfigError: one has not.
        """
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(EXAMINE_SECONDS):
                found = await self._client.run(
                    examiner(), list(ours), workers=list(addresses), on_error="return"
                )
        except TimeoutError:
            raise ConfigError(
                f"--fleet {self._address}: its hosts have not examined the workload's files "
                f"within {EXAMINE_SECONDS:g} s"
            ) from None
        for address, facts in found.items():
            if isinstance(facts, BaseException):
                raise ConfigError(f"fleet host {host_of(address)}: {facts}")
            refuse_different(f"{facts['hostname']} ({host_of(address)})", facts, ours)
        return {address: facts["hostname"] for address, facts in found.items()}

    async def _stop(self) -> None:
        await asyncio.gather(*(worker.finish() for worker in self.workers))
        for one in (self._client, self._cluster):
            if one is not None:
                with suppress(*UNREACHABLE):
                    await one.close()


def placing(cores: Mapping[str, int], count: int | None, address: str) -> list[str]:
    """Return where each worker goes, host after host and round again.

    Args:
        cores: how many threads each Dask worker has, by its address.
        count: how many workers; `None`: one for each thread.
        address: of the scheduler, for messages.

    Raises:
        ConfigError: there are more workers than threads.
    """
    total = sum(cores.values())
    if count is not None and count > total:
        raise ConfigError(
            f"--workers {count}: the cluster at {address} has {total} thread(s), and a worker "
            "needs one of its own; add Dask workers, or give them more threads"
        )
    by_host: dict[str, list[str]] = {}
    for one in sorted(cores):
        by_host.setdefault(host_of(one), []).extend([one] * cores[one])
    # The first of each host, then the second of each, and so on.
    rounds = itertools.zip_longest(*by_host.values())
    return [one for turn in rounds for one in turn if one is not None][:count]


def batch_seconds(workers: int) -> float:
    """Return how long the logs of so many workers grow before they are passed on."""
    return min(max(BATCH_SECONDS, workers / QUESTIONS_A_SECOND), WAIT_SECONDS)


def _digest_here(path: str) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
