import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.clock import NEVER_NS
from benchcore.load.open_loop import OpenLoop

MS = 1_000_000
SECOND = 1_000 * MS


class Server:
    """Answers each request after a fixed time."""

    def __init__(self, clock, service_ns):
        self.clock = clock
        self.service_ns = service_ns
        self.sent = []  # (due, at)
        self.dropped = []
        self.on_emit = lambda _due_ns: None

    def emit(self, due_ns, ended):
        self.sent.append((due_ns, self.clock.now_ns()))
        self.on_emit(due_ns)
        if self.service_ns == 0:
            ended(None)
        elif self.service_ns is not None:
            self.clock.call_at(self.clock.now_ns() + self.service_ns, lambda: ended(None))

    def drop(self, due_ns):
        self.dropped.append(due_ns)


@pytest.fixture
def clock(new_clock):
    return new_clock(SECOND)


def constant(rate, seconds):
    return [n * SECOND // rate for n in range(rate * seconds)]


def open_loop(clock, server, schedule, cap=1000, **more):
    return OpenLoop(clock, server.emit, server.drop, schedule, max_inflight=cap, **more)


def test_each_request_leaves_at_its_own_instant(clock):
    server = Server(clock, service_ns=None)
    loop = open_loop(clock, server, [0, 3 * MS, 3 * MS, 10 * MS])
    loop.start(clock.now_ns())
    clock.advance(SECOND)
    expected = [SECOND, SECOND + 3 * MS, SECOND + 3 * MS, SECOND + 10 * MS]
    assert server.sent == [(at, at) for at in expected]
    assert clock.pending == 0


@pytest.mark.parametrize(
    ("rate", "service_seconds", "cap", "seconds"),
    [(10, 1, 5, 10), (50, 2, 20, 20), (100, 1, 1, 3), (4, 2, 7, 10)],
)
def test_what_the_cap_leaves_no_room_for_is_dropped_exactly(
    clock, rate, service_seconds, cap, seconds
):
    server = Server(clock, service_seconds * SECOND)
    open_loop(clock, server, constant(rate, seconds), cap).start(clock.now_ns())
    clock.advance((seconds + service_seconds) * SECOND)
    # In each service time the cap lets through `cap` requests and the rate asks for more.
    assert len(server.sent) == cap * seconds // service_seconds
    assert len(server.dropped) == rate * seconds - cap * seconds // service_seconds


@pytest.mark.parametrize(("service_seconds", "cap"), [(1, 10), (2, 20), (2, 100)])
def test_a_cap_that_the_load_does_not_pass_drops_nothing(clock, service_seconds, cap):
    server = Server(clock, service_seconds * SECOND)
    open_loop(clock, server, constant(10, 20), cap).start(clock.now_ns())
    clock.advance(30 * SECOND)
    assert (len(server.sent), server.dropped) == (200, [])


@given(
    gaps=st.lists(st.integers(0, 40), max_size=60),
    service=st.integers(1, 100),
    cap=st.integers(1, 6),
)
def test_sends_and_drops_are_those_of_a_slow_oracle(new_clock, gaps, service, cap):
    clock = new_clock(SECOND)
    # Even instants and an odd service time: no end falls on a plan.
    schedule = [2 * sum(gaps[:place]) for place in range(1, len(gaps) + 1)]
    service = 2 * service + 1
    server = Server(clock, service)
    open_loop(clock, server, schedule, cap).start(SECOND)
    clock.advance(10_000)
    sent, dropped = [], []
    for due in schedule:
        on_their_way = [earlier for earlier in sent if earlier + service > due]
        (sent if len(on_their_way) < cap else dropped).append(due)
    assert [due - SECOND for due, _ in server.sent] == sent
    assert [due - SECOND for due in server.dropped] == dropped


def test_a_late_waking_shortens_the_next_wait_and_shifts_nothing(clock):
    server = Server(clock, service_ns=None)
    loop = open_loop(clock, server, [0, 10 * MS, 20 * MS, 30 * MS, 40 * MS])
    loop.start(SECOND)
    clock.stall(24 * MS)
    clock.advance(30 * MS)
    assert [at - SECOND for _, at in server.sent] == [0, 24 * MS, 24 * MS, 30 * MS, 40 * MS]
    assert [due - SECOND for due, _ in server.sent] == [0, 10 * MS, 20 * MS, 30 * MS, 40 * MS]


def test_a_reader_that_looks_sends_what_is_due_and_the_timer_sends_nothing_twice(clock):
    told = []
    server = Server(clock, service_ns=None)
    loop = open_loop(clock, server, [0, 10 * MS, 20 * MS], on_next=told.append)
    loop.start(SECOND)
    assert told == [SECOND + 10 * MS]
    loop.run_due()
    assert len(server.sent) == 1
    clock.stall(10 * MS)
    loop.run_due()
    assert server.sent[1] == (SECOND + 10 * MS, SECOND + 10 * MS)
    assert loop.due_ns == told[-1] == SECOND + 20 * MS
    clock.advance(SECOND)
    assert len(server.sent) == 3
    assert loop.due_ns == told[-1] == NEVER_NS


def test_a_send_that_comes_back_into_the_loop_does_not_overtake(clock):
    server = Server(clock, service_ns=0)
    loop = open_loop(clock, server, [0, 0, 0, 5], cap=1)
    server.on_emit = lambda _due_ns: loop.run_due()
    loop.start(SECOND)
    assert [due for due, _ in server.sent] == [SECOND] * 3
    assert server.dropped == []
    clock.advance(5)
    assert len(server.sent) == 4


def test_a_stopped_loop_sends_nothing_more_and_leaves_no_timer(clock):
    told = []
    server = Server(clock, service_ns=None)
    loop = open_loop(clock, server, [0, 10, 20], on_next=told.append)
    loop.start(SECOND)
    loop.stop()
    assert (loop.due_ns, told[-1], clock.pending) == (NEVER_NS, NEVER_NS, 0)
    clock.advance(SECOND)
    loop.run_due()
    assert len(server.sent) == 1


def test_a_loop_stopped_by_one_of_its_own_sends_ends_there(clock):
    server = Server(clock, service_ns=None)
    loop = open_loop(clock, server, [0, 0, 0])
    server.on_emit = lambda _due_ns: loop.stop()
    loop.start(SECOND)
    assert len(server.sent) == 1
    assert clock.pending == 0


def test_the_end_of_the_schedule_is_told_once_and_after_its_last_send(clock):
    server = Server(clock, service_ns=None)
    told = []
    loop = open_loop(clock, server, [0, 10], on_exhausted=lambda: told.append(len(server.sent)))
    loop.start(SECOND)
    assert told == []
    clock.advance(10)
    loop.run_due()
    assert told == [2]


def test_an_empty_schedule_is_exhausted_at_once(clock):
    told = []
    server = Server(clock, service_ns=None)
    open_loop(clock, server, [], on_exhausted=lambda: told.append(1)).start(SECOND)
    assert told == [1]
    assert clock.pending == 0
