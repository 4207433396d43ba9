import asyncio
import os
import sys
import time

import pytest
import uvloop

from benchcore.base import clock as clock_module
from benchcore.base.clock import NS, FakeClock, LoopClock, wait_awake


def test_a_fake_clock_stands_still_until_it_is_moved():
    clock = FakeClock(7)
    assert clock.now_ns() == 7
    clock.advance(3)
    assert clock.now_ns() == 10
    clock.advance_to(4)
    assert clock.now_ns() == 10


def test_a_fake_clock_runs_calls_at_their_instants_in_order_of_time_then_of_asking():
    clock = FakeClock()
    seen = []
    for name, at_ns in (("late", 30), ("first", 10), ("second", 10), ("past", -5)):
        clock.call_at(at_ns, lambda name=name: seen.append((name, clock.now_ns())))
    clock.advance_to(29)
    assert seen == [("past", 0), ("first", 10), ("second", 10)]
    assert clock.pending == 1
    clock.advance_to(30)
    assert seen[3:] == [("late", 30)]


def test_a_fake_clock_runs_what_a_call_asks_for_on_the_way():
    clock = FakeClock()
    seen = []

    def again():
        seen.append(clock.now_ns())
        if clock.now_ns() < 50:
            clock.call_at(clock.now_ns() + 10, again)

    clock.call_at(10, again)
    clock.advance_to(100)
    assert seen == [10, 20, 30, 40, 50]


def test_a_call_that_was_taken_back_does_not_run():
    clock = FakeClock()
    timer = clock.call_at(10, lambda: pytest.fail("ran"))
    assert clock.pending == 1
    timer.cancel()
    timer.cancel()
    assert clock.pending == 0
    clock.advance_to(20)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("exact", [True, False])
def test_a_real_clock_calls_never_early_and_not_after_it_was_taken_back(new_loop, exact):
    async def measure():
        clock = LoopClock(exact=exact)
        assert clock.exact == (exact and sys.platform == "linux")
        early = []
        done = asyncio.Event()
        # uvloop rounds 1.4 ms down to one: without a second look these come early.
        plans = [clock.now_ns() + n * 1_400_000 + 300_000 for n in range(1, 20)]
        for when_ns in plans:
            clock.call_at(when_ns, lambda at=when_ns: early.append(time.perf_counter_ns() - at))
        clock.call_at(plans[5], lambda: pytest.fail("ran")).cancel()
        clock.call_at(plans[-1] + 1_000_000, done.set)
        await done.wait()
        clock.close()
        return early

    loop = new_loop()
    try:
        lateness = loop.run_until_complete(measure())
    finally:
        loop.close()
    assert len(lateness) == 19
    assert min(lateness) >= 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's timer is Linux's")
async def test_with_a_lead_the_last_moment_is_waited_for_awake(monkeypatch):
    waited, armed = [], []
    monkeypatch.setattr(
        clock_module, "wait_awake", lambda until_ns: (waited.append(until_ns), wait_awake(until_ns))
    )
    clock = LoopClock(lead_ns=20_000_000)
    arm = clock._timer.arm
    monkeypatch.setattr(clock._timer, "arm", lambda at_ns: (armed.append(at_ns), arm(at_ns)))
    over = asyncio.get_running_loop().create_future()
    when_ns = clock.now_ns() + 40_000_000
    clock.call_at(when_ns, lambda: over.set_result(clock.now_ns()))
    called_ns = await over
    clock.close()
    assert armed[0] == when_ns - 20_000_000
    assert waited in ([when_ns], [])  # empty: the machine has slept through all of the lead
    assert called_ns >= when_ns


async def test_calls_come_in_the_order_of_their_instants_whatever_is_asked_in_between():
    clock = LoopClock()
    begin_ns = clock.now_ns()
    seen, done = [], asyncio.Event()
    for number in (5, 1, 4, 2, 3, 2):
        clock.call_at(begin_ns + number * 60_000_000, lambda number=number: seen.append(number))
    taken_back = clock.call_at(begin_ns + 50_000_000, lambda: pytest.fail("ran"))

    def first():
        taken_back.cancel()
        clock.call_at(begin_ns - 1, lambda: seen.append("past"))
        clock.call_at(begin_ns + 200_000_000, lambda: seen.append("200 ms"))

    clock.call_at(begin_ns + 20_000_000, first)
    clock.call_at(begin_ns + 320_000_000, done.set)
    await done.wait()
    clock.close()
    assert seen == ["past", 1, 2, 2, 3, "200 ms", 4, 5]


async def test_a_clock_gives_its_descriptor_back_and_calls_no_more():
    loop = asyncio.get_running_loop()
    before = len(os.listdir("/proc/self/fd"))
    clock, other = LoopClock(), LoopClock()
    clock.call_at(clock.now_ns() + 1_000_000, lambda: pytest.fail("ran"))
    clock.close()
    clock.close()
    over = loop.create_future()
    other.call_at(other.now_ns() + 3_000_000, lambda: over.set_result(None))
    await over
    other.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_call_may_close_its_clock():
    clock, over = LoopClock(), asyncio.get_running_loop().create_future()
    clock.call_at(1, lambda: (clock.close(), over.set_result(None)))
    await over
    assert not clock.exact


async def test_a_real_clock_reads_the_monotonic_clock_in_nanoseconds():
    before = time.perf_counter_ns()
    now = LoopClock(asyncio.get_running_loop()).now_ns()
    assert before <= now <= time.perf_counter_ns()
    assert NS == 10**9
