"""Sessions on a fake clock: graphs of turns, failures, replay, and what is counted of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.client.records import Outcome
from benchcore.client.request import Prompt
from benchcore.load.level_plan import Stage
from benchcore.load.session_run import SessionRun
from benchcore.workload.sessions import LiveSession, Session, Turn, chain, single

MS = 1_000_000
SECOND = 1_000 * MS
ASK = Prompt("x")


class Server:
    """Answers each turn after a time of its own."""

    def __init__(self, clock, lasts_ms, fails=()):
        self.clock = clock
        self.lasts_ms = lasts_ms
        self.fails = fails
        self.sent = {}  # place: (scheduled, sent), ms

    def emit(self, _live, place, scheduled_ns, ended):
        from benchcore.client.records import Record

        assert place not in self.sent, "a turn is sent once"
        now_ns = self.clock.now_ns()
        self.sent[place] = ((scheduled_ns - SECOND) // MS, (now_ns - SECOND) // MS)
        done_ns = now_ns + self.lasts_ms[place] * MS
        outcome = Outcome.TIMEOUT if place in self.fails else Outcome.OK
        record = Record("x", scheduled_ns=scheduled_ns, outcome=outcome, done_ns=done_ns)
        self.clock.call_at(done_ns, lambda: ended(record))


def run_session(clock, turns, lasts_ms, fails=(), **more):
    server = Server(clock, lasts_ms, fails)
    ends = []
    run = SessionRun(
        LiveSession(Session(tuple(turns))), clock, server.emit, SECOND, ends.append, **more
    )
    run.start()
    clock.advance(100 * SECOND)
    return server, ends, run


# a fans out to b (tool, 30 ms) and c (no sooner than 200 ms after the start); d joins them.
FAN = (
    Turn(ASK),
    Turn(ASK, after=(0,), wait_ns=30 * MS),
    Turn(ASK, after=(0,), at_ns=200 * MS),
    Turn(ASK, after=(1, 2), wait_ns=5 * MS),
)


def test_a_fan_out_and_its_join_are_sent_at_their_exact_times(new_clock):
    coming = []
    server, (end,), _ = run_session(
        new_clock(SECOND),
        FAN,
        [100, 40, 10, 7],
        coming=lambda _live, place: coming.append(place),
    )
    assert server.sent == {0: (0, 0), 1: (130, 130), 2: (200, 200), 3: (215, 215)}
    assert (end.start_ns, end.done_ns) == (SECOND, SECOND + 222 * MS)
    assert (end.turns, end.failed, end.unreached, end.cancelled) == (4, 0, 0, False)
    assert coming == [1, 2, 3]


def test_a_join_waits_for_the_last_of_its_ancestors(new_clock):
    server, _, _ = run_session(new_clock(SECOND), FAN, [100, 500, 10, 7])
    assert server.sent[3] == (635, 635)


def test_a_late_turn_is_scheduled_when_it_was_due(new_clock):
    clock = new_clock(SECOND)
    server = Server(clock, [10, 10])
    turns = chain([Turn(ASK), Turn(ASK, wait_ns=20 * MS)])
    run = SessionRun(LiveSession(Session(turns)), clock, server.emit, SECOND, lambda _end: None)
    run.start()
    clock.advance(15 * MS)
    clock.stall(100 * MS)
    clock.advance(0)
    assert server.sent[1] == (30, 115)


def test_a_failed_turn_ends_its_descendants_and_they_are_counted(new_clock):
    server, (end,), run = run_session(new_clock(SECOND), FAN, [100, 40, 10, 7], fails={1})
    assert set(server.sent) == {0, 1, 2}
    assert (end.turns, end.failed, end.unreached) == (2, 1, 1)
    assert end.done_ns == SECOND + 210 * MS
    assert not run.has_turns_left


def test_a_failed_root_ends_all_that_waits_for_it(new_clock):
    clock = new_clock(SECOND)
    server, (end,), _ = run_session(clock, FAN, [100, 40, 10, 7], fails={0})
    assert set(server.sent) == {0}
    assert (end.turns, end.failed, end.unreached) == (0, 1, 3)
    assert clock.pending == 0


def test_a_stopped_session_sends_nothing_more_and_leaves_no_timer(new_clock):
    clock = new_clock(SECOND)
    server = Server(clock, [10, 10])
    ends = []
    turns = chain([Turn(ASK), Turn(ASK, wait_ns=20 * MS)])
    run = SessionRun(LiveSession(Session(turns)), clock, server.emit, SECOND, ends.append)
    run.start()
    clock.advance(15 * MS)
    assert run.has_turns_left
    run.stop()
    assert (clock.pending, run.has_turns_left) == (0, False)
    clock.advance(SECOND)
    assert (set(server.sent), ends) == ({0}, [])


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 12))
    turns = []
    for place in range(count):
        after = draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        turns.append(
            Turn(
                ASK,
                after=tuple(sorted(after)),
                wait_ns=draw(st.integers(0, 50)) * MS,
                at_ns=draw(st.integers(0, 200)) * MS,
            )
        )
    lasts = draw(st.lists(st.integers(1, 100), min_size=count, max_size=count))
    fails = draw(st.sets(st.integers(0, count - 1), max_size=2))
    return turns, lasts, fails


@given(graphs())
def test_any_graph_is_sent_as_a_slow_oracle_says(new_clock, graph):
    turns, lasts, fails = graph
    due, done, dead = {}, {}, set()
    for place, turn in enumerate(turns):
        if any(other in dead or other in fails for other in turn.after):
            dead.add(place)
            continue
        ready = max((done[other] for other in turn.after), default=0)
        due[place] = max(ready + turn.wait_ns // MS, turn.at_ns // MS)
        done[place] = due[place] + lasts[place]
    server, (end,), _ = run_session(new_clock(SECOND), turns, lasts, fails)
    assert server.sent == {place: (at, at) for place, at in due.items()}
    failed = len(fails - dead)
    assert (end.turns, end.failed) == (len(due) - failed, failed)
    assert end.unreached == len(dead)
    assert end.done_ns == SECOND + max(done.values()) * MS


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        ([Turn(ASK, after=(0,))], "turn 1 waits for turn 1, which does not come before it"),
        ([Turn(ASK), Turn(ASK, after=(5,))], "turn 2 waits for turn 6, which does not come before"),
        ([Turn(ASK), Turn(ASK, follows=0)], "turn 2 goes on with turn 1 and does not wait for it"),
    ],
)
def test_a_session_that_is_no_order_is_refused(turns, says):
    with pytest.raises(ConfigError) as caught:
        Session(tuple(turns), name="s")
    assert str(caught.value).startswith(f"session s: {says}")


def conversations(count, turns=3, wait_ms=0):
    made = chain([Turn(ASK)] + [Turn(ASK, wait_ns=wait_ms * MS)] * (turns - 1))
    return [Session(made) for _ in range(count)]


def test_a_user_runs_sessions_one_after_another(run, script):
    one = run(
        script(10 * MS), sessions=conversations(100), concurrency=2, window_ns=65 * MS
    ).start()
    one.until_over()
    # Two users, three turns of 10 ms each: a session every 30 ms.
    assert one.sender.asked[:8] == [
        *[(0, 0), (1, 0)],
        *[(0, 1), (1, 1)],
        *[(0, 2), (1, 2)],
        *[(2, 0), (3, 0)],
    ]
    records = [record for record, _ in one.records]
    assert [(r.session, r.turn) for r in records[:4]] == [(0, 1), (1, 1), (0, 2), (1, 2)]
    assert one.result.begun == 6
    assert (one.result.sessions.ended, one.result.sessions.turns) == (4, 12)
    assert list(one.result.sessions.lasted_ns) == [30 * MS] * 4
    assert one.result.left_open == 2


def test_in_an_open_loop_turns_follow_and_planned_counts_sessions_alone(run, script):
    sessions = conversations(10, turns=2, wait_ms=5)
    one = run(
        script(10 * MS),
        mode="open",
        rate=100.0,
        schedule_ns=[n * 10 * MS for n in range(50)],
        window_ns=55 * MS,
        sessions=sessions * 10,
    ).start()
    one.until_over()
    result = one.result
    assert result.begun == 6
    # Later turns come 15 ms after their session: four of them inside 55 ms.
    assert result.scheduled == 10
    assert result.planned == 10
    # Each takes 25 ms; that of 30 ms ends with the window, and not in it.
    assert (result.sessions.ended, result.sessions.turns) == (3, 6)


def test_a_replay_sends_at_the_sessions_own_times_and_ends_with_the_last_turn(run, script):
    times = [0, 3, 3, 40]
    sessions = [
        Session(chain([Turn(ASK), Turn(ASK, wait_ns=20 * MS)]), at_ns=at * MS) for at in times
    ]
    one = run(script(10 * MS), mode="open", replay=True, sessions=sessions).start()
    one.until_over()
    result = one.result
    at = [(r.scheduled_ns - SECOND) // MS for r in result.measured]
    assert sorted(at) == [0, 3, 3, 30, 33, 33, 40, 70]
    assert (result.scheduled, result.planned, result.begun) == (8, 8, 4)
    assert not result.exhausted  # a trace ends where it ends
    assert (result.window_end_ns - SECOND) // MS == 70
    assert result.sessions.ended == 3  # the last one ends after its last turn was due


def test_a_replay_of_no_session_is_over_at_once(run, script):
    one = run(script(10 * MS), mode="open", replay=True, sessions=[]).start()
    one.check()
    assert (one.result.scheduled, one.result.exhausted) == (0, False)


def test_a_dropped_session_of_a_replay_takes_its_turns_with_it(run, script):
    sessions = [Session(chain([Turn(ASK), Turn(ASK)]), at_ns=n * MS) for n in range(3)]
    one = run(script(10 * MS), mode="open", replay=True, sessions=sessions, max_inflight=1).start()
    one.until_over()
    assert one.sender.asked == [(0, 0), (0, 1)]
    assert one.result.ended[Outcome.DROPPED] == 2


def test_an_interrupt_ends_sessions_that_think(run, script):
    sessions = conversations(5, turns=2, wait_ms=1000)
    one = run(script(10 * MS), sessions=sessions, concurrency=2, window_ns=60 * SECOND).start()
    one.clock.advance(50 * MS)
    one.level.interrupt(SECOND)
    one.until_over()
    assert one.result.scheduled == 2
    assert one.result.interrupted


def test_users_of_a_shape_come_and_go(run, script):
    never = 1 << 62
    shifts = [[(0, never)], [(20 * MS, 40 * MS), (60 * MS, never)]]
    one = run(script(10 * MS), concurrency=2, window_ns=80 * MS, shifts=shifts, think_ns=0).start()
    one.until_over()
    at = [(r.scheduled_ns - SECOND) // MS for r in one.result.measured]
    assert [n for n in range(0, 80, 10) if at.count(n) == 2] == [20, 30, 60, 70]


def test_a_single_prompt_is_a_session_of_one_turn(run, script):
    one = run(script(10 * MS), concurrency=1, window_ns=25 * MS).start()
    one.until_over()
    assert [(r.session, r.turn, r.kind) for r, _ in one.records[:2]] == [(0, 1, ""), (1, 1, "")]
    assert one.level.stage is Stage.OVER
    assert single(ASK).turns == (Turn(ASK),)


def test_a_closed_loop_whose_sessions_have_ended_does_not_wait_for_its_window(run, script):
    one = run(
        script(10 * MS), sessions=conversations(3), concurrency=2, window_ns=60 * SECOND
    ).start()
    one.until_over()
    assert (one.result.scheduled, one.result.exhausted) == (9, False)
    assert one.result.over_ns - SECOND < 100 * MS
