import gc
import time
from dataclasses import replace

import pytest

from benchcore.observe import machine as meter
from benchcore.observe.machine import CollectorWatch, Mark, mark, spent

SECOND = 10**9
BEFORE = Mark(5 * SECOND, SECOND, 2 * SECOND, (10, 1000), 500_000, 7 * SECOND)
AFTER = Mark(9 * SECOND, 3 * SECOND, 5 * SECOND, (30, 1400), 700_000, 8 * SECOND)


def test_what_was_spent_lies_between_two_marks():
    found = spent(BEFORE, AFTER, [2_000_000, 7_000_000])
    assert found.cpu_share == 0.5
    assert found.process_cpu_seconds == 3.0
    assert found.steal_share == 20 / 400
    assert found.throttled_share == pytest.approx(0.05)
    assert found.run_delay_share == 0.25
    assert found.collector_seconds == pytest.approx(0.007)


@pytest.mark.parametrize("place", ["before", "after"])
def test_what_the_machine_does_not_say_is_unknown(place):
    marks = {"before": BEFORE, "after": AFTER}
    marks[place] = replace(marks[place], jiffies=None, throttled_us=None, run_delay_ns=None)
    found = spent(marks["before"], marks["after"], [])
    assert found.steal_share is None
    assert found.throttled_share is None
    assert found.run_delay_share is None
    assert found.collector_seconds == 0.0


def test_two_marks_at_once_divide_by_nothing():
    found = spent(BEFORE, BEFORE, [])
    assert (found.cpu_share, found.steal_share) == (0.0, None)


def test_a_mark_reads_the_machines_counters(tmp_path, monkeypatch):
    stat, cgroup, sched = tmp_path / "stat", tmp_path / "cpu.stat", tmp_path / "schedstat"
    stat.write_text("cpu  10 20 30 40 50 60 70 80 999 999\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    cgroup.write_text("usage_usec 5\nnr_throttled 2\nthrottled_usec 1234\n")
    sched.write_text("111 222 3\n")
    monkeypatch.setattr(meter, "_SCHEDSTAT", sched)
    monkeypatch.setattr(meter, "_STAT", stat)
    monkeypatch.setattr(meter, "_CGROUP", cgroup)
    found = mark()
    # Guest time is part of user time and counts once.
    assert found.jiffies == (80, 360)
    assert found.throttled_us == 1234
    assert found.run_delay_ns == 222
    cgroup.write_text("usage_usec 5\n")
    assert mark().throttled_us is None
    monkeypatch.setattr(meter, "_STAT", tmp_path / "none")
    monkeypatch.setattr(meter, "_CGROUP", tmp_path / "none")
    monkeypatch.setattr(meter, "_SCHEDSTAT", tmp_path / "none")
    found = mark()
    assert (found.jiffies, found.throttled_us, found.run_delay_ns) == (None, None, None)


def test_work_between_two_marks_shows():
    before = mark()
    end = time.thread_time_ns() + 5_000_000
    while time.thread_time_ns() < end:
        pass
    found = spent(before, mark(), [])
    assert 0 < found.cpu_share <= 1.1
    assert found.process_cpu_seconds >= 0.005


def test_a_watch_notes_each_pause_of_the_collector_while_it_is_on():
    pauses = []
    known = list(gc.callbacks)
    with CollectorWatch(pauses):
        gc.collect()
        gc.collect(0)
    gc.collect()
    assert len(pauses) == 2
    assert all(pause > 0 for pause in pauses)
    assert gc.callbacks == known
