"""A level of several workers on a fake clock, held against the same level of one."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchcore.client.records import Outcome
from benchcore.load.ensemble import Ensemble
from benchcore.load.level import Level
from benchcore.load.level_plan import LevelPlan, LevelRecords, Stage
from benchcore.workload.sessions import LiveSession, Share

MS = 1_000_000
SECOND = 1_000 * MS


class Dealt:
    """The levels of several workers on one clock; what they say takes its time to come."""

    def __init__(self, clock, new_sender, script, count, *, delay_ns=0, **plan):
        plan.setdefault("mode", "closed")
        self.clock = clock
        self.delay_ns = delay_ns
        self.plan = LevelPlan("c1", **plan)
        self.ensemble = Ensemble(self.plan, count, self._tell, open_ahead_ns=3 * MS)
        self.records = []
        self.begun = []
        self.over = [0] * count
        self.levels = []
        for place in range(count):
            sender = new_sender(clock, script)
            self._deal_sessions(sender, place, count)
            self.levels.append(
                Level(
                    self.plan.dealt(Share(place, count)),
                    clock,
                    sender,
                    on_over=lambda place=place: self._is_over(place),
                    on_record=lambda record, stage: self.records.append((record, stage)),
                    on_begin=lambda *begun: self.begun.append(begun),
                    conductor=Says(self, place),
                )
            )

    @staticmethod
    def _deal_sessions(sender, place, count):
        numbers = iter(range(place, 1 << 30, count))
        plain = sender.next

        def own():
            live = plain()
            return LiveSession(live.session, next(numbers))

        sender.next = own

    def later(self, call):
        if self.delay_ns:
            self.clock.call_at(self.clock.now_ns() + self.delay_ns, call)
        else:
            call()

    def _tell(self, place, name, *more):
        call = {"open": "open_at", "close": "close_at", "finish": "finish"}[name]
        self.later(lambda: getattr(self.levels[place], call)(*more))

    def _is_over(self, place):
        self.over[place] += 1
        self.heard("over", place)

    def heard(self, name, place, *more):
        def take():
            getattr(self.ensemble, name)(place, *more)
            self.ensemble.look(self.clock.now_ns())

        self.later(take)

    def run(self, limit_ns=1000 * SECOND):
        start_ns = self.clock.now_ns() + 10 * MS
        self.ensemble.begin(start_ns)
        for level in self.levels:
            self.clock.call_at(start_ns, lambda level=level: level.start(start_ns))
        end_ns = start_ns + limit_ns
        while not all(self.over) and self.clock.now_ns() < end_ns:
            self.clock.advance(MS)
            self.ensemble.look(self.clock.now_ns())
        assert self.over == [1] * len(self.levels)
        return self

    @property
    def merged(self):
        results = [level.result for level in self.levels]
        whole = LevelRecords(
            planned=0 if self.plan.mode == "open" else None,
            start_ns=results[0].start_ns,
            window_start_ns=results[0].window_start_ns,
            window_end_ns=results[0].window_end_ns,
        )
        for result in results:
            whole.add(result)
        return whole

    @property
    def measured(self):
        records = [record for record, stage in self.records if stage is Stage.WINDOW]
        return sorted(records, key=lambda record: record.index)


class Says:
    """What a level tells its conductor, once each."""

    def __init__(self, dealt, place):
        self.dealt, self.place, self.said = dealt, place, set()

    def _once(self, name, *more):
        if name not in self.said:
            self.said.add(name)
            self.dealt.heard(name, self.place, *more)

    def warm(self):
        self._once("warm")

    def filled(self, latest_ns):
        self._once("filled", latest_ns)

    def drained(self):
        self._once("drained")


@pytest.fixture(scope="session")
def dealt(new_clock, new_sender, script):
    def make(count, behaviour=None, **plan):
        return Dealt(new_clock(SECOND), new_sender, behaviour or script(5 * MS), count, **plan)

    return make


def sent(run):
    """By request of a single level: when it was planned, and where it belongs."""
    zero_ns = run.result.start_ns
    return {one.index: (one.scheduled_ns - zero_ns, stage) for one, stage in run.records}


SCHEDULES = st.lists(st.integers(0, 60), min_size=1, max_size=80).map(
    lambda gaps: [sum(gaps[: n + 1]) * MS for n in range(len(gaps))]
)


@given(
    schedule=SCHEDULES,
    count=st.integers(1, 5),
    warm_up=st.integers(0, 300),
    window=st.integers(1, 1500),
    delay=st.integers(0, 2),
    latency=st.integers(1, 40),
)
@settings(max_examples=settings().max_examples * 3 // 2)
def test_an_open_loop_is_dealt_out_without_a_trace(
    run, script, dealt, schedule, count, warm_up, window, delay, latency
):
    # A schedule reaches beyond what is measured: the load goes on until that has ended.
    beyond = [(warm_up + window + 5000 + n) * MS for n in range(count)]
    plan = {
        "mode": "open",
        "schedule_ns": [*schedule, *beyond],
        "warmup_ns": warm_up * MS,
        "window_ns": window * MS,
    }
    one = run(script(latency * MS), **plan).start().until_over()
    several = dealt(count, script(latency * MS), delay_ns=delay * MS, **plan).run()
    zero_ns = several.levels[0].result.start_ns
    # How long the load goes on behind the window hangs on when the last answer is known of.
    expected = {n: at for n, at in sent(one).items() if at[1] is not Stage.DRAIN}
    found = {
        record.index: (record.scheduled_ns - zero_ns, stage)
        for record, stage in several.records
        if stage is not Stage.DRAIN
    }
    assert found == expected
    merged, single = several.merged, one.result
    assert merged.counts_agree
    assert (merged.scheduled, merged.sent, merged.ended, merged.planned) == (
        *(single.scheduled, single.sent, single.ended, single.planned),
    )
    assert merged.window_start_ns - merged.start_ns == single.window_start_ns - single.start_ns
    assert merged.window_end_ns - merged.start_ns == single.window_end_ns - single.start_ns
    assert merged.area_in_window == single.area_in_window
    assert (merged.begun, merged.left_open) == (single.begun, single.left_open)


@given(
    schedule=SCHEDULES,
    count=st.integers(1, 5),
    requests=st.integers(1, 40),
    warm_up=st.sampled_from([(0, 0), (0, 120), (1, 0), (3, 50)]),
    delay=st.integers(0, 2),
)
@settings(max_examples=settings().max_examples * 3 // 2)
def test_the_next_requests_of_a_schedule_are_measured_whoever_sends_them(
    dealt, schedule, count, requests, warm_up, delay
):
    several = dealt(
        count,
        mode="open",
        schedule_ns=schedule,
        requests=requests,
        warmup_requests=min(warm_up[0], len(schedule)),
        warmup_ns=warm_up[1] * MS,
        delay_ns=delay * MS,
    ).run()
    opened_ns = several.ensemble.window_start_ns
    zero_ns = several.levels[0].result.start_ns
    due = [n for n, at_ns in enumerate(schedule) if zero_ns + at_ns >= opened_ns][:requests]
    if min(warm_up[0], len(schedule)) < len(schedule) or not due:
        assert [record.index for record in several.measured] == due
    assert several.merged.scheduled == len(several.measured)
    assert several.merged.counts_agree


@given(
    users=st.integers(1, 9),
    count=st.integers(1, 4),
    requests=st.integers(4, 60),
    warm_up=st.integers(0, 12),
    ramp=st.integers(0, 40),
    delay=st.integers(0, 2),
    latencies=st.lists(st.integers(1, 30), min_size=1, max_size=7),
)
@settings(max_examples=settings().max_examples * 3 // 2)
def test_a_closed_loop_measures_as_many_as_asked_and_no_session_twice(
    dealt, script, users, count, requests, warm_up, ramp, delay, latencies
):
    count = min(count, users, requests)
    several = dealt(
        count,
        lambda index: script(latencies[index % len(latencies)] * MS),
        concurrency=users,
        requests=requests,
        warmup_requests=warm_up,
        ramp_ns=ramp * MS,
        delay_ns=delay * MS,
    ).run()
    assert several.merged.scheduled == requests == len(several.measured)
    assert several.merged.counts_agree
    sessions = Counter(record.session for record, _ in several.records)
    assert set(sessions.values()) == {1}
    indices = Counter(record.index for record, _ in several.records)
    assert set(indices.values()) == {1}
    assert {index for index, _, _ in several.begun} == set(indices)
    assert max(level.in_flight.now for level in several.levels) == 0
    opened_ns, closed_ns = several.merged.window_start_ns, several.merged.window_end_ns
    assert all(opened_ns <= one.scheduled_ns <= closed_ns for one in several.measured)
    assert {level.result.window_start_ns for level in several.levels} == {opened_ns}


def test_users_are_shared_out_with_the_instants_at_which_they_start(dealt):
    several = dealt(2, concurrency=4, ramp_ns=40 * MS, requests=8)
    several.run()
    zero_ns = several.levels[0].result.start_ns
    firsts = sorted(one.scheduled_ns - zero_ns for one, _ in several.records)[:4]
    assert firsts == [0, 5 * MS, 10 * MS, 10 * MS]
    assert [level.plan.own_users for level in several.levels] == [2, 2]
    first = {one.index: one.scheduled_ns - zero_ns for one, _ in several.records}
    assert (first[0], first[1]) == (0, 10 * MS)


def test_all_go_on_until_the_last_measured_request_has_ended(dealt, script):
    # The second worker's answers take ten times as long.
    several = dealt(
        2,
        concurrency=2,
        requests=6,
    )
    slow = script(50 * MS)
    several.levels[1]._sender.script = lambda _index: slow
    several.run()
    ends = [level.result.over_ns for level in several.levels]
    assert ends[0] == ends[1]
    last_ns = max(one.done_ns for one in several.measured)
    assert last_ns <= ends[0] <= last_ns + MS
    fast = [one for one, stage in several.records if one.index % 2 == 0 and stage is Stage.DRAIN]
    assert len(fast) > 10, "it has kept up the load of its user"
    assert several.merged.window_end_ns == max(one.scheduled_ns for one in several.measured)


def test_what_a_worker_is_told_late_is_counted_from_its_instant(dealt, script):
    several = dealt(1, script(400 * MS), concurrency=2, window_ns=100 * MS)
    (level,) = several.levels
    level.start(several.clock.now_ns())
    several.clock.advance(50 * MS)
    opened_ns = several.clock.now_ns() - 20 * MS
    level.open_at(opened_ns, None)
    several.clock.advance(MS)
    assert (level.stage, level.result.window_start_ns) == (Stage.WINDOW, opened_ns)
    several.clock.advance(200 * MS)
    assert level.result.window_end_ns == opened_ns + 100 * MS
    assert level.result.area_in_window == 2 * 100 * MS


def test_nobody_waits_for_a_worker_that_is_over(dealt):
    several = dealt(2, concurrency=2, requests=10)
    several.ensemble.over(1)
    several.levels.pop(1)
    several.over.pop(1)
    several.run()
    assert several.levels[0].result.scheduled == 5


def test_an_interrupt_ends_every_window_at_its_instant(dealt):
    several = dealt(3, concurrency=3, window_ns=SECOND)
    start_ns = several.clock.now_ns()
    several.ensemble.begin(start_ns)
    for level in several.levels:
        level.start(start_ns)
    several.clock.advance(300 * MS)
    at_ns = several.clock.now_ns()
    several.clock.advance(2 * MS)
    several.ensemble.stop()
    for level in several.levels:
        level.interrupt(SECOND, at_ns)
    several.clock.advance(2 * SECOND)
    assert several.over == [1, 1, 1]
    assert {level.result.window_end_ns for level in several.levels} == {at_ns}
    assert several.merged.interrupted
    assert several.merged.counts_agree
    assert several.merged.ended[Outcome.CANCELLED] == 0
