"""A load of several processes: what they send, what is made of it, and what happens if one dies."""

import asyncio
import csv
import json
import os
import random
import resource
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import benchcore
from benchcore.base.errors import CapacityError, ConfigError, TargetError
from benchcore.climbs import dealt_run
from benchcore.climbs.climb import WORKER_LOST, Climb
from benchcore.climbs.plan import Part
from benchcore.config.climb import ClimbConfig
from benchcore.fleet.workers import Crew
from benchcore.metrics.percentiles import QUANTILES, nearest_rank
from benchcore.runs.reading import RunFolder
from benchcore.workload.made_up import Conversation
from benchcore.workload.synthetic import Synthetic

pytestmark = [pytest.mark.integration, pytest.mark.perf]

SETTINGS = {"seed": 5, "idle_seconds": 0, "grace_seconds": 0.5}
OPEN = {"rate": (60,), "warmup_seconds": 0.2, "duration_seconds": 1.5}
CLOSED = {"concurrency": (6,), "requests": 90}


def machine(url, folder, workload=None, *, workers, **settings):
    workload = workload or Synthetic(input_tokens=16, output_tokens=4, seed=5)
    config = ClimbConfig(workers=workers, **{**SETTINGS, **settings})
    return Climb(benchcore.Target(url), [Part("s", workload, config)], output=folder)


def rows_of(folder, name="requests.csv"):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


async def sent(receiver, folder, workers, **settings):
    """Climb a level; returns it, its rows, and what was received of each, by its place."""
    run = await machine(receiver.base_url, folder / str(workers), workers=workers, **settings)()
    (level,) = run.levels
    rows = rows_of(run.folder)
    asked = {
        int(row["index"]): (row["scheduled_seconds"], receiver.bodies[row["request_id"]])
        for row in rows
        if row["request_id"] in receiver.bodies
    }
    return level, rows, asked


@pytest.mark.parametrize("workers", [2, 4])
async def test_several_send_what_one_would_have_sent(receiver, tmp_path, workers):
    one, _, alone = await sent(receiver, tmp_path, 1, **OPEN)
    level, rows, asked = await sent(receiver, tmp_path, workers, **OPEN)
    # Warm-up and window; how long the load goes on behind it hangs on the last answer.
    inside = [n for n, (at, _) in alone.items() if float(at) < 1.7]
    assert len(inside) > 60
    assert [asked[n] for n in sorted(inside)] == [alone[n] for n in sorted(inside)]
    assert level.scheduled == one.scheduled
    assert (level.mode, level.rate, level.ok) == (one.mode, one.rate, one.ok)
    assert {row["worker"] for row in rows} == {str(n) for n in range(1, workers + 1)}
    assert len({row["index"] for row in rows}) == len(rows)
    shares = Counter(row["worker"] for row in rows)
    assert max(shares.values()) - min(shares.values()) <= 3


async def test_users_are_shared_out_and_no_session_is_sent_twice(receiver, tmp_path):
    _, _, alone = await sent(receiver, tmp_path, 1, **CLOSED)
    level, rows, asked = await sent(receiver, tmp_path, 2, **CLOSED)
    assert (level.scheduled, level.ok, level.concurrency) == (90, 90, 6)
    assert len({row["session"] for row in rows}) == len(rows) == len(asked)
    bodies = {
        int(row["session"]): receiver.bodies[row["request_id"]]
        for row in rows
        if row["request_id"] in receiver.bodies
    }
    common = bodies.keys() & alone.keys()
    assert len(common) >= 80
    assert all(bodies[n] == alone[n][1] for n in common)


async def test_a_level_with_one_user_needs_one_worker(receiver, tmp_path):
    level, rows, _ = await sent(receiver, tmp_path, 3, concurrency=(1,), requests=5)
    assert level.ok == 5
    assert {row["worker"] for row in rows} == {"1"}


async def test_what_is_merged_is_what_all_requests_give(receiver, tmp_path):
    run = await machine(receiver.base_url, tmp_path, workers=2, **CLOSED)()
    (level,) = run.levels
    rows = [row for row in rows_of(run.folder) if row["stage"] == "window"]
    ttfts = sorted(
        round(1e9 * float(row["first_token_seconds"])) - round(1e9 * float(row["sent_seconds"]))
        for row in rows
    )
    assert len(ttfts) == level.ttft.count == 90
    for name, quantile in QUANTILES.items():
        assert getattr(level.ttft, name) == nearest_rank(ttfts, quantile) / 1e9
    histogram = level.ttft.histogram
    assert histogram.total == sum(ttfts)
    gaps = np.concatenate([np.diff(np.array(one.stamps)) for one in level.records])
    assert level.icl.count == len(gaps) > 90
    assert level.icl.histogram.total == int(gaps.clip(1000).sum())
    assert level.tokens.output == 90 * 4
    every, seconds = rows_of(run.folder), rows_of(run.folder, "timeline.csv")
    sums = {name: sum(int(row[name]) for row in seconds) for name in ("sent", "tokens", "done")}
    assert sums == {
        "sent": sum(row["sent_seconds"] != "" for row in every),
        "tokens": sum(int(row["token_events"] or 0) for row in every),
        "done": sum(row["outcome"] == "ok" for row in every),
    }
    assert [int(row["second"]) for row in seconds] == list(range(len(seconds)))
    assert [facts.worker for facts in level.workers] == [1, 2]
    assert sum(facts.client["planned"] for facts in level.workers) == 90
    assert level.client["token_reads"] == sum(f.client["token_reads"] for f in level.workers)
    assert level.client["little_error"] is None or level.client["little_error"] < 0.5
    assert not list(run.folder.glob("requests-worker*"))
    again = RunFolder(run.folder).run.levels[0]
    assert [one.to_json() for one in again.workers] == [one.to_json() for one in level.workers]
    assert [one.verdict for one in again.workers] == [one.verdict for one in level.workers]


async def test_conversations_go_on_where_they_began(receiver, tmp_path):
    workload = Conversation(turns=3, input_tokens=20, output_tokens=4, think_time=0.01, seed=3)
    run = await machine(
        receiver.base_url, tmp_path, workload, workers=2, concurrency=(4,), requests=36
    )()
    (level,) = run.levels
    assert level.ok == level.scheduled == 36
    turns = {}
    for row in rows_of(run.folder):
        turns.setdefault(row["session"], set()).add(row["worker"])
    assert all(len(workers) == 1 for workers in turns.values())
    assert {next(iter(workers)) for workers in turns.values()} == {"1", "2"}
    assert level.sessions.begun > 4
    assert {(group.by, group.value) for group in level.groups} >= {("turn", "1"), ("turn", "3")}
    assert level.prefix_cache.ideal > 0


async def test_what_the_user_wants_kept_is_kept(receiver, tmp_path):
    settings = {**CLOSED, "save_text": True, "save_events": True}
    run = await machine(receiver.base_url, tmp_path, workers=2, **settings)()
    rows = {row["request_id"]: row for row in rows_of(run.folder)}
    texts = [json.loads(line) for line in (run.folder / "texts.jsonl").open()]
    events = [json.loads(line) for line in (run.folder / "events.jsonl").open()]
    whole = {one["request_id"]: one["text"] for one in texts}
    ok = {name for name, row in rows.items() if row["outcome"] == "ok"}
    assert len(ok) >= 90
    assert {whole[name] for name in ok} == {"x x x x "}
    assert len(events) == len(rows)
    assert all(len(one["stamps_ns"]) <= 4 for one in events)


async def test_what_a_worker_cannot_do_is_said_as_by_one_process(receiver, tmp_path, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    climbing = machine(receiver.base_url, tmp_path, workers=2, concurrency=(60,), requests=60)
    monkeypatch.setattr("benchcore.climbs.climb.ensure_descriptors", lambda _count: None)
    started = Crew.start

    async def start(self, folder):
        await started(self, folder)
        for worker in self.workers:
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (60, 60))

    monkeypatch.setattr(Crew, "start", start)
    with pytest.raises(CapacityError, match="open files"):
        await climbing()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
    assert not any(runs(one.pid) for one in climbing._crew.workers)


async def test_an_interrupt_keeps_what_was_measured(receiver_with, tmp_path):
    receiver = receiver_with(token_seconds=0.01)
    climbing = machine(
        receiver.base_url, tmp_path, workers=2, concurrency=(4,), duration_seconds=60.0
    )
    task = asyncio.ensure_future(climbing())
    while len(receiver.ended) < 40:
        await asyncio.sleep(0.01)
    climbing.interrupt()
    run = await task
    (level,) = run.levels
    assert run.status == "interrupted"
    assert level.interrupted
    assert level.ok >= 10
    assert sum(level.outcomes.values()) == level.scheduled
    assert not any(reason.startswith(("worker", "counts")) for reason in level.reasons)


async def test_a_server_that_goes_ends_the_climb(receiver_with, tmp_path):
    receiver = receiver_with(token_seconds=0.01)
    climbing = machine(
        receiver.base_url, tmp_path, workers=2, concurrency=(4,), duration_seconds=60.0
    )
    task = asyncio.ensure_future(climbing())
    while len(receiver.ended) < 30:
        await asyncio.sleep(0.01)
    receiver.close_at_once()
    run = await task
    assert run.stopped == "target gone"
    assert run.levels[0].ok >= 10


class Hostless:
    """A workload that no other process can make."""

    name = "hostless"

    def __init__(self):
        self.make = lambda index: benchcore.Prompt(text=f"prompt {index}", output_tokens=2)

    async def prepare(self, counter):
        pass

    def prompt(self, index, *path):
        return self.make(index)

    def describe(self):
        return {"name": self.name, "kind": "hostless"}


async def test_a_workload_of_this_process_alone_is_refused(receiver, tmp_path):
    climbing = machine(receiver.base_url, tmp_path, Hostless(), workers=2, **CLOSED)
    with pytest.raises(ConfigError, match="cannot be sent to another process") as refused:
        await climbing()
    assert "use one worker" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_target_that_was_never_there_leaves_no_process(tmp_path, unused_tcp_port):
    climbing = machine(f"http://127.0.0.1:{unused_tcp_port}", tmp_path, workers=2, **CLOSED)
    with pytest.raises(TargetError):
        await climbing()
    assert not any(runs(one.pid) for one in climbing._crew.workers)


# Processes that are killed.


def runs(pid):
    """Whether a process runs: one that has ended may wait for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def lost_requests(receiver, rows, *, probes):
    """Requests that had ended, since their connection has carried another, and have no row."""
    known = {row["request_id"] for row in rows} | probes
    return [
        one for asked in receiver.connections.values() for one in asked[:-1] if one not in known
    ]


async def kill_a_worker(receiver, folder, draw, **settings):
    climbing = machine(receiver.base_url, folder, workers=3, **settings)
    task = asyncio.ensure_future(climbing())
    while climbing._running is None and not task.done():
        await asyncio.sleep(0.001)
    probes = set(receiver.ended)
    begun = len(receiver.ended)
    wanted = begun + draw.randrange(1, 60)
    while len(receiver.ended) < wanted and not task.done():
        await asyncio.sleep(0.001)
    await asyncio.sleep(draw.random() * 0.02)
    crew = climbing._crew.workers
    victim = draw.choice(crew)
    os.kill(victim.pid, signal.SIGKILL)
    run = await task
    (level,) = run.levels
    rows = rows_of(run.folder)
    assert (run.status, run.stopped) == ("failed", WORKER_LOST)
    assert level.verdict == "invalid"
    died = f"worker: worker {victim.number}: it died (killed by SIGKILL) with "
    assert level.reasons[0].startswith(died)
    assert sum(level.outcomes.values()) == level.scheduled
    assert not any(reason.startswith(("counts", "little")) for reason in level.reasons)
    assert level.client["little_error"] is None
    cut = [row for row in rows if row["error"] == "its worker died (killed by SIGKILL)"]
    assert {row["worker"] for row in cut} <= {str(victim.number)}
    on_their_way = int(level.reasons[0].removeprefix(died).split()[0])
    assert len(cut) == on_their_way
    untold = receiver.bodies.keys() - {row["request_id"] for row in rows} - probes
    assert len(untold) <= on_their_way
    window = Counter(row["outcome"] for row in rows if row["stage"] == "window")
    assert window == level.outcomes
    assert lost_requests(receiver, rows, probes=probes) == []
    assert len({row["index"] for row in rows}) == len(rows)
    assert not any(runs(one.pid) for one in crew)
    return run


FORMS = [
    pytest.param({"rate": (150,), "warmup_seconds": 0.1, "duration_seconds": 60.0}, id="open"),
    pytest.param({"concurrency": (9,), "duration_seconds": 60.0}, id="closed"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_worker_that_is_killed_loses_what_was_open(receiver_with, tmp_path, form, seed):
    receiver = receiver_with(token_seconds=0.003)
    await kill_a_worker(receiver, tmp_path, random.Random(seed), **form)


async def test_a_worker_that_is_never_ready_is_killed_after_an_interrupt(
    receiver, tmp_path, monkeypatch
):
    monkeypatch.setattr(dealt_run, "LATE_SECONDS", 0.3)
    started = Crew.start

    async def start(self, folder):
        await started(self, folder)
        os.kill(self.workers[1].pid, signal.SIGSTOP)

    monkeypatch.setattr(Crew, "start", start)
    climbing = machine(receiver.base_url, tmp_path, workers=2, **CLOSED)
    task = asyncio.ensure_future(climbing())
    while climbing._running is None or not any(
        shard.ready for shard in climbing._running._shards.values()
    ):
        await asyncio.sleep(0.01)
    climbing.interrupt()
    run = await task
    (level,) = run.levels
    assert level.reasons[0].startswith("worker: worker 2: it died (killed by SIGKILL)")
    assert (level.scheduled, run.stopped) == (0, WORKER_LOST)


async def test_a_worker_that_does_not_end_is_killed(receiver, tmp_path, monkeypatch):
    monkeypatch.setattr(dealt_run, "LATE_SECONDS", 0.3)
    climbing = machine(
        receiver.base_url, tmp_path, workers=2, concurrency=(4,), duration_seconds=60.0
    )
    task = asyncio.ensure_future(climbing())
    while len(receiver.ended) < 60:
        await asyncio.sleep(0.01)
    os.kill(climbing._crew.workers[1].pid, signal.SIGSTOP)
    climbing.interrupt()
    run = await task
    (level,) = run.levels
    assert level.verdict == "invalid"
    assert level.reasons[0].startswith("worker: worker 2: it died (killed by SIGKILL)")
    assert sum(level.outcomes.values()) == level.scheduled
    assert level.ok > 10


@pytest.mark.full
@pytest.mark.parametrize("form", FORMS)
async def test_fifty_workers_are_killed(receiver_with, tmp_path, form):
    for seed in range(50):
        receiver = receiver_with(token_seconds=0.003)
        await kill_a_worker(receiver, tmp_path / str(seed), random.Random(seed), **form)
        receiver.close_at_once()


def kill_the_driver(benchcore_command, receiver, folder, draw):
    """Kill a climb in the middle of a level; its workers end by themselves."""
    command = benchcore_command(
        *("climb", "--base-url", receiver.base_url, "--workers", 2, "--concurrency", 8),
        *("--duration", "60s", "--idle", "0s", "--input-tokens", 16, "--output-tokens", 4),
        *("--output", folder, "--no-progress", "--seed", 1),
    )
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wanted = len(receiver.ended) + draw.randrange(60, 200)
        while len(receiver.ended) < wanted:
            assert driver.poll() is None
            time.sleep(0.005)
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
    finally:
        killed = time.monotonic()
        driver.kill()
    said = driver.communicate()[1].decode()  # to its end: the workers hold it too
    assert len(children) == 2
    while any(runs(pid) for pid in children):
        assert time.monotonic() < killed + 5
        time.sleep(0.01)
    (run,) = folder.iterdir()
    rows = rows_of(run)
    for number in (1, 2):
        kept = run / f"requests-worker{number}.csv"
        rows += rows_of(run, kept.name)
        assert f"benchcore: worker {number}: the process that started it has gone during c8" in said
        assert str(kept) in said
    # Before the load there was one connection, and each of the workers has four.
    firsts = [asked[0] for asked in receiver.connections.values()]
    assert len(firsts) >= 9
    probes = set(receiver.connections[next(iter(receiver.connections))])
    assert lost_requests(receiver, rows, probes=probes) == []
    assert RunFolder(run).run.status == "running"


@pytest.fixture
def cli(request):
    """The command line; its fixture has the name of the module."""
    return request.getfixturevalue("benchcore")


def test_a_driver_that_is_killed_loses_what_was_open(cli, receiver_with, tmp_path):
    receiver = receiver_with(token_seconds=0.003)
    kill_the_driver(cli.command, receiver, tmp_path / "runs", random.Random(1))


@pytest.mark.full
def test_twenty_drivers_are_killed(cli, receiver_with, tmp_path):
    for seed in range(20):
        receiver = receiver_with(token_seconds=0.003)
        kill_the_driver(cli.command, receiver, tmp_path / str(seed), random.Random(seed))
        receiver.close_at_once()
