from __future__ import annotations

import asyncio
import sys
import time

import pytest

from benchcore.sim.pacing import LoopAlarm, TimerfdAlarm, alarm

ALARMS = [LoopAlarm] + ([TimerfdAlarm] if sys.platform == "linux" else [])


@pytest.mark.parametrize("kind", ALARMS)
async def test_an_alarm_rings_once_at_its_time_and_again_when_set_again(kind):
    rang: asyncio.Queue[int] = asyncio.Queue()
    clock = kind(lambda: rang.put_nowait(time.monotonic_ns()))
    for delay_ns in (5_000_000, 0, 2_000_000):
        due = time.monotonic_ns() + delay_ns
        clock.set(due)
        at = await asyncio.wait_for(rang.get(), 5)
        assert at > due - 1_100_000  # loops round to milliseconds
    assert rang.empty()
    clock.close()


@pytest.mark.parametrize("kind", ALARMS)
async def test_a_closed_alarm_is_silent(kind):
    rang = []
    clock = kind(lambda: rang.append(1))
    clock.set(time.monotonic_ns() + 1_000_000)
    clock.close()
    await asyncio.sleep(0.005)
    assert rang == []


@pytest.mark.skipif(sys.platform != "linux", reason="timer descriptors are Linux's")
async def test_a_timer_descriptor_is_never_early():
    rang: asyncio.Queue[int] = asyncio.Queue()
    clock = TimerfdAlarm(lambda: rang.put_nowait(time.monotonic_ns()))
    for _ in range(20):
        due = time.monotonic_ns() + 1_234_567
        clock.set(due)
        assert await asyncio.wait_for(rang.get(), 5) >= due
    clock.close()


async def test_the_platform_s_finest_alarm_is_taken():
    clock = alarm(lambda: None)
    assert isinstance(clock, ALARMS[-1])
    clock.close()
