import pytest

from benchcore.client.records import FAILED, Outcome
from benchcore.load.closed_loop import BACKOFF, ClosedLoop
from benchcore.load.session_run import SessionEnd

MS = 1_000_000
SECOND = 1_000 * MS


class Server:
    def __init__(self, clock, service_ns, outcomes=()):
        self.clock = clock
        self.service_ns = service_ns
        self.outcomes = list(outcomes)
        self.planned = []
        self.at = []

    def emit(self, scheduled_ns, ended):
        self.planned.append(scheduled_ns)
        self.at.append(self.clock.now_ns())
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome.OK
        done_ns = self.clock.now_ns() + self.service_ns
        end = SessionEnd(
            scheduled_ns,
            done_ns,
            failed=outcome in FAILED,
            cancelled=outcome is Outcome.CANCELLED,
        )
        if self.service_ns:
            self.clock.call_at(done_ns, lambda: ended(end))
        else:
            ended(end)


@pytest.fixture
def clock(new_clock):
    return new_clock(SECOND)


def test_a_user_whose_requests_fail_backs_off_twice_as_long_up_to_five_seconds():
    waits = [BACKOFF.seconds(failures) for failures in (1, 2, 3, 6, 7, 8, 10_000)]
    assert waits == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0, 5.0]


def test_a_user_sends_again_when_the_last_one_ends(clock):
    server = Server(clock, 7 * MS)
    ClosedLoop(clock, server.emit, 1).start(SECOND)
    clock.advance(30 * MS)
    assert server.planned == server.at == [SECOND + n * 7 * MS for n in range(5)]


def test_each_user_has_its_own_request_on_the_way(clock):
    server = Server(clock, 10 * MS)
    ClosedLoop(clock, server.emit, 3).start(SECOND)
    clock.advance(25 * MS)
    assert server.planned == [SECOND + n * 10 * MS for n in range(3) for _ in range(3)]


def test_a_user_thinks_after_each_answer(clock):
    server = Server(clock, 7 * MS)
    ClosedLoop(clock, server.emit, 1, think_ns=3 * MS).start(SECOND)
    clock.advance(25 * MS)
    assert server.planned == server.at == [SECOND, SECOND + 10 * MS, SECOND + 20 * MS]


def test_a_request_is_planned_where_the_one_before_ended_however_late_that_is_seen(clock):
    server = Server(clock, 7 * MS)
    ClosedLoop(clock, server.emit, 1, think_ns=3 * MS).start(SECOND)
    clock.stall(9 * MS)
    clock.advance(MS)
    assert server.planned[1] == server.at[1] == SECOND + 10 * MS
    clock.stall(15 * MS)
    clock.advance(0)
    assert server.planned[2] == SECOND + 20 * MS
    assert server.at[2] == SECOND + 25 * MS


def test_starts_are_spread_evenly_over_the_ramp(clock):
    server = Server(clock, SECOND)
    ClosedLoop(clock, server.emit, 4, ramp_ns=20 * MS).start(SECOND)
    assert server.at == [SECOND]
    clock.advance(20 * MS)
    expected = [SECOND + n * 5 * MS for n in range(4)]
    assert server.at == server.planned == expected
    clock.advance(SECOND)
    assert server.at[4:] == [at + SECOND for at in expected]


def test_a_failing_user_backs_off_and_starts_over_after_a_success(clock):
    fails = [Outcome.HTTP_ERROR, Outcome.TIMEOUT, Outcome.OK, Outcome.STREAM_ERROR, Outcome.OK]
    server = Server(clock, 10 * MS, fails)
    ClosedLoop(clock, server.emit, 1).start(SECOND)
    clock.advance(2 * SECOND)
    waits = [after - before for before, after in zip(server.at, server.at[1:6], strict=False)]
    assert waits == [110 * MS, 210 * MS, 10 * MS, 110 * MS, 10 * MS]


def test_the_back_off_comes_on_top_of_thinking(clock):
    server = Server(clock, 10 * MS, [Outcome.EMPTY])
    ClosedLoop(clock, server.emit, 1, think_ns=5 * MS).start(SECOND)
    clock.advance(200 * MS)
    assert server.at[1] - SECOND == 115 * MS


def test_one_users_failures_do_not_hold_up_another(clock):
    server = Server(clock, 10 * MS, [Outcome.HTTP_ERROR, Outcome.OK])
    ClosedLoop(clock, server.emit, 2).start(SECOND)
    clock.advance(50 * MS)
    assert server.at == [SECOND, SECOND] + [SECOND + n * 10 * MS for n in range(1, 6)]


def test_a_user_whose_requests_fail_at_once_does_not_spin(clock):
    server = Server(clock, 0, [Outcome.CONNECT_ERROR] * 100)
    ClosedLoop(clock, server.emit, 1).start(SECOND)
    clock.advance(SECOND)
    assert [at - SECOND for at in server.at] == [0, 100 * MS, 300 * MS, 700 * MS]


def test_a_stopped_loop_sends_nothing_more_and_leaves_no_timer(clock):
    server = Server(clock, 10 * MS, [Outcome.OK, Outcome.HTTP_ERROR])
    loop = ClosedLoop(clock, server.emit, 3, ramp_ns=30 * MS)
    loop.start(SECOND)
    clock.advance(15 * MS)
    assert len(server.at) == 3
    loop.stop()
    assert clock.pending == 2  # the server's own
    clock.advance(SECOND)
    assert len(server.at) == 3


def test_a_loop_that_is_stopped_while_it_starts_leaves_no_timer(clock):
    server = Server(clock, SECOND)
    loop = ClosedLoop(clock, server.emit, 5, ramp_ns=30 * MS)

    def stop_after(scheduled_ns, ended):
        server.emit(scheduled_ns, ended)
        loop.stop()

    loop._begin = stop_after
    loop.start(SECOND)
    assert len(server.at) == 1
    assert clock.pending == 1  # the server's own
