import asyncio
import time

from benchcore.observe.machine import PERIOD_NS, Heartbeat


async def until(condition):
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_a_beat_notes_how_late_the_loop_was():
    beat = Heartbeat(asyncio.get_running_loop())
    beat.start()
    time.sleep(0.03)  # the loop is busy
    await until(lambda: len(beat.lags) >= 1)
    # 30 ms, less the period of 5 and what a timer may be late.
    assert beat.lags[0] >= 23_000_000
    beat.stop()


async def test_it_beats_on_until_it_is_stopped_and_is_never_early():
    beat = Heartbeat(asyncio.get_running_loop())
    begun = time.perf_counter_ns()
    beat.start()
    await until(lambda: len(beat.lags) >= 3)
    beat.stop()
    beat.stop()
    count = len(beat.lags)
    assert time.perf_counter_ns() - begun >= 3 * (PERIOD_NS - 1_000_000)
    assert min(beat.lags) >= 0
    await asyncio.sleep(0.012)
    assert len(beat.lags) == count
