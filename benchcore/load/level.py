"""Level: one step of a climb, through warm-up, window and drain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchcore.base.clock import NEVER_NS, Clock, Timer
from benchcore.client.records import Outcome, Phase, Record
from benchcore.load.closed_loop import ClosedLoop, InFlight
from benchcore.load.level_plan import Conductor, LevelPlan, LevelRecords, Sender, Stage
from benchcore.load.open_loop import OpenLoop
from benchcore.load.session_run import SessionEnd, SessionRun, end_of
from benchcore.workload.sessions import LiveSession


class Level:
    """Runs one level; everything happens in callbacks of the clock and of the sender.

    Args:
        plan: what to do.
        clock: what time it is.
        sender: sends requests.
        on_over: called once when all has ended.
        on_record: told of every request that ends, and where it belongs.
        on_due: told when an open loop's next request is due.
        on_stage: told when the window opens, closes, and when all is over.
        keep: hold measured requests until the end; else it is for `on_record` to keep them.
        count_sessions: count how sessions went; of single prompts that says nothing of its own.
        on_begin: told of every request before it is sent: its number, the instant it was planned
            for, and where it belongs.
        conductor: says when the window opens and closes, by `open_at`, `close_at` and `finish`;
            `None`: nobody, this is the whole load.
    """

    def __init__(
        self,
        plan: LevelPlan,
        clock: Clock,
        sender: Sender,
        *,
        on_over: Callable[[], None],
        on_record: Callable[[Record, Stage], None] = lambda _record, _stage: None,
        on_due: Callable[[int], None] = lambda _due_ns: None,
        on_stage: Callable[[Stage], None] = lambda _stage: None,
        keep: bool = True,
        count_sessions: bool = True,
        on_begin: Callable[[int, int, Stage], None] = lambda _index, _scheduled_ns, _stage: None,
        conductor: Conductor | None = None,
    ) -> None:
        self.plan = plan
        self.stage = Stage.WARMUP
        self.result = LevelRecords()
        self.in_flight = InFlight(clock.now_ns())
        self.sent_total = 0
        self._clock = clock
        self._sender = sender
        self._on_over = on_over
        self._on_record = on_record
        self._on_stage = on_stage
        self._keep = keep
        self._count_sessions = count_sessions
        self._on_begin = on_begin
        self._conductor = conductor
        self._opening_ns = NEVER_NS
        self._requests = plan.requests
        self._kept: list[Record] = []
        self._warm_ended = 0
        self._index = plan.share.worker
        self._pending: dict[int, tuple[bool, Any]] = {}
        self._measured_pending = 0
        self._area_at_start = 0
        self._timers: list[Timer] = []
        self._window_end_ns = NEVER_NS
        self._latest_ns = 0  # of the measured requests, the latest planned instant
        self._closed_by_time = False
        self._closed_ns = 0  # when the window was found to be over
        self._longest_ns = 0  # of the requests that have ended of themselves
        self.result.start_ns = clock.now_ns()  # should it be interrupted before it starts
        self._live: set[SessionRun] = set()
        self._source_ended = False
        self._no_more = False
        self.driver: ClosedLoop | OpenLoop
        if plan.mode == "closed":
            assert plan.concurrency is not None
            self.driver = ClosedLoop(
                clock,
                self._begin,
                plan.concurrency,
                ramp_ns=plan.ramp_ns,
                think_ns=plan.think_ns,
                shifts=plan.shifts,
                share=plan.share,
            )
        else:
            self.driver = OpenLoop(
                clock,
                self._begin,
                self._drop,
                plan.schedule_ns,
                max_inflight=plan.max_inflight,
                more=sender.read_on if plan.replay else lambda: False,
                on_next=on_due,
                on_exhausted=self._exhausted,
            )

    @property
    def is_over(self) -> bool:
        """Whether all has ended."""
        return self.stage is Stage.OVER

    def start(self, at_ns: int | None = None) -> None:
        """Begin; nothing happens where it has been interrupted already.

        Args:
            at_ns: the zero of all its times, not in the future; `None`: now.
        """
        if self.is_over:
            return
        now_ns = self._clock.now_ns() if at_ns is None else at_ns
        self.result.start_ns = now_ns
        self.in_flight = InFlight(now_ns)
        if self.plan.warmup_ns > 0:
            self._at(now_ns + self.plan.warmup_ns, self._maybe_open_window)
        else:
            self._maybe_open_window(now_ns)
        self._open_if_due(now_ns)
        self.driver.start(now_ns)

    # What a conductor says.

    def open_at(self, at_ns: int, requests: int | None) -> None:
        """Open the window at an instant.

        Args:
            at_ns: the instant; one that has passed will do.
            requests: how many of its requests are measured; `None`: all.
        """
        self._requests = requests
        self._opening_ns = at_ns
        self._at(at_ns, lambda: self._open_if_due(at_ns))

    def close_at(self, end_ns: int) -> None:
        """Close the window at an instant that has passed; it may have closed by its time."""
        if self.stage is Stage.WINDOW:
            self._close_window(end_ns)

    def interrupt(self, grace_ns: int, at_ns: int | None = None) -> None:
        """Send nothing more; what is on its way may end within `grace_ns`, then is cancelled.

        Args:
            grace_ns: 0: it is cancelled at once.
            at_ns: when the window ends, not in the future; `None`: now.
        """
        if self.is_over:
            return
        self.result.interrupted = True
        self._stop_driver()
        end_ns = self._clock.now_ns() if at_ns is None else at_ns
        if self.stage is Stage.WARMUP:
            self._close_window(max(end_ns, self.result.start_ns), opened=False)
        elif self.stage is Stage.WINDOW:
            # A late loop is interrupted behind the window's end, which nobody has seen yet.
            end_ns = max(end_ns, self.result.window_start_ns)
            self._close_window(min(end_ns, self._window_end_ns))
        if self.is_over:
            return
        if grace_ns <= 0:
            self.finish()
        else:
            self._at(self._clock.now_ns() + grace_ns, self.finish)

    # Scheduling.

    def _at(self, when_ns: int, call: Callable[[], None]) -> None:
        self._timers.append(self._clock.call_at(when_ns, call))

    def _stop_driver(self) -> None:
        """Begin no more sessions and send no more turns."""
        self.driver.stop()
        for run in self._live:
            run.stop()

    def _begin(self, scheduled_ns: int, ended: Callable[[SessionEnd], None]) -> None:
        live = self._sender.next()
        if live is None:
            self._no_more = True
            self._exhausted()
            return
        inside = self._is_inside(scheduled_ns)
        self.result.begun += inside
        self.result.left_open += inside

        def over(end: SessionEnd) -> None:
            if not end.cancelled:
                self.result.left_open -= inside
                if self._count_sessions and self._is_inside(end.done_ns):
                    self.result.sessions.add(end)
            ended(end)
            if self._source_ended:
                self._exhausted()

        if live.session.is_plain:  # most are: nothing of it is to be kept track of
            self._emit(live, 0, scheduled_ns, lambda record: over(end_of(scheduled_ns, record)))
            return

        def run_over(end: SessionEnd) -> None:
            self._live.discard(run)
            over(end)

        run = SessionRun(live, self._clock, self._emit, scheduled_ns, run_over, self._sender.coming)
        self._live.add(run)
        run.start()

    def _is_inside(self, scheduled_ns: int) -> bool:
        return (
            self.stage in (Stage.WINDOW, Stage.DRAIN)
            and self.result.window_start_ns <= scheduled_ns < self._window_end_ns
        )

    def _is_measured(self, scheduled_ns: int) -> bool:
        # By the planned instant, not by the stage: a late loop closes the window before it has
        # seen all that was planned inside it.
        return self._is_inside(scheduled_ns) and (
            self._requests is None or self.result.scheduled < self._requests
        )

    def _plan_one(self, scheduled_ns: int) -> tuple[int, bool, Stage]:
        """Count a planned request; returns its number, whether it is measured, and its stage."""
        index = self._index
        self._index += self.plan.share.of
        self._open_if_due(scheduled_ns)
        if self._is_measured(scheduled_ns):
            self.result.scheduled += 1
            self._latest_ns = max(self._latest_ns, scheduled_ns)
            return index, True, Stage.WINDOW
        if self.stage is Stage.WARMUP or scheduled_ns < self.result.window_start_ns:
            return index, False, Stage.WARMUP
        return index, False, Stage.DRAIN

    def _filled(self) -> bool:
        return self.stage is Stage.WINDOW and self.result.scheduled == self._requests

    def _has_filled(self, latest_ns: int) -> None:
        """Close the window, or let the conductor do so for everyone."""
        if self._conductor is None:
            self._close_window(latest_ns)
        else:
            self._conductor.filled(latest_ns)

    def _emit(
        self,
        live: LiveSession,
        place: int,
        scheduled_ns: int,
        ended: Callable[[Record], None],
    ) -> None:
        index, measured, stage = self._plan_one(scheduled_ns)
        self.in_flight.change(self._clock.now_ns(), 1)
        self._measured_pending += measured
        self._pending[index] = (measured, None)

        def done(record: Record) -> None:
            record.index = index
            record.session, record.turn = live.number, place + 1
            record.kind = live.session.turns[place].kind
            self._ended(record, measured, stage)
            ended(record)

        self._on_begin(index, scheduled_ns, stage)
        exchange = self._sender.start(live, place, scheduled_ns, done)
        self.sent_total += 1
        if measured:
            self.result.sent += 1
        if index in self._pending:
            self._pending[index] = (measured, exchange)
            if self.is_over:  # by the end of another, while this one was being sent
                self._cancel(exchange)
        if measured and self._filled():
            self._has_filled(self._latest_ns)
        if self._source_ended:
            self._exhausted()

    def _drop(self, scheduled_ns: int) -> None:
        self.result.begun += self._is_inside(scheduled_ns)
        if self.plan.replay:
            self._sender.next()  # the one whose time it was
        index, measured, stage = self._plan_one(scheduled_ns)
        record = Record("", scheduled_ns, index, Outcome.DROPPED, done_ns=self._clock.now_ns())
        record.error = f"{self.plan.max_inflight} requests were in flight"
        if measured:
            self.result.ended[Outcome.DROPPED] += 1
            if self._keep:
                self._kept.append(record)
        self._on_begin(index, scheduled_ns, stage)
        self._on_record(record, stage)
        if measured and self._filled():
            self._has_filled(self._latest_ns)

    def _exhausted(self) -> None:
        """End what waits for requests that will not come."""
        self._source_ended = True
        if any(run.has_turns_left for run in self._live):
            return  # asked again when a session has ended
        of_sessions = self.plan.replay or self._no_more  # they end, and no schedule does
        if self.stage is Stage.WARMUP:
            self.result.exhausted = not of_sessions
            if self._conductor is None:
                self._close_window(self._clock.now_ns(), opened=False)
            else:
                self._conductor.warm()
        elif self.stage is Stage.WINDOW and (self.plan.window_ns is None or of_sessions):
            self.result.exhausted = not of_sessions
            self._has_filled(self._latest_ns or self.result.window_start_ns)

    # Ends.

    def _ended(self, record: Record, measured: bool, stage: Stage) -> None:
        self.in_flight.change(self._clock.now_ns(), -1)
        del self._pending[record.index]
        result = self.result
        if record.sent_ns and record.outcome is Outcome.OK:
            self._longest_ns = max(self._longest_ns, record.done_ns - record.sent_ns)
        if measured:
            assert record.outcome is not None
            result.ended[record.outcome] += 1
            if self._keep:
                self._kept.append(record)
            self._measured_pending -= 1
        elif (
            self._conductor is None
            and self.stage is not Stage.WARMUP
            and record.done_ns >= result.window_start_ns
            and record.scheduled_ns < self._window_end_ns
        ):
            result.others.append(record)
        self._on_record(record, stage)
        if self.stage is Stage.WARMUP:
            self._warm_ended += 1
            self._maybe_open_window()
        elif self.stage is Stage.DRAIN and (
            not self._measured_pending if not result.interrupted else not self._pending
        ):
            self._has_drained()

    def _maybe_open_window(self, at_ns: int | None = None) -> None:
        now_ns = self._clock.now_ns() if at_ns is None else at_ns
        if (
            self.stage is Stage.WARMUP
            and self._warm_ended >= self.plan.warmup_requests
            and now_ns >= self.result.start_ns + self.plan.warmup_ns
        ):
            if self._conductor is None:
                self._open_window(now_ns)
            else:
                self._conductor.warm()

    def _open_if_due(self, now_ns: int) -> None:
        """Open the window where the conductor has said so."""
        if now_ns >= self._opening_ns and self.stage is Stage.WARMUP:
            self._open_window(self._opening_ns)
            if self._source_ended:
                self._exhausted()

    def _open_window(self, at_ns: int) -> None:
        self.stage = Stage.WINDOW
        self.result.window_start_ns = at_ns
        now_ns = self._clock.now_ns()
        self._area_at_start = self.in_flight.area(now_ns) - self.in_flight.now * (now_ns - at_ns)
        self._on_stage(Stage.WINDOW)
        if self.plan.window_ns is not None:
            end_ns = at_ns + self.plan.window_ns
            self._window_end_ns = end_ns
            self._at(end_ns, lambda: self._time_is_up(end_ns))

    def _time_is_up(self, end_ns: int) -> None:
        if isinstance(self.driver, OpenLoop):
            self.driver.run_due()  # what was due inside the window, should this timer come first
        if self.stage is Stage.WINDOW:
            self._closed_by_time = True
            self._close_window(end_ns)

    def _close_window(self, end_ns: int, *, opened: bool = True) -> None:
        result = self.result
        now_ns = self._clock.now_ns()
        area = self.in_flight.area(now_ns)
        if opened:
            # A late loop comes here after the end, and takes off what it counted since.
            late = self.in_flight.now * (now_ns - end_ns)
            result.area_in_window = max(area - late - self._area_at_start, 0)
        else:
            result.window_start_ns = end_ns
        self.stage = Stage.DRAIN
        self._window_end_ns = result.window_end_ns = end_ns
        self._on_stage(Stage.DRAIN)
        if not self._measured_pending and not (result.interrupted and self._pending):
            self._has_drained()
        elif not result.interrupted:
            self._closed_ns = now_ns
            self._at(now_ns + self._drain_ns, self._cut)

    def _has_drained(self) -> None:
        """End, or wait for what the other workers measure."""
        if self._conductor is None or self.result.interrupted:
            self.finish()
        else:
            self._conductor.drained()

    @property
    def _drain_ns(self) -> int:
        """How long the drain may take, by what is known now."""
        plan = self.plan
        return max(plan.drain_ns, 2 * self._longest_ns if plan.drain_follows else 0)

    def _cut(self) -> None:
        """End what the drain limit cuts off."""
        if self.stage is not Stage.DRAIN or self.result.interrupted:
            return
        end_ns = self._closed_ns + self._drain_ns
        if end_ns > self._clock.now_ns():  # requests have shown since that they take longer
            self._at(end_ns, self._cut)
            return
        why = f"still running {self._drain_ns / 1e9:g} s after the window had closed"
        for measured, exchange in list(self._pending.values()):
            if measured:
                self._sender.cancel(exchange, Outcome.CANCELLED, Phase.DRAIN, why)

    def finish(self) -> None:
        """End: nobody waits for anything any more."""
        if self.is_over:
            return
        self._stop_driver()
        self.stage = Stage.OVER
        for timer in self._timers:
            timer.cancel()
        for _, exchange in list(self._pending.values()):
            self._cancel(exchange)
        if self.plan.mode == "open":
            result, by_time = self.result, self._closed_by_time
            result.count_planned(self.plan.schedule_ns if by_time else None)
        self.result.over_ns = self._clock.now_ns()
        self.result.measured = sorted(self._kept, key=lambda record: record.index)
        self._on_stage(Stage.OVER)
        self._on_over()

    def _cancel(self, exchange: Any) -> None:
        if exchange is not None:
            self._sender.cancel(exchange, Outcome.CANCELLED, None, "the level was over")
