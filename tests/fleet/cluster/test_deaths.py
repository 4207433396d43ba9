"""Whoever dies: never `valid`, nothing that had ended is lost, and no process is left."""

import asyncio
import contextlib
import csv
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import benchcore
from benchcore.climbs.climb import Climb
from benchcore.climbs.plan import Part
from tests.fleet.cluster.conftest import is_there, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SETTLED_NS = 300_000_000
"""What a receiver had ended so long before a death has been passed on."""


def climb_of(receiver, cluster, folder):
    config = benchcore.ClimbConfig(
        concurrency=(6,),
        duration_seconds=600,
        warmup_requests=0,
        grace_seconds=2,
        seed=5,
        fleet=cluster.address,
    )
    asks = benchcore.Synthetic(input_tokens=16, output_tokens="uniform:2:40", seed=5)
    return Climb(benchcore.Target(receiver.base_url), [Part("", asks, config)], output=folder)


async def run_and_kill(receiver, cluster, folder, victim, after=60):
    """Climb, kill a process once so many requests have ended, and return the run and when."""
    climb = climb_of(receiver, cluster, folder)
    task = asyncio.create_task(climb())
    while len(receiver.ended) < after:
        await asyncio.sleep(0.01)
    pid = victim(climb)
    os.kill(pid, signal.SIGKILL)
    killed_ns = time.perf_counter_ns()
    return await task, killed_ns, climb


def check_level(run, receiver, killed_ns):
    """Check what has to be so, whoever died, and return the level."""
    level = run.levels[0]
    assert run.status == "failed"
    assert run.stopped == "worker lost"
    assert level.verdict == "invalid"
    assert level.scheduled == level.ok + level.failed + level.cancelled + level.dropped
    assert sum(level.outcomes.values()) == level.scheduled == len(level.records)
    assert level.failed == 0
    ok = {record.request_id for record in level.records if record.outcome == "ok"}
    settled = {one for one, at_ns in receiver.ended.items() if at_ns < killed_ns - SETTLED_NS}
    probes = settled - {record.request_id for record in level.records}
    assert len(probes) <= 8  # none of them is of the load
    assert settled - probes <= ok
    assert len(ok) > 20
    return level


async def test_a_workers_process_is_killed(receiver, hosts, tmp_path):
    run, killed_ns, climb = await run_and_kill(
        receiver, hosts, tmp_path, lambda climb: climb._crew.workers[1].place.pid
    )
    level = check_level(run, receiver, killed_ns)
    (reason,) = [one for one in level.reasons if "worker 2" in one and "died" in one]
    assert "killed by SIGKILL" in reason
    # Those that a worker had finished are all there: its log was on its host's disk.
    done = {record.request_id for record in level.records if record.outcome == "ok"}
    lost = {one for one, at_ns in receiver.ended.items() if at_ns < killed_ns - 20_000_000} - done
    assert len(lost) <= 8  # of the probe
    for worker in climb._crew.workers:
        assert not is_there(worker.place.pid)
        assert not worker.place.folder.exists()
    assert not hosts.kept()


async def test_a_dask_worker_is_killed(receiver, cluster_with, tmp_path):
    cluster = cluster_with("127.0.0.2", "127.0.0.3")
    run, killed_ns, climb = await run_and_kill(
        receiver, cluster, tmp_path / "out", lambda _climb: cluster.hosts["127.0.0.3"]
    )
    level = check_level(run, receiver, killed_ns)
    (reason,) = [one for one in level.reasons if "worker 2" in one and "died" in one]
    assert "out of reach" in reason
    for worker in climb._crew.workers:
        until(lambda pid=worker.place.pid: not is_there(pid), 5)
    # What it had finished is on its own disk: more than had come to us, or as much.
    (kept,) = until(cluster.kept)
    with kept.open() as file:
        rows = list(csv.DictReader(file))
    passed_on = {record.request_id for record in level.records if record.worker == 2}
    passed_on -= {record.request_id for record in level.records if record.outcome == "cancelled"}
    on_disk = {row["request_id"] for row in rows if row["outcome"] == "ok"}
    assert passed_on <= on_disk


def start_driver(receiver, cluster, folder):
    command = [sys.executable, "-m", "benchcore", "climb", "--base-url", receiver.base_url]
    options = "--concurrency 6 --duration 600s --warmup 0 --input-tokens 16 --output-tokens 8"
    return subprocess.Popen(
        [
            *command,
            "--no-progress",
            *options.split(),
            "--fleet",
            cluster.address,
            "--output",
            str(folder),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill_driver(receiver, cluster, folder, after=60):
    """Let a driver be killed in the middle of a level, and check what becomes of its workers."""
    kept_before = set(cluster.kept())
    count = len(receiver.ended) + after
    driver = start_driver(receiver, cluster, folder)
    try:
        until(lambda: len(receiver.ended) >= count)
        processes = cluster.processes()
        assert len(processes) == 2
    finally:
        driver.kill()
        driver.wait()
    killed_ns = time.perf_counter_ns()
    until(lambda: not any(map(is_there, processes)), 5)
    kept = set(cluster.kept()) - kept_before
    assert len(kept) == 2
    ok = set()
    for path in kept:
        with path.open() as file:
            ok |= {row["request_id"] for row in csv.DictReader(file) if row["outcome"] == "ok"}
    return ok, killed_ns


def test_the_driver_is_killed(receiver, cluster_with, tmp_path):
    cluster = cluster_with("127.0.0.2", "127.0.0.3")
    ok, killed_ns = kill_driver(receiver, cluster, tmp_path / "out")
    # Its workers went on for a while: all that they finished is on their disks.
    ended = {one for one, at_ns in receiver.ended.items() if at_ns < killed_ns}
    assert len(ended - ok) <= 8  # of the probe
    assert len(ok) > 50
    # The cluster is as good as before.
    cluster.wait(2)
    assert not cluster.processes()


@pytest.mark.full
@pytest.mark.parametrize("turn", range(50))
async def test_a_worker_is_killed_at_any_moment(receiver, hosts, tmp_path, turn):
    draws = random.Random(turn)
    run, killed_ns, climb = await run_and_kill(
        *(receiver, hosts, tmp_path),
        lambda climb: draws.choice(climb._crew.workers).place.pid,
        after=draws.randrange(40, 400),
    )
    check_level(run, receiver, killed_ns)
    assert not any(is_there(worker.place.pid) for worker in climb._crew.workers)


@pytest.mark.full
@pytest.mark.parametrize("turn", range(20))
def test_a_driver_is_killed_at_any_moment(receiver, cluster_with, tmp_path, turn):
    cluster = cluster_with("127.0.0.2", "127.0.0.3")
    after = random.Random(turn).randrange(20, 400)
    ok, killed_ns = kill_driver(receiver, cluster, tmp_path / "out", after)
    ended = {one for one, at_ns in receiver.ended.items() if at_ns < killed_ns}
    assert len(ended - ok) <= 8  # of the probe
    with contextlib.suppress(ProcessLookupError):
        assert not cluster.processes()
