"""The ways to a host: through the scheduler, broken without a word, to a Dask worker come again."""

import asyncio
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest

from benchcore.fleet.dask_crew import DaskCrew, batch_seconds
from benchcore.fleet.hosts import exposed
from benchcore.fleet.relay import GONE_SECONDS
from benchcore.fleet.remote import RemoteWorker
from benchcore.show.progress import Silent
from tests.fleet.cluster.conftest import children_of, is_there, until
from tests.fleet.cluster.test_deaths import check_level, climb_of, run_and_kill
from tests.fleet.cluster.test_fleet_load import OPEN, bodies, climb, intended

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def indirect(monkeypatch):
    """Let no Dask worker be reached but through the scheduler, and return whom we asked."""
    asked = []

    async def is_reached(_crew, address):
        asked.append(address)
        return False

    monkeypatch.setattr(DaskCrew, "_is_reached", is_reached)
    return asked


async def test_where_workers_are_not_reached_the_scheduler_passes_everything_on(
    receiver_with, hosts, indirect
):
    alone, together = receiver_with(), receiver_with()
    one = (await climb(alone, **OPEN)).levels[0]
    run = await climb(together, **OPEN, fleet=hosts.address, workers=2)
    many = run.levels[0]
    assert len(indirect) == 2
    assert many.ok == 60
    assert {record.worker for record in many.records} == {1, 2}
    assert bodies(many, together) == bodies(one, alone)
    assert intended(many) == intended(one)


@pytest.mark.parametrize(
    ("workers", "seconds"),
    [(1, 0.05), (20, 0.05), (40, 0.1), (200, 0.5), (1000, 0.5)],
)
def test_the_more_workers_the_less_often_each_is_asked(workers, seconds):
    assert batch_seconds(workers) == seconds


async def test_a_worker_that_is_seldom_asked_sends_the_same(receiver, hosts, monkeypatch):
    monkeypatch.setattr("benchcore.fleet.dask_crew.QUESTIONS_A_SECOND", 4)  # 0.5 s for two
    asked, ask = Counter(), RemoteWorker._ask

    async def counted(worker, seconds, call, *, told):
        asked[worker.number] += not told
        return await ask(worker, seconds, call, told=told)

    monkeypatch.setattr(RemoteWorker, "_ask", counted)
    began = time.perf_counter()
    options = OPEN | {"rate": (30,)}
    level = (await climb(receiver, **options, fleet=hosts.address, workers=2)).levels[0]
    took_seconds = time.perf_counter() - began
    assert level.ok == level.scheduled == len(level.records) == 60
    # Two a second, and one for each of the messages of a level, which do not wait.
    assert max(asked.values()) <= 2 * took_seconds + 12


async def test_a_host_that_falls_silent_is_noticed_in_time_and_its_requests_are_accounted_for(
    receiver, cluster_with, tmp_path
):
    cluster = cluster_with("127.0.0.2", "127.0.0.3")
    silent = cluster.hosts["127.0.0.3"]
    task = asyncio.create_task(climb_of(receiver, cluster, tmp_path / "out")())
    while len(receiver.ended) < 60:
        await asyncio.sleep(0.01)
    (worker,) = children_of(silent)
    os.kill(silent, signal.SIGSTOP)
    try:
        stopped_ns = time.perf_counter_ns()
        run = await task
        took_seconds = (time.perf_counter_ns() - stopped_ns) / 1e9
        # Its process knows nothing of it and has gone on: the driver has to tell by the silence.
        assert is_there(worker)
    finally:
        os.kill(silent, signal.SIGCONT)
    level = check_level(run, receiver, stopped_ns)
    (reason,) = [one for one in level.reasons if "worker 2" in one and "died" in one]
    assert f"its Dask worker {level.workers[1].address} is out of reach" in reason
    assert took_seconds < GONE_SECONDS + 5  # with the end of the others, and of the run
    # As soon as it is there again it hears that nobody asks, and keeps what it has finished.
    until(lambda: not is_there(worker))
    (kept,) = until(cluster.kept)
    with kept.open() as file:
        on_disk = {row["request_id"] for row in csv.DictReader(file) if row["outcome"] == "ok"}
    passed_on = {one.request_id for one in level.records if (one.worker, one.outcome) == (2, "ok")}
    assert passed_on <= on_disk
    assert len(on_disk) > len(passed_on)


def free_port(host):
    with socket.socket() as taken:
        taken.bind((host, 0))
        return taken.getsockname()[1]


@pytest.mark.full
async def test_a_dask_worker_that_its_nanny_starts_anew_is_lost_to_the_level_and_good_for_the_next(
    receiver, cluster_with, tmp_path
):
    cluster = cluster_with("127.0.0.2", ("127.0.0.3", 1, 0, free_port("127.0.0.3")))

    def dask_worker():
        (pid,) = [
            pid
            for child in children_of(cluster.hosts["127.0.0.3"])
            for pid in (child, *children_of(child))
            if any(map(is_benchcore, children_of(pid)))
        ]
        return pid

    def is_benchcore(pid):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"benchcore.climbs.worker" in file.read()

    run, killed_ns, climbed = await run_and_kill(
        receiver, cluster, tmp_path / "out", lambda _climb: dask_worker()
    )
    level = check_level(run, receiver, killed_ns)
    assert [one for one in level.reasons if "worker 2" in one and "died" in one]
    for worker in climbed._crew.workers:
        until(lambda pid=worker.place.pid: not is_there(pid), 5)
    cluster.wait(2)
    again = (await climb(receiver, **OPEN, fleet=cluster.address)).levels[0]
    assert again.ok == 60
    assert [facts.address for facts in again.workers] == [facts.address for facts in level.workers]


def command(receiver, folder, *options):
    asked = ["climb", "--base-url", receiver.base_url, "--concurrency", "4", "--requests", "20"]
    more = ["--input-tokens", "8", "--output-tokens", "4", "--no-progress", "--json"]
    return subprocess.run(
        [sys.executable, "-m", "benchcore", *asked, *more, *options, "--output", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_host_without_benchcore_is_refused_in_one_line(receiver, cluster_with, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text("import sys\nsys.modules['benchcore'] = None\n")
    cluster = cluster_with("127.0.0.2", ("127.0.0.3", 1, 0, None, {"PYTHONPATH": str(bare)}))
    done = command(receiver, tmp_path / "out", "--fleet", cluster.address)
    assert done.returncode == 2
    assert done.stdout == ""
    *_, line = done.stderr.splitlines()
    assert line.startswith("benchcore: fleet host ")
    assert "(127.0.0.3): benchcore is not installed there (" in line
    assert "; run pip install 'benchcore-llm[fleet]==" in line
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_a_fleet_of_this_machine_is_started_and_gone_with_the_command(receiver, tmp_path):
    done = command(receiver, tmp_path, "--fleet", "local:2")
    assert done.returncode in (0, 4), done.stderr  # 4: a busy machine measures itself
    run = json.loads(done.stdout)
    level = run["levels"][0]
    assert level["ok"] == level["scheduled"] == 20
    assert [one["worker"] for one in level["workers"]] == [1, 2]
    assert all(one["address"].startswith("tcp://127.0.0.1:") for one in level["workers"])
    assert "without TLS" not in done.stderr
    (folder,) = tmp_path.iterdir()
    with (folder / "requests.csv").open() as file:
        assert {row["worker"] for row in csv.DictReader(file)} == {"1", "2"}
    for one in level["workers"]:
        port = int(one["address"].rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


# Clusters without TLS.


@pytest.mark.parametrize(
    ("scheduler", "workers", "named"),
    [
        ("tcp://127.0.0.1:8786", ["tcp://127.0.0.2:1", "tcp://[::1]:2"], ""),
        ("localhost:8786", [], ""),
        ("tls://head:8786", ["tls://10.0.0.2:1"], ""),
        ("wss://head:8786", [], ""),
        ("tcp://head:8786", ["tcp://10.0.0.2:1"], "tcp://head:8786"),
        ("head:8786", [], "head:8786"),
        ("ucx://10.0.0.1:8786", [], "ucx://10.0.0.1:8786"),
        ("tcp://[2001:db8::1]:8786", [], "tcp://[2001:db8::1]:8786"),
        # A port that is forwarded to a cluster whose hosts talk as they like.
        ("tcp://127.0.0.1:8786", ["tcp://10.0.0.2:1"], "tcp://10.0.0.2:1"),
    ],
)
def test_what_anyone_can_reach_is_known_by_its_addresses(scheduler, workers, named):
    said = exposed(scheduler, workers)
    if not named:
        assert said == ""
        return
    assert said.startswith(f"--fleet {scheduler}: {named} is reached without TLS: ")


async def test_a_cluster_that_anyone_can_reach_is_told_of(receiver, hosts, monkeypatch):
    # All of a test's own are on this machine: let it look as if they were not.
    monkeypatch.setattr("benchcore.fleet.hosts._is_loopback", lambda _address: False)
    lines = []

    class Said(Silent):
        def say(self, text):
            lines.append(text)

    options = {"concurrency": (2,), "requests": 20, "fleet": hosts.address, "workers": 2}
    run = await climb(receiver, **options, progress=Said())
    (line,) = [one for one in lines if "without TLS" in one]
    assert line.startswith(f"--fleet {hosts.address}: {hosts.address} is reached without TLS: ")
    assert line in run.target.probe["notes"]
