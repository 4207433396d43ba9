import pytest

from benchcore.base.clock import FakeClock
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.client.request import Prompt
from benchcore.load.level import Level
from benchcore.load.level_plan import LevelPlan, Stage
from benchcore.workload.sessions import LiveSession, single

MS = 1_000_000
SECOND = 1_000 * MS


class StallingClock(FakeClock):
    """A clock of a loop that can be busy: time passes and no timer runs."""

    def stall(self, by_ns):
        self._now_ns += by_ns


class Script:
    """How the n-th request goes: after how long it ends, how, and how late that is seen."""

    def __init__(self, latency_ns, outcome=Outcome.OK, seen_late_ns=0, fails_at_once=False):
        self.latency_ns = latency_ns  # None: never
        self.outcome = outcome
        self.seen_late_ns = seen_late_ns
        self.fails_at_once = fails_at_once


class Exchange:
    def __init__(self, record, on_done):
        self.record = record
        self.on_done = on_done
        self.timer = None


class FakeSender:
    """A server on the fake clock."""

    def __init__(self, clock, script, sessions=None):
        self.clock = clock
        self.sessions = sessions  # none: prompts without end
        self.times = []
        self.asked = []  # session, place
        self.came = []
        self.next_number = 0
        self.next_index = 0
        self.script = script if callable(script) else lambda _index: script
        self.started = []
        self.live = {}

    def next(self):
        number = self.next_number
        self.next_number += 1
        if self.sessions is None:
            return LiveSession(single(Prompt("x")), number)
        return LiveSession(self.sessions[number], number) if number < len(self.sessions) else None

    def read_on(self):
        number = len(self.times)
        if self.sessions is None or number >= len(self.sessions):
            return False
        self.times.append(self.sessions[number].at_ns)
        return True

    def coming(self, live, place):
        self.came.append((live.number, place))

    def start(self, live, place, scheduled_ns, on_done):
        self.asked.append((live.number, place))
        index = self.next_index
        self.next_index += 1
        record = Record(
            request_id=str(index), scheduled_ns=scheduled_ns, sent_ns=self.clock.now_ns()
        )
        exchange = Exchange(record, on_done)
        self.started.append(record)
        self.live[exchange] = None
        plan = self.script(index)
        if plan.fails_at_once:
            self.end(exchange, Outcome.CONNECT_ERROR, None, "refused", self.clock.now_ns())
        elif plan.latency_ns is not None:
            done_ns = self.clock.now_ns() + plan.latency_ns
            exchange.timer = self.clock.call_at(
                done_ns + plan.seen_late_ns,
                lambda: self.end(exchange, plan.outcome, None, "", done_ns),
            )
        return exchange

    def end(self, exchange, outcome, phase, error, done_ns):
        if exchange not in self.live:
            return
        del self.live[exchange]
        if exchange.timer is not None:
            exchange.timer.cancel()
        record = exchange.record
        record.outcome, record.phase, record.error = outcome, phase, error
        record.done_ns = done_ns
        exchange.on_done(record)

    def cancel(self, exchange, outcome, phase, error):
        assert exchange is not None
        self.end(exchange, outcome, phase, error, self.clock.now_ns())


@pytest.fixture(scope="session")
def new_clock():
    return StallingClock


@pytest.fixture(scope="session")
def script():
    return Script


@pytest.fixture(scope="session")
def new_sender():
    return FakeSender


class Run:
    """A level on the fake clock, and everything that it told."""

    def __init__(
        self, script, *, start_ns=SECOND, clock=None, on_stage=None, sessions=None, **plan
    ):
        plan.setdefault("mode", "closed")
        self.clock = clock or StallingClock(start_ns)
        self.sender = FakeSender(self.clock, script, sessions)
        if plan.get("replay"):
            plan["schedule_ns"] = self.sender.times
        self.over = 0
        self.records = []
        self.stages = []
        self.due = []
        self.on_stage = on_stage
        self.level = Level(
            LevelPlan("c1", **plan),
            self.clock,
            self.sender,
            on_over=self._over,
            on_record=lambda record, stage: self.records.append((record, stage)),
            on_due=self.due.append,
            on_stage=self._stage,
        )
        self.result = self.level.result

    def _over(self):
        self.over += 1

    def _stage(self, stage):
        self.stages.append(stage)
        if self.on_stage is not None:
            self.on_stage(stage)

    def start(self):
        self.level.start()
        return self

    def until_over(self, limit_ns=1000 * SECOND):
        """Run to the end, and hold it against what holds for every level."""
        end_ns = self.clock.now_ns() + limit_ns
        while not self.over and self.clock.now_ns() < end_ns:
            self.clock.advance(10 * MS)
        self.check()
        return self

    def check(self):
        result = self.result
        assert self.over == 1
        assert self.level.stage is Stage.OVER
        assert self.stages[-1] is Stage.OVER
        assert self.stages.count(Stage.OVER) == 1
        assert not self.sender.live, "something is still on its way"
        assert self.level.in_flight.now == 0
        assert result.counts_agree
        ended = result.ended
        failed = sum(ended[outcome] for outcome in FAILED)
        assert result.scheduled == (
            ended[Outcome.OK] + failed + ended[Outcome.CANCELLED] + ended[Outcome.DROPPED]
        )
        assert len(result.measured) == result.scheduled
        measured = [record.index for record in result.measured]
        assert measured == sorted(measured)
        told = [record.index for record, _ in self.records]
        assert sorted(told) == list(range(len(told))), "each request is told of once"
        for record, stage in self.records:
            inside = any(record is one for one in result.measured)
            assert inside == (stage is Stage.WINDOW)
            if inside:
                assert result.window_start_ns <= record.scheduled_ns <= result.window_end_ns
            elif stage is Stage.WARMUP:
                assert record.scheduled_ns <= result.window_start_ns
            elif self.level.plan.requests is None:
                assert record.scheduled_ns >= result.window_end_ns
        assert result.start_ns <= result.window_start_ns <= result.window_end_ns <= result.over_ns
        assert self.clock.pending == 0, "a timer was left"
        assert self.level.driver._stopped
        return self


@pytest.fixture(scope="session")
def run():
    return Run
