"""Housekeeping of a level, with records and times that are made up: there is no client."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.clock import NS
from benchcore.client.records import Outcome, Record
from benchcore.climbs.housekeeping import Housekeeping, slice_of
from benchcore.load.closed_loop import InFlight
from benchcore.load.level_plan import Stage

START = 10 * NS
MS = NS // 1000


class Sinks:
    """Keeps what it is told, in order."""

    def __init__(self):
        self.seconds = []
        self.flushes = 0

    def second(self, head, row):
        assert (head.level, head.repeat, head.start_ns) == ("c4", 2, START)
        self.seconds.append(row)

    def flush(self):
        self.flushes += 1


class Tally:
    def __init__(self):
        self.rows = []
        self.slices = 0

    def write(self, rows):
        self.rows += rows

    def slice(self):
        self.slices += 1


class SoFar:
    def __init__(self):
        self.noted = []

    def note(self, record):
        self.noted.append(record)


class House:
    """A level's housekeeping with all that it talks to."""

    def __init__(self, **options):
        self.sinks, self.tally, self.so_far = Sinks(), Tally(), SoFar()
        self.in_flight = InFlight(START)
        self.on_the_way = []
        self.boundaries = 0
        self.house = Housekeeping(
            "c4",
            2,
            sinks=self.sinks,
            tally=self.tally,
            so_far=self.so_far,
            on_the_way=lambda: [lambda one=one: one for one in self.on_the_way],
            at_boundary=self.note_boundary,
            **options,
        )
        self.house.begin(START, self.in_flight)

    def note_boundary(self):
        self.boundaries += 1

    def slices(self, now_ns, count):
        for _ in range(count):
            assert all(part is None for part in self.house.slice(now_ns))


def streamed(sent_ms, token_ms, *, outcome=Outcome.OK):
    """A request by when it was sent and when its tokens came, in ms from the level's start."""
    record = Record(request_id=f"r{sent_ms}", index=0, scheduled_ns=START + sent_ms * MS)
    record.sent_ns = START + sent_ms * MS
    record.streamed = True
    record.stamps = array("q", [START + at * MS for at in token_ms])
    record.token_events = len(token_ms)
    if token_ms:
        record.first_token_ns, record.last_token_ns = record.stamps[0], record.stamps[-1]
    record.outcome = outcome
    record.done_ns = START + (token_ms[-1] if token_ms else sent_ms) * MS
    return record


@pytest.fixture
def level():
    return House()


def test_a_slice_grows_with_what_waits():
    assert [slice_of(24, waiting) for waiting in (0, 480, 500, 10_000)] == [24, 24, 25, 500]


def test_a_second_is_not_closed_before_it_is_over(level):
    level.house.ended(streamed(0, [100, 200]), Stage.WINDOW)
    level.slices(START + NS - 1, 100)
    assert (level.sinks.seconds, level.boundaries) == ([], 0)
    assert level.house.tokens_per_second is None
    assert [row.stage for row in level.tally.rows] == ["window"]


def test_a_second_is_closed_once_all_that_had_come_by_its_end_is_taken(level):
    growing = streamed(900, [950, 990], outcome=None)
    level.on_the_way = [growing]
    for _ in range(30):
        level.house.ended(streamed(0, [100, 200, 300]), Stage.WINDOW)
    level.slices(START + NS, 1)
    assert level.boundaries == 1
    assert len(level.tally.rows) == 24
    assert level.sinks.seconds == []
    # What ends from now on is of the next second, and does not hold this one up.
    for _ in range(1000):
        level.house.ended(streamed(1000, [1100]), Stage.WINDOW)
    level.slices(START + NS + MS, 12)
    (second,) = level.sinks.seconds
    assert (second.second, second.sent, second.done, second.tokens) == (0, 31, 30, 92)
    assert second.ttft_p50_seconds == pytest.approx(0.1)
    assert level.sinks.flushes == 1
    assert level.house.tokens_per_second == 92


@pytest.mark.parametrize(("on_the_way", "ended"), [(300, 50), (20, 300)])
def test_a_second_waits_for_more_than_one_slice_takes(level, on_the_way, ended):
    # Those on their way have gaps of 400 ms, those that have ended gaps of 10 ms.
    level.on_the_way = [streamed(0, [500, 900], outcome=None) for _ in range(on_the_way)]
    for _ in range(ended):
        level.house.ended(streamed(0, [100, 110]), Stage.WINDOW)
    slices = 0
    while not level.sinks.seconds:
        level.slices(START + NS, 1)
        slices += 1
        assert slices < 200
    (second,) = level.sinks.seconds
    every = on_the_way + ended
    assert (second.sent, second.done, second.tokens) == (every, ended, 2 * every)
    many, few = (0.4, 0.01) if on_the_way > ended else (0.01, 0.4)
    assert second.itl_p50_seconds == pytest.approx(many, rel=0.01)
    assert second.itl_p99_seconds == pytest.approx(max(many, few), rel=0.01)
    level.on_the_way = []
    level.slices(START + 2 * NS, 5)
    nothing = level.sinks.seconds[1]
    assert (nothing.sent, nothing.done, nothing.tokens, nothing.itl_p50_seconds) == (0, 0, 0, None)


def test_the_next_boundary_is_a_second_later_however_late_the_last_was_seen(level):
    level.slices(START + NS + NS // 2, 5)
    assert [row.second for row in level.sinks.seconds] == [0]
    assert level.boundaries == 1
    level.slices(START + 2 * NS, 5)
    assert [row.second for row in level.sinks.seconds] == [0, 1]


def test_what_ended_before_the_level_began_is_not_lost(level):
    early = House()
    early.house.ended(streamed(0, []), Stage.WARMUP)
    early.house.begin(START, early.in_flight)
    early.house.finish(START + NS)
    assert [row.stage for row in early.tally.rows] == ["warmup"]


def test_the_last_second_has_the_share_that_the_level_had_of_it(level):
    level.in_flight.change(START, 4)
    level.house.finish(START + 2 * NS + NS // 4)
    assert [row.second for row in level.sinks.seconds] == [0, 1, 2]
    assert [row.in_flight for row in level.sinks.seconds] == [4.0, 4.0, pytest.approx(4.0)]


@given(
    ends=st.lists(st.integers(0, 4999), max_size=300),
    pace=st.integers(1, 400),
)
def test_whatever_the_pace_every_request_and_token_is_counted_once(ends, pace):
    level = House()
    waiting = sorted(ends)
    for now_ms in range(0, 5000, pace):
        while waiting and waiting[0] <= now_ms:
            at = waiting.pop(0)
            level.house.ended(streamed(max(at - 20, 0), [max(at - 10, 0), at]), Stage.WINDOW)
        level.slices(START + now_ms * MS, 1)
    for at in waiting:
        level.house.ended(streamed(max(at - 20, 0), [max(at - 10, 0), at]), Stage.WINDOW)
    level.house.finish(START + 5 * NS)
    assert [row.second for row in level.house.rows] == [0, 1, 2, 3, 4]
    assert sum(row.done for row in level.house.rows) == len(ends)
    assert sum(row.tokens for row in level.house.rows) == 2 * len(ends)
    assert len(level.tally.rows) == len(level.so_far.noted) == len(ends)


def test_between_the_parts_of_a_slice_others_have_their_turn(level):
    level.on_the_way = [streamed(900, [950, 990], outcome=None)]
    for _ in range(24):
        level.house.ended(streamed(0, [100, 200, 300]), Stage.WINDOW)
    written = [len(level.tally.rows) for _ in level.house.slice(START + NS)]
    # The rows, and the arrivals they brought; with fewer rows at once there are more parts.
    assert written == [24, 24]
    few = House(rows_at_once=5)
    for _ in range(24):
        few.house.ended(streamed(0, [100, 200, 300]), Stage.WINDOW)
    written = [len(few.tally.rows) for _ in few.house.slice(START + NS)]
    assert written == [5, 10, 15, 20, 24, 24]
