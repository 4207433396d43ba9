import pytest

from benchcore.base.clock import NEVER_NS
from benchcore.client.records import Outcome, Phase
from benchcore.load.level_plan import LevelRecords, Stage

MS = 1_000_000
SECOND = 1_000 * MS


def offsets(records):
    return [(record.scheduled_ns - SECOND) // MS for record in records]


def of_stage(run, stage):
    return sorted((r for r, s in run.records if s is stage), key=lambda record: record.index)


# The window.


def test_a_closed_loop_measures_what_is_scheduled_inside_a_window_of_seconds(run, script):
    one = run(script(10 * MS), concurrency=1, window_ns=100 * MS).start().until_over()
    assert offsets(one.result.measured) == list(range(0, 100, 10))
    assert (one.result.window_start_ns, one.result.window_end_ns) == (SECOND, SECOND + 100 * MS)
    assert one.result.ended == {Outcome.OK: 10}
    assert one.stages == [Stage.WINDOW, Stage.DRAIN, Stage.OVER]


def test_an_instant_on_the_end_of_the_window_is_outside(run, script):
    one = run(script(10 * MS), mode="open", schedule_ns=[0, 50 * MS, 100 * MS], window_ns=100 * MS)
    one.start().until_over()
    assert offsets(one.result.measured) == [0, 50]
    assert one.result.planned == 2


def test_a_window_of_requests_ends_when_the_last_of_them_is_scheduled(run, script):
    one = run(script(10 * MS), concurrency=1, requests=5).start().until_over()
    assert offsets(one.result.measured) == [0, 10, 20, 30, 40]
    assert one.result.window_end_ns == SECOND + 40 * MS
    assert one.result.over_ns == SECOND + 50 * MS


@pytest.mark.parametrize(
    ("requests", "window_ms", "scheduled", "end_ms"),
    [(3, 100, 3, 20), (50, 100, 10, 100), (10, 100, 10, 90)],
)
def test_of_requests_and_seconds_what_comes_first_ends_the_window(
    run, script, requests, window_ms, scheduled, end_ms
):
    one = run(script(10 * MS), concurrency=1, requests=requests, window_ns=window_ms * MS)
    one.start().until_over()
    assert one.result.scheduled == scheduled
    assert one.result.window_end_ns == SECOND + end_ms * MS


def test_fewer_requests_than_users_are_measured_and_the_others_load_on(run, script):
    one = run(script(10 * MS), concurrency=8, requests=3, ramp_ns=8 * MS).start().until_over()
    assert offsets(one.result.measured) == [0, 1, 2]
    assert offsets(of_stage(one, Stage.DRAIN))[:5] == [3, 4, 5, 6, 7]
    assert one.result.ended == {Outcome.OK: 3}


def test_requests_that_are_all_scheduled_at_once_make_a_window_without_length(run, script):
    one = run(script(10 * MS), concurrency=8, requests=8).start().until_over()
    assert one.result.window_end_ns == one.result.window_start_ns
    assert one.result.ended == {Outcome.OK: 8}


def test_fewer_requests_than_users_behind_a_warm_up(run, script):
    one = run(script(10 * MS), concurrency=8, requests=3, warmup_requests=8)
    one.start().until_over()
    # The users march in step: eight ended at 10 ms, planned inside are those from 20 ms on.
    assert len(one.result.measured) == 3
    assert one.result.window_start_ns == SECOND + 10 * MS
    assert set(offsets(one.result.measured)) <= {10, 20}


# Warm-up.


def test_the_window_opens_when_so_many_requests_have_ended(run, script):
    one = run(script(10 * MS), concurrency=2, ramp_ns=10 * MS, warmup_requests=3, requests=4)
    one.start().until_over()
    # Users at 0 and 5 ms; the third end is at 20 ms.
    assert one.result.window_start_ns == SECOND + 20 * MS
    assert offsets(one.result.measured) == [20, 25, 30, 35]
    assert offsets(of_stage(one, Stage.WARMUP)) == [0, 5, 10, 15]


def test_a_request_planned_before_the_window_opened_is_not_measured(run, script):
    # Its predecessor ended 2 ms before that was seen, and its end is what opens the window.
    one = run(script(10 * MS, seen_late_ns=2 * MS), concurrency=1, warmup_requests=1, requests=2)
    one.start().until_over()
    assert one.result.window_start_ns == SECOND + 12 * MS
    assert offsets(of_stage(one, Stage.WARMUP)) == [0, 10]
    assert offsets(one.result.measured) == [22, 34]


def test_the_window_opens_when_so_much_time_has_passed(run, script):
    one = run(script(10 * MS), concurrency=1, warmup_ns=35 * MS, requests=2).start().until_over()
    assert one.result.window_start_ns == SECOND + 35 * MS
    assert offsets(one.result.measured) == [40, 50]


@pytest.mark.parametrize(("count", "expected_ms"), [(2, 35), (6, 60)])
def test_a_warm_up_of_both_waits_for_both(run, script, count, expected_ms):
    one = run(script(10 * MS), concurrency=1, warmup_ns=35 * MS, warmup_requests=count, requests=1)
    one.start().until_over()
    assert one.result.window_start_ns == SECOND + expected_ms * MS


def test_a_warm_up_of_failures_ends_too(run, script):
    one = run(
        lambda index: script(10 * MS, Outcome.HTTP_ERROR if index < 2 else Outcome.OK),
        concurrency=1,
        warmup_requests=2,
        requests=2,
    )
    one.start().until_over()
    assert one.result.ended == {Outcome.OK: 2}
    assert [s for _, s in one.records] == [Stage.WARMUP] * 2 + [Stage.WINDOW] * 2


# Drain.


def test_the_load_goes_on_unmeasured_until_the_measured_have_ended(run, script):
    one = run(
        lambda index: script(200 * MS if index == 0 else 10 * MS),
        concurrency=2,
        window_ns=50 * MS,
    )
    one.start().until_over()
    assert one.result.scheduled == 6
    assert one.result.over_ns == SECOND + 200 * MS
    drained = of_stage(one, Stage.DRAIN)
    assert offsets(drained) == list(range(50, 200, 10))
    # The last one was on its way when all was over, and no one waits for it.
    assert [r.outcome for r in drained[-2:]] == [Outcome.OK, Outcome.CANCELLED]


def test_an_unmeasured_request_still_running_when_all_is_over_is_cancelled(run, script):
    one = run(
        lambda index: script(25 * MS if index == 0 else 10 * MS),
        concurrency=2,
        window_ns=5 * MS,
    )
    one.start().until_over()
    assert one.result.over_ns == SECOND + 25 * MS
    last = of_stage(one, Stage.DRAIN)[-1]
    assert (offsets([last]), last.outcome, last.error) == (
        [20],
        Outcome.CANCELLED,
        "the level was over",
    )
    assert one.result.ended == {Outcome.OK: 2}


def test_what_the_drain_limit_cuts_off_is_cancelled_by_us(run, script):
    one = run(
        lambda index: script(None if index in (0, 3) else 20 * MS),
        concurrency=3,
        window_ns=50 * MS,
        drain_ns=400 * MS,
    )
    one.start().until_over()
    assert one.result.over_ns == SECOND + 450 * MS
    assert one.result.ended == {Outcome.CANCELLED: 2, Outcome.OK: one.result.scheduled - 2}
    cut = [record for record in one.result.measured if record.outcome is Outcome.CANCELLED]
    assert [record.index for record in cut] == [0, 3]
    assert {record.phase for record in cut} == {Phase.DRAIN}
    # One of the unmeasured was on its way, too.
    assert [r.outcome for r in of_stage(one, Stage.DRAIN)[-2:]] == [
        Outcome.OK,
        Outcome.CANCELLED,
    ]
    assert {record.error for record in cut} == {"still running 0.4 s after the window had closed"}


def test_the_drain_limit_is_for_measured_requests_only(run, script):
    one = run(
        lambda index: script(None if index in (0, 4) else 20 * MS),
        concurrency=2,
        warmup_requests=1,
        window_ns=50 * MS,
        drain_ns=100 * MS,
    )
    one.start().until_over()
    hung = {r.index: r for r, _ in one.records if r.outcome is not Outcome.OK}
    assert [(index, hung[index].outcome) for index in sorted(hung)] == [
        (0, Outcome.CANCELLED),
        (4, Outcome.CANCELLED),
    ]
    assert {index: record.phase for index, record in hung.items()} == {0: None, 4: Phase.DRAIN}


@pytest.mark.parametrize("second_ns", [250 * MS, 590 * MS, None])
def test_the_drain_follows_the_longest_request_that_has_ended(run, script, second_ns):
    """One took 300 ms in the warm-up: one that is in flight is waited for for twice as long."""
    one = run(
        lambda index: script((300 * MS, second_ns)[min(index, 1)]),
        concurrency=1,
        warmup_requests=1,
        window_ns=100 * MS,
        drain_ns=100 * MS,
        drain_follows=True,
    )
    one.start().until_over()
    (measured,) = one.result.measured
    if second_ns is None:
        assert (measured.outcome, measured.phase) == (Outcome.CANCELLED, Phase.DRAIN)
        assert one.result.over_ns == one.result.window_end_ns + 600 * MS
        assert measured.error == "still running 0.6 s after the window had closed"
    else:
        assert measured.outcome is Outcome.OK


def test_a_drain_that_is_set_follows_nothing(run, script):
    one = run(
        lambda index: script(None if index == 2 else 300 * MS),
        concurrency=2,
        window_ns=700 * MS,
        drain_ns=100 * MS,
    )
    one.start().until_over()
    assert one.result.over_ns == one.result.window_end_ns + 100 * MS


def test_an_open_loop_sends_on_while_it_drains(run, script):
    one = run(
        lambda index: script(80 * MS if index == 4 else MS),
        mode="open",
        schedule_ns=[n * 10 * MS for n in range(100)],
        window_ns=50 * MS,
    )
    one.start().until_over()
    assert one.result.planned == one.result.scheduled == 5
    assert one.result.over_ns == SECOND + 120 * MS
    assert offsets(of_stage(one, Stage.DRAIN)) == list(range(50, 120, 10))
    assert one.due[-1] == NEVER_NS


# Lateness.


def test_what_was_due_in_the_window_is_measured_though_the_loop_saw_it_late(run, script):
    one = run(
        script(30 * MS),
        mode="open",
        schedule_ns=[0, 40 * MS, 48 * MS, 52 * MS, 58 * MS, 90 * MS],
        window_ns=50 * MS,
    )
    one.start()
    one.clock.advance(45 * MS)
    one.clock.stall(10 * MS)
    one.until_over()
    assert offsets(one.result.measured) == [0, 40, 48]
    assert one.result.planned == 3
    assert offsets(of_stage(one, Stage.DRAIN)) == [52, 58]


def test_the_windows_end_sends_what_was_due_before_it_when_its_timer_comes_first(run, script):
    one = run(script(30 * MS), mode="open", schedule_ns=[0, 48 * MS, 52 * MS], window_ns=50 * MS)
    one.start()
    one.level.driver._timer.cancel()  # as if the loop ran it last
    one.clock.advance(50 * MS)
    assert offsets(one.sender.started) == [0, 48]
    one.level.driver._wake()
    one.until_over()
    assert offsets(one.result.measured) == [0, 48]
    assert one.result.planned == 2


def test_a_closed_loop_measures_what_was_planned_in_the_window_and_seen_after_it(run, script):
    one = run(
        lambda index: script(
            100 * MS if index == 0 else 9 * MS, seen_late_ns=5 * MS if index == 5 else 0
        ),
        concurrency=2,
        window_ns=47 * MS,
    )
    one.start().until_over()
    # The second user: 0, 9, 18, 27, 36 ms; the end at 45 ms is seen at 50.
    assert offsets(one.result.measured) == [0, 0, 9, 18, 27, 36, 45]
    assert one.result.window_end_ns == SECOND + 47 * MS


def test_a_window_of_requests_holds_just_so_many_however_their_stamps_are_ordered(run, script):
    # Every other end is seen 4 ms late, so that plans come out of order.
    one = run(
        lambda index: script(10 * MS, seen_late_ns=4 * MS if index % 2 else 0),
        concurrency=3,
        ramp_ns=3 * MS,
        requests=9,
    )
    one.start().until_over()
    assert one.result.scheduled == 9
    assert one.result.window_end_ns == max(r.scheduled_ns for r in one.result.measured)


def late_first(script):
    """The third request is planned at 12 ms; the fourth at 10, which is seen at 14."""
    return lambda index: script(12 * MS if index else 10 * MS, seen_late_ns=0 if index else 4 * MS)


def test_a_full_window_takes_none_that_was_planned_earlier_and_is_seen_later(run, script):
    one = run(late_first(script), concurrency=2, requests=3).start().until_over()
    assert offsets(one.result.measured) == [0, 0, 12]
    assert offsets(of_stage(one, Stage.DRAIN))[0] == 10


def test_a_window_ends_no_earlier_than_any_of_its_requests(run, script):
    one = run(late_first(script), concurrency=2, requests=4).start().until_over()
    assert offsets(one.result.measured) == [0, 0, 12, 10]
    assert one.result.window_end_ns == SECOND + 12 * MS


def test_in_flight_is_integrated_over_the_window_alone(run, script):
    one = run(script(10 * MS), concurrency=4, warmup_ns=30 * MS, window_ns=50 * MS)
    one.start().until_over()
    assert one.result.area_in_window == 4 * 50 * MS


def test_a_late_end_of_the_window_adds_nothing_to_the_integral(run, script):
    one = run(script(None), concurrency=4, window_ns=50 * MS, drain_ns=SECOND).start()
    one.clock.advance(40 * MS)
    one.clock.stall(30 * MS)
    one.until_over()
    assert one.result.area_in_window == 4 * 50 * MS
    assert one.result.window_end_ns == SECOND + 50 * MS


def test_unmeasured_requests_that_were_on_their_way_in_the_window_are_kept(run, script):
    one = run(script(20 * MS), concurrency=2, ramp_ns=20 * MS, warmup_ns=35 * MS, requests=4)
    one.start().until_over()
    # Planned at 20 and 30 ms, they ended at 40 and 50; the window is from 35 to 70 ms.
    assert offsets(one.result.others) == [20, 30]
    assert offsets(one.result.measured) == [40, 50, 60, 70]


# Drops.


def test_drops_are_measured_where_they_were_planned(run, script):
    one = run(
        script(95 * MS),
        mode="open",
        schedule_ns=[n * 10 * MS for n in range(60)],
        max_inflight=5,
        warmup_ns=100 * MS,
        window_ns=200 * MS,
    )
    one.start().until_over()
    # Of each ten, five find room: k6's arithmetic.
    assert one.result.ended == {Outcome.OK: 10, Outcome.DROPPED: 10}
    assert (one.result.sent, one.result.scheduled, one.result.planned) == (10, 20, 20)
    assert len([r for r, s in one.records if s is Stage.WARMUP]) == 10
    dropped = [r for r in one.result.measured if r.outcome is Outcome.DROPPED]
    assert offsets(dropped) == [n * 100 + m * 10 for n in (1, 2) for m in range(5, 10)]
    assert {r.error for r in dropped} == {"5 requests were in flight"}
    assert all(r.done_ns == r.scheduled_ns and not r.sent_ns for r in dropped)


def test_a_drop_can_fill_the_window(run, script):
    one = run(
        script(100 * MS),
        mode="open",
        schedule_ns=[n * 10 * MS for n in range(60)],
        max_inflight=2,
        requests=4,
    )
    one.start().until_over()
    assert one.result.ended == {Outcome.OK: 2, Outcome.DROPPED: 2}
    assert one.result.window_end_ns == SECOND + 30 * MS
    drained = [r for r, s in one.records if s is Stage.DRAIN]
    assert offsets(drained) == list(range(40, 110, 10))


def test_a_window_of_drops_alone_is_over_with_its_last(run, script):
    one = run(
        lambda index: script(None),
        mode="open",
        schedule_ns=[0, 10 * MS, 20 * MS, 30 * MS],
        max_inflight=1,
        warmup_ns=5 * MS,
        requests=2,
    )
    one.start().until_over()
    assert one.result.ended == {Outcome.DROPPED: 2}
    assert one.result.over_ns == SECOND + 20 * MS


# A schedule that ends.


def test_a_schedule_that_ends_before_so_many_requests_ends_the_window(run, script):
    one = run(script(10 * MS), mode="open", schedule_ns=[0, 20 * MS], requests=5)
    one.start().until_over()
    assert one.result.exhausted
    assert one.result.ended == {Outcome.OK: 2}
    assert one.result.window_end_ns == SECOND + 20 * MS


def test_a_schedule_that_ends_in_the_warm_up_ends_the_level(run, script):
    one = run(
        script(10 * MS), mode="open", schedule_ns=[0, 20 * MS], warmup_requests=5, window_ns=SECOND
    )
    one.start().until_over()
    assert one.result.exhausted
    assert (one.result.scheduled, one.result.over_ns) == (0, SECOND + 20 * MS)


def test_a_schedule_that_ends_in_a_window_of_seconds_lets_it_go_on(run, script):
    one = run(script(10 * MS), mode="open", schedule_ns=[0, 20 * MS], window_ns=100 * MS)
    one.start().until_over()
    assert not one.result.exhausted
    assert one.result.window_end_ns == one.result.over_ns == SECOND + 100 * MS


def test_an_empty_schedule_is_a_level_of_nothing(run, script):
    one = run(script(10 * MS), mode="open", schedule_ns=[], requests=5).start().until_over()
    assert (one.result.exhausted, one.result.scheduled) == (True, 0)


# Failures at once.


def test_requests_that_fail_as_they_are_sent_are_counted(run, script):
    one = run(script(None, fails_at_once=True), concurrency=2, requests=4).start().until_over()
    assert one.result.ended == {Outcome.CONNECT_ERROR: 4}
    assert offsets(one.result.measured) == [0, 0, 100, 100]


def test_the_last_request_may_fail_as_it_is_sent(run, script):
    one = run(lambda index: script(10 * MS, fails_at_once=index == 2), concurrency=1, requests=3)
    one.start().until_over()
    assert one.result.ended == {Outcome.OK: 2, Outcome.CONNECT_ERROR: 1}


def test_a_send_in_which_the_level_ends_is_taken_back(run, script):
    one = run(lambda index: script(None), concurrency=3, requests=1, ramp_ns=20 * MS)
    one.start()
    first = next(iter(one.sender.live))
    send = one.sender.start

    def start(live, place, scheduled_ns, on_done):
        one.sender.end(first, Outcome.OK, None, "", one.clock.now_ns())
        return send(live, place, scheduled_ns, on_done)

    one.sender.start = start
    one.until_over()
    assert [record.outcome for record, _ in one.records] == [Outcome.OK, Outcome.CANCELLED]


# Interrupts.


def test_an_interrupt_in_the_window_sends_no_more_and_waits_for_what_is_on_its_way(run, script):
    one = run(script(20 * MS), concurrency=2, ramp_ns=20 * MS, window_ns=SECOND).start()
    one.clock.advance(45 * MS)
    one.level.interrupt(5 * SECOND)
    assert one.level.stage is Stage.DRAIN
    one.until_over()
    assert one.result.interrupted
    assert one.result.window_end_ns == SECOND + 45 * MS
    assert one.result.over_ns == SECOND + 60 * MS
    assert one.result.ended == {Outcome.OK: 5}


def test_what_does_not_end_within_the_grace_is_cancelled(run, script):
    one = run(
        lambda index: script(None if index else 10 * MS), concurrency=2, window_ns=SECOND
    ).start()
    one.clock.advance(45 * MS)
    one.level.interrupt(100 * MS)
    one.until_over()
    assert one.result.over_ns == SECOND + 145 * MS
    assert one.result.ended == {Outcome.OK: 1, Outcome.CANCELLED: 2}


def test_a_second_interrupt_ends_it_at_once(run, script):
    one = run(script(None), concurrency=3, window_ns=SECOND).start()
    one.clock.advance(45 * MS)
    one.level.interrupt(5 * SECOND)
    assert one.over == 0
    one.clock.advance(5 * MS)
    one.level.interrupt(0)
    assert one.result.over_ns == SECOND + 50 * MS
    assert one.result.ended == {Outcome.CANCELLED: 3}
    one.check()


def test_an_interrupt_without_grace_ends_it_at_once(run, script):
    one = run(script(None), concurrency=3, window_ns=SECOND).start()
    one.level.interrupt(0)
    assert one.result.ended == {Outcome.CANCELLED: 3}
    one.check()


def test_an_interrupt_in_the_warm_up_measures_nothing(run, script):
    one = run(script(30 * MS), concurrency=2, warmup_requests=8, window_ns=SECOND).start()
    one.clock.advance(40 * MS)
    one.level.interrupt(5 * SECOND)
    one.until_over()
    assert one.result.scheduled == 0
    assert one.result.window_start_ns == one.result.window_end_ns == SECOND + 40 * MS
    assert one.result.over_ns == SECOND + 60 * MS
    assert [r.outcome for r, _ in one.records] == [Outcome.OK] * 4
    assert {s for _, s in one.records} == {Stage.WARMUP}


def test_an_interrupt_in_the_drain_cuts_the_wait_to_the_grace(run, script):
    one = run(
        lambda index: script(None if index == 0 else 10 * MS), concurrency=2, window_ns=50 * MS
    ).start()
    one.clock.advance(70 * MS)
    assert one.level.stage is Stage.DRAIN
    one.level.interrupt(20 * MS)
    one.until_over()
    assert one.result.over_ns == SECOND + 90 * MS
    assert one.result.ended == {Outcome.OK: 5, Outcome.CANCELLED: 1}


def test_after_an_interrupt_the_grace_counts_and_the_drain_limit_no_more(run, script):
    one = run(
        lambda index: script(None if index == 0 else 10 * MS),
        concurrency=2,
        window_ns=50 * MS,
        drain_ns=30 * MS,
    ).start()
    one.clock.advance(70 * MS)
    one.level.interrupt(50 * MS)
    one.until_over()
    assert one.result.over_ns == SECOND + 120 * MS
    assert one.result.ended == {Outcome.OK: 5, Outcome.CANCELLED: 1}


def test_an_interrupt_with_nothing_on_its_way_ends_it(run, script):
    one = run(script(10 * MS), concurrency=1, think_ns=50 * MS, window_ns=SECOND).start()
    one.clock.advance(30 * MS)
    one.level.interrupt(5 * SECOND)
    assert one.over == 1
    one.check()


def test_an_interrupt_before_the_start_leaves_nothing_to_start(run, script):
    one = run(script(10 * MS), concurrency=1, window_ns=SECOND)
    one.clock.advance(5 * MS)
    one.level.interrupt(5 * SECOND)
    assert one.over == 1
    one.clock.advance(5 * MS)
    one.start()
    assert not one.sender.started
    assert one.result.start_ns == SECOND
    one.check()


def test_an_interrupt_after_the_end_changes_nothing(run, script):
    one = run(script(10 * MS), concurrency=1, requests=1).start().until_over()
    one.level.interrupt(0)
    assert not one.result.interrupted
    one.check()


# Counting.


@pytest.mark.parametrize(
    ("scheduled", "sent", "ended", "agree"),
    [
        (3, 2, {Outcome.OK: 2, Outcome.DROPPED: 1}, True),
        (3, 2, {Outcome.OK: 1, Outcome.CANCELLED: 1, Outcome.DROPPED: 1}, True),
        (0, 0, {}, True),
        (4, 2, {Outcome.OK: 2, Outcome.DROPPED: 1}, False),
        (3, 3, {Outcome.OK: 2, Outcome.DROPPED: 1}, False),
        (3, 2, {Outcome.OK: 3}, False),
    ],
)
def test_plan_send_and_end_must_tell_the_same(scheduled, sent, ended, agree):
    counts = LevelRecords(scheduled=scheduled, sent=sent)
    counts.ended.update(ended)
    assert counts.counts_agree == agree


def test_an_end_that_is_lost_shows(run, script):
    one = run(script(10 * MS), concurrency=2, requests=4).start()
    one.result.ended[Outcome.OK] -= 1
    one.clock.advance(SECOND)
    assert one.over == 1
    assert not one.result.counts_agree


def test_all_that_was_sent_is_counted_besides_the_measured(run, script):
    one = run(script(10 * MS), concurrency=1, warmup_requests=3, requests=2).start().until_over()
    assert one.level.sent_total == len(one.sender.started) == 5
