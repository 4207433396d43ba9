import pytest

from benchcore.client.records import Outcome, Record
from benchcore.clock import FakeClock

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


class FakeSender:
    """A server on the fake clock."""

    def __init__(self, clock, script):
        self.clock = clock
        self.script = script if callable(script) else lambda _index: script
        self.started = []
        self.live = {}

    def start(self, index, scheduled_ns, on_done):
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
            self.clock.call_at(
                done_ns + plan.seen_late_ns,
                lambda: self.end(exchange, plan.outcome, None, "", done_ns),
            )
        return exchange

    def end(self, exchange, outcome, phase, error, done_ns):
        if exchange not in self.live:
            return
        del self.live[exchange]
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
