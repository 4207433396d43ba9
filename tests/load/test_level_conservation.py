"""Whatever the server does, and however late the loop is: `Run.check` holds."""

from hypothesis import example, given
from hypothesis import strategies as st

from benchcore.client.records import FAILED, Outcome
from benchcore.load.level_plan import Stage

MS = 1_000_000
SECOND = 1_000 * MS

ENDS = sorted(FAILED | {Outcome.OK})
behaviours = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(1, 400)),
        st.sampled_from([*ENDS, Outcome.OK, Outcome.OK, Outcome.OK]),
        st.sampled_from([0, 0, 0, 1, 7]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=12,
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(0, 300)),
        st.tuples(st.just("stall"), st.integers(1, 60)),
        st.tuples(st.just("look"), st.just(0)),
        st.tuples(st.just("interrupt"), st.sampled_from([0, 50, 5000])),
    ),
    max_size=8,
)
windows = st.tuples(
    st.one_of(st.none(), st.integers(1, 30)), st.one_of(st.none(), st.integers(1, 800))
).filter(any)
common = {
    "behaviours": behaviours,
    "actions": actions,
    "window": windows,
    "warmup": st.tuples(st.integers(0, 12), st.sampled_from([0, 0, 30, 200])),
    "drain": st.integers(1, 500),
}


def drive(run, script, behaviours, actions, window, warmup, drain, **plan):
    def behave(index):
        latency, outcome, late, fails = behaviours[index % len(behaviours)]
        return script(None if latency is None else latency * MS, outcome, late * MS, fails)

    requests, seconds = window
    # A request that never ends and is not measured would hold up the warm-up for ever.
    hangs = any(latency is None and not fails for latency, _, _, fails in behaviours)
    one = run(
        behave,
        requests=requests,
        window_ns=None if seconds is None else seconds * MS,
        warmup_requests=0 if hangs else warmup[0],
        warmup_ns=warmup[1] * MS,
        drain_ns=drain * MS,
        **plan,
    )
    one.start()
    for action, amount in actions:
        if one.over:
            break
        if action == "advance":
            one.clock.advance(amount * MS)
        elif action == "stall":
            one.clock.stall(amount * MS)
        elif action == "look" and hasattr(one.level.driver, "run_due"):
            one.level.driver.run_due()
        elif action == "interrupt":
            one.level.interrupt(amount * MS)
    if hangs and seconds is None:
        # All users may hang before so many requests are scheduled: only the user can end that.
        one.clock.advance(5 * SECOND)
        one.level.interrupt(0)
    one.until_over(limit_ns=3000 * SECOND)
    return one


@given(**common, users=st.integers(1, 8), ramp=st.integers(0, 50), think=st.integers(0, 30))
def test_every_request_of_a_closed_loop_ends_once(run, script, users, ramp, think, **given_):
    one = drive(
        run,
        script,
        mode="closed",
        concurrency=users,
        ramp_ns=ramp * MS,
        think_ns=think * MS,
        **given_,
    )
    requests = given_["window"][0]
    if requests is not None:
        assert one.result.scheduled <= requests


@given(
    **common,
    gaps=st.lists(st.integers(0, 60), max_size=60),
    cap=st.integers(1, 10),
)
@example(  # interrupted behind the end of the window, which the late loop has not seen
    behaviours=[(None, Outcome.CONNECT_ERROR, 0, False)],
    actions=[("stall", 2), ("look", 0), ("interrupt", 0)],
    window=(None, 1),
    warmup=(0, 0),
    drain=1,
    gaps=[1],
    cap=1,
)
def test_every_request_of_an_open_loop_ends_once(run, script, gaps, cap, **given_):
    schedule, total = [], 0
    for gap in gaps:
        total += gap * MS
        schedule.append(total)
    one = drive(run, script, mode="open", schedule_ns=schedule, max_inflight=cap, **given_)
    result = one.result
    if not result.interrupted and result.planned != result.scheduled:
        # One that failed as it was sent opened the window at the very instant it was planned.
        warm = [r for r, s in one.records if s is Stage.WARMUP]
        at_start = sum(r.scheduled_ns == result.window_start_ns for r in warm)
        assert result.planned == result.scheduled + at_start
