"""A fleet sends what one process sends, at the same intended times, and says where from."""

import asyncio
import time
from collections import Counter

import pytest

import benchcore

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OPEN = {"rate": (60,), "requests": 60, "warmup_requests": 0, "arrival": "poisson"}
CLOSED = {"concurrency": (6,), "requests": 60, "warmup_requests": 12}


async def climb(receiver, **options):
    asks = benchcore.Synthetic(input_tokens=16, output_tokens="uniform:2:8", seed=7)
    return await benchcore.climb(receiver.base_url, workload=asks, seed=7, **options)


def bodies(level, receiver):
    """Return what the receiver was asked by the requests that were measured."""
    return Counter(receiver.bodies[record.request_id] for record in level.records)


def intended(level):
    return sorted(record.scheduled_ns - level.start_ns for record in level.records)


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_a_fleet_of_two_hosts_sends_what_one_process_sends(receiver_with, hosts, workers):
    alone, together = receiver_with(), receiver_with()
    one = (await climb(alone, **OPEN)).levels[0]
    many = (await climb(together, **OPEN, fleet=hosts.address, workers=workers)).levels[0]
    assert bodies(many, together) == bodies(one, alone)
    assert intended(many) == intended(one)
    assert many.ok == one.ok == 60
    assert many.tokens == one.tokens


async def test_users_are_shared_out_and_none_is_lost(receiver, hosts):
    level = (await climb(receiver, **CLOSED, fleet=hosts.address)).levels[0]
    assert level.ok == level.scheduled == 60
    assert {record.worker for record in level.records} == {1, 2, 3, 4}
    assert [facts.worker for facts in level.workers] == [1, 2, 3, 4]
    addresses = [facts.address.rpartition(":")[0] for facts in level.workers]
    assert addresses == ["tcp://127.0.0.2", "tcp://127.0.0.3"] * 2
    assert all(0 < facts.clock_uncertainty_seconds < 1 for facts in level.workers)
    # Nothing is left on the hosts.
    assert not hosts.processes()
    assert not list(hosts.tmp.glob("benchcore-fleet-*"))


async def test_levels_follow_one_another(receiver, hosts):
    run = await climb(receiver, concurrency=(1, 2, 4), requests=40, fleet=hosts.address, workers=2)
    assert [level.ok for level in run.levels] == [40, 40, 40]
    assert [len(level.records) for level in run.levels] == [40, 40, 40]
    assert [{record.worker for record in level.records} for level in run.levels] == [
        {1},
        {1, 2},
        {1, 2},
    ]


async def test_an_interrupt_ends_a_fleets_level_and_keeps_what_was_measured(receiver, hosts):
    from benchcore.climbs.climb import Climb
    from benchcore.climbs.plan import Part
    from benchcore.workload.synthetic import Synthetic

    config = benchcore.ClimbConfig(
        concurrency=(4,), duration_seconds=120, warmup_requests=0, fleet=hosts.address, workers=2
    )
    climb = Climb(benchcore.Target(receiver.base_url), [Part("", Synthetic(seed=1), config)])
    task = asyncio.create_task(climb())
    while len(receiver.ended) < 40:
        await asyncio.sleep(0.02)
    at_ns = time.perf_counter_ns()
    climb.interrupt()
    run = await task
    level = run.levels[0]
    assert run.status == "interrupted"
    assert level.scheduled == level.ok + level.failed + level.cancelled >= 30  # the probe sent some
    assert max(record.scheduled_ns for record in level.records) < at_ns + 1_000_000_000
