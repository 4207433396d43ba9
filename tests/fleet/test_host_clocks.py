"""Offsets by round trips, and what of a record is an instant."""

import random
from array import array
from dataclasses import fields

import pytest

from benchcore.client.records import Outcome, Record
from benchcore.fleet.clocks import DRIFT, INSTANTS, HostClock, RoundTrip, moved
from benchcore.fleet.shard_log import Begun, Closed, Ended
from benchcore.load.level_plan import Stage
from benchcore.metrics.spool import unpacked
from benchcore.metrics.throughput import Second

US = 1_000
MS = 1_000_000
NS = 1_000_000_000


def trip(sent_ns, ahead_ns, there_ns, back_ns, waits_ns=0):
    """Return a round trip to a clock that is ahead, its two ways as long as they are."""
    came = sent_ns + there_ns
    left = came + waits_ns
    return RoundTrip(sent_ns, came + ahead_ns, left + ahead_ns, left + back_ns)


def test_a_trip_of_equal_ways_gives_the_offset_itself():
    one = trip(5, 50 * MS, 300 * US, 300 * US, waits_ns=7 * MS)
    assert (one.offset_ns, one.delay_ns) == (50 * MS, 600 * US)


@pytest.mark.parametrize("ahead_ns", [50 * MS, -50 * MS, 90_000 * NS])
def test_the_offset_is_never_further_off_than_its_uncertainty(ahead_ns):
    draws = random.Random(ahead_ns)
    clock, now_ns = HostClock(), 10**12
    for _ in range(2000):
        now_ns += draws.randrange(100 * MS)
        ways = [100 * US + round(draws.expovariate(1 / MS)) for _ in range(2)]
        clock.add(trip(now_ns, ahead_ns, *ways))
        now_ns += sum(ways)
        offset = clock.offset(now_ns)
        assert abs(offset.ns - ahead_ns) <= offset.uncertainty_ns
    assert offset.uncertainty_ns < MS


def test_the_shortest_trip_is_believed_until_drift_may_have_made_it_worse():
    clock = HostClock()
    clock.add(trip(0, 0, 1 * MS, 1 * MS))
    clock.add(trip(10 * MS, 0, 100 * US, 100 * US))
    clock.add(trip(20 * MS, 0, 9 * MS, 1 * MS))
    assert clock.offset(10 * MS + 200 * US).ns == 0
    assert clock.offset(10 * MS + 200 * US).uncertainty_ns == 100 * US + 1
    assert clock.offset(1010 * MS + 200 * US).uncertainty_ns == 100 * US + 1 + DRIFT * NS
    # Five milliseconds are made good by drift after 49 s and more.
    clock.add(trip(40 * NS, 7 * MS, 5 * MS, 5 * MS))
    assert clock.offset(41 * NS).ns == 0
    clock.add(trip(60 * NS, 7 * MS, 5 * MS, 5 * MS))
    assert clock.offset(61 * NS).ns == 7 * MS


def test_a_drifting_clock_is_followed():
    draws, clock, now_ns = random.Random(1), HostClock(), 0
    for _ in range(3000):
        now_ns += 50 * MS
        ahead_ns = round(now_ns * 5e-5)
        clock.add(trip(now_ns, ahead_ns, *(100 * US + draws.randrange(MS) for _ in range(2))))
        offset = clock.offset(now_ns + 3 * MS)
        assert abs(offset.ns - round((now_ns + 3 * MS) * 5e-5)) <= offset.uncertainty_ns
        assert offset.uncertainty_ns < 2 * MS


def test_each_time_of_a_record_is_an_instant_or_known_as_a_length():
    times = {one.name for one in fields(Record) if one.name.endswith("_ns")}
    assert times - set(INSTANTS) == {"connect_ns", "tail_ns", "read_lag_ns", "rtt_ns"}


def test_a_record_is_moved_whole_and_its_latencies_stay():
    record = Record("r", 100, 3, Outcome.OK, sent_ns=120, first_token_ns=150, done_ns=200)
    record.connect_ns, record.stamps = 7, array("q", [150, 190])
    entry = moved(Ended(record, Stage.WINDOW, b"as it was"), -90)
    assert isinstance(entry, Ended)
    assert entry.record is record
    assert (record.scheduled_ns, record.sent_ns, record.first_token_ns) == (10, 30, 60)
    assert (record.done_ns, record.connect_ns, record.send_end_ns) == (110, 7, 0)
    assert list(record.stamps) == [60, 100]
    # What it came as is no longer what it is.
    assert unpacked(entry.data) == record
    assert moved(Begun(1, 100, Stage.WINDOW), 5) == Begun(1, 105, Stage.WINDOW)
    closed = Closed(2, 1.5, Second())
    assert moved(closed, 5) is closed
