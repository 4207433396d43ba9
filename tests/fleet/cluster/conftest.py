"""Real Dask clusters, whose Dask workers are the hosts of a fleet."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import bare_environment

pytest.importorskip("distributed")

ELSEWHERE = Path(__file__).parent / "elsewhere.py"
DASK = [sys.executable, "-m", "dask"]


def until(condition, seconds=60.0):
    """Wait until something is so, and return what it is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)
    return found


def children_of(pid):
    """Return the process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def is_there(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Cluster:
    """A scheduler and Dask workers, each a process of its own.

    Args:
        folder: for their files; what a worker keeps is there, in `tmp`.
        tls: options of the command line for certificates.
        env: more variables of theirs.
    """

    def __init__(self, folder, tls=(), env=()):
        self.folder = folder
        self.tmp = folder / "tmp"
        self.tmp.mkdir(parents=True)
        self.hosts = {}
        """By address of a host, the process id of its Dask worker."""
        self._tls = list(tls)
        self.env = bare_environment(TMPDIR=str(self.tmp), **dict(env))
        self._started = []
        self._file = folder / "scheduler.json"
        self._start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"),
            *("--scheduler-file", str(self._file), *tls),
        )
        self.address = until(self._address)

    def _address(self):
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._file.read_text())["address"]
        return None

    def _start(self, *command, ahead_ns=0, env=()):
        wrap = [sys.executable, str(ELSEWHERE), str(ahead_ns)] if ahead_ns else []
        log = (self.folder / f"{command[0]}-{len(self._started)}.log").open("w")
        with log:
            process = subprocess.Popen(
                [*wrap, *DASK, *command],
                env={**self.env, **dict(env)},
                cwd=self.folder,
                stdout=subprocess.PIPE if ahead_ns else log,
                stderr=log,
                text=True,
            )
        self._started.append(process)
        return int(process.stdout.readline()) if ahead_ns else process.pid

    def add(self, host, threads=1, ahead_ns=0, nanny_at=None, env=()):
        """Start a Dask worker and return its process id, or that of its nanny.

        Args:
            host: the address that it binds.
            threads: its threads.
            ahead_ns: how much its clock is ahead of ours.
            nanny_at: let a nanny start it anew, on this port, where it dies; `None`: there is none.
            env: more variables of its own.
        """
        kept = ["--no-nanny"] if nanny_at is None else ["--worker-port", str(nanny_at)]
        self.hosts[host] = self._start(
            *("worker", "--scheduler-file", str(self._file), "--host", host, *kept),
            *("--nthreads", str(threads), "--no-dashboard", "--memory-limit", "0"),
            *("--local-directory", str(self.folder / host), *self._tls),
            ahead_ns=ahead_ns,
            env=env,
        )
        return self.hosts[host]

    def wait(self, count):
        """Wait until so many Dask workers have come."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def processes(self):
        """Return the process ids of the workers that Dask workers have started."""
        return [
            child
            for pid in self.hosts.values()
            for child in children_of(pid)
            if b"benchcore.climbs.worker" in _command(child)
        ]

    def kept(self):
        """Return the files of requests that nobody took."""
        return sorted(self.tmp.glob("benchcore-fleet-*/requests-worker*.csv"))

    def close(self):
        """End them all."""
        for pid in [*self.processes(), *self.hosts.values()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two hosts with two threads each, which stay."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.add("127.0.0.2", threads=2)
        cluster.add("127.0.0.3", threads=2)
        cluster.wait(2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def cluster_with(tmp_path):
    """Start clusters of a test's own."""
    started = []

    def start(*hosts, **options):
        cluster = Cluster(tmp_path / f"cluster{len(started)}", **options)
        started.append(cluster)
        for host in hosts:
            cluster.add(*([host] if isinstance(host, str) else host))
        if not options:
            cluster.wait(len(hosts))
        return cluster

    yield start
    for one in started:
        one.close()
