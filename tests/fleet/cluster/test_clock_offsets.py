"""Hosts whose clocks are elsewhere: found within what is said of them, and seen in no figure."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchcore
from benchcore.fleet.dask_crew import DaskCrew

MS = 1_000_000
DAY = 86_400 * 10**9
PLANTED = {"127.0.0.2": 50 * MS, "127.0.0.3": 7 * DAY - 50 * MS}

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def _time_namespaces():
    command = [sys.executable, str(Path(__file__).with_name("elsewhere.py")), "1", "true"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine has no time namespaces for us")


@pytest.fixture
def shifted(cluster_with):
    """Two hosts, one 50 ms ahead of us, the other days."""
    return cluster_with(*((host, 1, ahead_ns) for host, ahead_ns in PLANTED.items()))


async def offsets(address):
    """Return by host what a crew knows of its clock."""
    crew = DaskCrew(address)
    try:
        await crew.start(None)
        return {
            worker.address.split("/")[2].split(":")[0]: (worker.offset, crew.start_ahead_ns)
            for worker in crew.workers
        }
    finally:
        await crew.close()


async def test_planted_offsets_are_found_within_their_stated_uncertainty(shifted):
    found = await offsets(shifted.address)
    assert found.keys() == PLANTED.keys()
    for host, (offset, ahead_ns) in found.items():
        assert abs(offset.ns - PLANTED[host]) <= offset.uncertainty_ns
        assert offset.uncertainty_ns < 25 * MS  # else 50 ms would be no test
        assert ahead_ns > 50 * MS + 2 * offset.uncertainty_ns


async def test_a_level_of_hosts_with_other_clocks_is_on_our_timeline(receiver, shifted):
    before_ns = time.perf_counter_ns()
    run = await benchcore.climb(
        receiver.base_url,
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=8, seed=3),
        seed=3,
        rate=(50,),
        requests=50,
        arrival="constant",
        warmup_requests=0,
        fleet=shifted.address,
    )
    level = run.levels[0]
    assert level.ok == 50
    facts = {one.worker: one for one in level.workers}
    spread = level.records[0].scheduled_ns - level.start_ns
    assert sorted(one.scheduled_ns - level.start_ns for one in level.records) == [
        spread + place * 20 * MS for place in range(50)
    ]
    for record in level.records:
        doubt_ns = math.ceil(facts[record.worker].clock_uncertainty_seconds * 1e9)
        assert doubt_ns < 25 * MS
        # What the receiver has seen, by our clock, lies between what the worker has, by its own.
        came_ns = receiver.begun[record.request_id]
        assert record.sent_ns - doubt_ns <= came_ns <= record.first_token_ns + doubt_ns
        assert before_ns < record.scheduled_ns <= record.sent_ns < record.first_token_ns
        assert record.first_token_ns <= record.last_token_ns <= record.done_ns
        assert record.first_token_ns <= record.stamps[0] <= record.stamps[-1] <= record.done_ns
    lags = [one.sent_ns - one.scheduled_ns for one in level.records]
    assert sorted(lags)[len(lags) // 2] < 20 * MS
    seconds = [row.second for row in level.rows]
    assert seconds == list(range(len(seconds)))
    assert sum(row.sent for row in level.rows) >= 50


async def test_the_shards_of_hosts_with_other_clocks_begin_when_the_schedule_says(
    receiver, shifted
):
    run = await benchcore.climb(
        receiver.base_url,
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=2, seed=4),
        seed=4,
        rate=(100,),
        requests=60,
        arrival="constant",
        warmup_requests=0,
        fleet=shifted.address,
    )
    level = run.levels[0]
    doubt_ns = {one.worker: one.clock_uncertainty_seconds * 1e9 for one in level.workers}
    by_shard = {worker: [] for worker in doubt_ns}
    # By the schedule alone, on our clock: in turns, from the common start on.
    for record in level.records:
        planned_ns = level.start_ns + record.index * 10 * MS
        assert record.worker == 1 + record.index % 2
        late_ns = receiver.begun[record.request_id] - planned_ns
        # How late it left, and at most how long it was on its way, each by its host's clock.
        lag_ns = record.first_token_ns - record.scheduled_ns
        by_shard[record.worker].append((late_ns, lag_ns))
    assert by_shard.keys() == {1, 2}
    firsts = []
    for worker, arrivals in by_shard.items():
        for late_ns, lag_ns in arrivals:
            assert -doubt_ns[worker] <= late_ns <= lag_ns + doubt_ns[worker]
        # Else 50 ms would be no test.
        assert doubt_ns[worker] + min(lag for _, lag in arrivals) < 50 * MS
        firsts.append(arrivals[0])
    (one_late, one_lag), (two_late, two_lag) = firsts
    assert abs(one_late - two_late) <= max(one_lag, two_lag) + sum(doubt_ns.values())
