"""Load run: the load of one level on the real client, with everything that keeps it going.

It is all of a level, or one worker's share of it. What it measures is a `Measured`, which can be
added to those of other workers, beside requests and seconds, which it passes on as they come.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchcore.base.clock import NS, LoopClock
from benchcore.client.client import Client
from benchcore.client.records import Outcome, Record
from benchcore.climbs.departures import LEAD_NS, Departures
from benchcore.climbs.findings import Standing
from benchcore.climbs.housekeeping import ROWS_A_SLICE, Housekeeping, slice_of
from benchcore.climbs.plan import Step
from benchcore.climbs.requests import Sent, SessionSender, Tally
from benchcore.climbs.watch import Presence, SoFar, connect_ahead, faults_end, no_collection
from benchcore.load.level import Level
from benchcore.load.level_plan import Conductor, LevelPlan, LevelRecords, Stage
from benchcore.load.open_loop import OpenLoop
from benchcore.metrics.percentiles import Histogram
from benchcore.metrics.throughput import Second
from benchcore.metrics.validity import Evidence
from benchcore.observe.machine import CollectorWatch, Heartbeat, Mark, mark, spent
from benchcore.runs.sinks import FanOut
from benchcore.workload.kinds import SessionKind
from benchcore.workload.sessions import LiveSession

TICK_SECONDS = 0.01
SLICE_EVERY = 5
"""Ticks; more often only where much waits: what a slice costs is mostly its beginning."""
PREPARED_A_TICK = 12
LIVE_EVERY_NS = NS // 2
AT_ONCE = 64
REPLAYED_AHEAD = 128
"""Sessions a second that are reckoned with where a trace has its own times."""
WARM_UPS_AT_ONCE = 32
JUDGED_A_TICK = 4
ROWS_AT_ONCE = 4
"""Of an open loop; more would make a request that falls due meanwhile late."""


@dataclass(slots=True)
class Measured:
    """What a process has measured of a level, beside its requests and its seconds.

    Args:
        records: counts and instants; the requests themselves are elsewhere.
        in_flight: of each second, the mean number of requests on their way.
        evidence: of the load generator, as far as it is this process's own.
        lags: time from a stamp to its read.
        sent: what is known of what was sent.
        gone: how the target was found to be there no more; empty: it is.
    """

    records: LevelRecords
    in_flight: list[float] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)
    lags: Histogram = field(default_factory=Histogram)
    sent: Sent = field(default_factory=Sent)
    gone: str = ""

    def add(self, other: Measured) -> None:
        """Add what another worker has measured of the same level."""
        self.records.add(other.records)
        longer, shorter = self.in_flight, other.in_flight
        if len(longer) < len(shorter):
            longer, shorter = list(shorter), longer
        for number, mean in enumerate(shorter):
            longer[number] += mean
        self.in_flight = longer
        self.evidence = self.evidence.beside(other.evidence)
        self.lags.merge(other.lags)
        self.note_lags()
        self.sent.add(other.sent)
        self.gone = self.gone or other.gone

    def move(self, by_ns: int) -> None:
        """Put it on another timeline: what a worker on another host has measured, on ours."""
        self.records.move(by_ns)
        self.sent.judged = [(at_ns + by_ns, wrong) for at_ns, wrong in self.sent.judged]

    def note_lags(self) -> None:
        """Let the evidence say what the lags are."""
        if len(self.lags):
            self.evidence.client_lag_p50_seconds = self.lags.percentile(0.5) / NS
            self.evidence.client_lag_p99_seconds = self.lags.percentile(0.99) / NS
            self.evidence.client_lag_max_seconds = self.lags.percentile(1.0) / NS


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom a load run tells, in the middle of everything: as little work as can be.

    Args:
        ended: takes each request that has ended, and where it belongs.
        begun: takes the number of each request before it is sent, the instant it was planned for,
            and where it belongs.
        stage: takes where the level has come to.
        second: takes each second that is closed: its number, the mean number of requests on their
            way in it, and what is in it.
        live: is told about twice a second what time it is.
        say: takes what is worth a line.
    """

    ended: Callable[[Record, Stage], None] = lambda _record, _stage: None
    begun: Callable[[int, int, Stage], None] = lambda _index, _scheduled_ns, _stage: None
    stage: Callable[[Stage], None] = lambda _stage: None
    second: Callable[[int, float, Second], None] | None = None
    live: Callable[[int], None] = lambda _now_ns: None
    say: Callable[[str], None] = lambda _text: None


class LoadRun:
    """Runs the load of one level, or a worker's share of it.

    Args:
        client: open, its target settled.
        step: which level.
        plan: what it does.
        tally: takes requests as they become rows.
        sinks: take seconds as they come.
        so_far: counts them.
        listener: is told.
        e2e_seconds: how long one request took, alone; `None`: unknown.
        block_tokens: of the server's prefix cache; `None`: unknown.
        conductor: says when the window opens and closes; `None`: nobody, this is the whole load.
    """

    def __init__(
        self,
        client: Client,
        step: Step,
        plan: LevelPlan,
        *,
        tally: Tally,
        sinks: FanOut,
        so_far: SoFar,
        listener: Listener,
        e2e_seconds: float | None,
        block_tokens: int | None = None,
        conductor: Conductor | None = None,
    ) -> None:
        self._client = client
        self._step = step
        self._plan = plan
        self._so_far = so_far
        self._listener = listener
        self._e2e_seconds = e2e_seconds
        self._loop = asyncio.get_running_loop()
        is_open = plan.mode == "open"
        self._clock = LoopClock(self._loop, lead_ns=LEAD_NS if is_open else 0)
        replayed = plan.schedule_ns if plan.replay else None
        self._sender = SessionSender(
            client,
            step.part.workload,
            step.name,
            step.repeat,
            schedule_ns=replayed if isinstance(replayed, array) else None,
            speed=step.level if plan.replay else 1.0,
            share=plan.share,
            block_tokens=block_tokens,
        )
        self._presence = Presence(client, lambda: self.level.interrupt(0))
        self._over = asyncio.Event()
        self._departures = Departures(client, self._sender, self._over)
        self._interrupted = asyncio.Event()
        self._heartbeat = Heartbeat(self._loop)
        self._uses_heartbeat = not client.stamper.kernel_wanted or client.target.uds is not None
        self._lags = Histogram()
        self._measuring = False
        self._marks: list[Mark] = []
        self._window_cpu = 0.0
        self._reads = (0, 0)
        self._window_reads = (0, 0)
        self._steps_before = self._faults_before = self._merged_before = 0
        self._ahead = 0
        self._pauses: list[int] = []
        self.level = Level(
            plan,
            self._clock,
            self._sender,
            on_over=self._over.set,
            on_record=self._record_ended,
            on_due=self._departures.set_next,
            on_stage=self._stage_changed,
            keep=False,
            count_sessions=isinstance(step.part.workload, SessionKind),
            on_begin=listener.begun,
            conductor=conductor,
        )
        self.house = Housekeeping(
            step.name,
            step.repeat,
            sinks=sinks,
            tally=tally,
            so_far=so_far,
            on_the_way=client.in_flight_now,
            at_boundary=self._fold_lags,
            rows_at_once=ROWS_AT_ONCE if is_open else ROWS_A_SLICE,
            on_second=listener.second,
        )

    @property
    def standing(self) -> Standing:
        """How it stands."""
        level = self.level
        return Standing(
            stage=level.stage,
            start_ns=level.result.start_ns,
            window_start_ns=level.result.window_start_ns,
            scheduled=level.result.scheduled,
            in_flight=level.in_flight.now,
        )

    def interrupt(self, grace_seconds: float, at_ns: int | None = None) -> None:
        """Send nothing more; see `Level.interrupt`."""
        self._interrupted.set()
        self.level.interrupt(round(grace_seconds * NS), at_ns)

    # What the level tells, in the middle of everything: as little work as can be.

    def _record_ended(self, record: Record, stage: Stage) -> None:
        self._listener.ended(record, stage)
        self.house.ended(record, stage)
        self._presence.note(record)

    def _stage_changed(self, stage: Stage) -> None:
        stamper = self._client.stamper
        if stage is Stage.WINDOW or not self._marks:
            stamper.take_lags()
            del self._heartbeat.lags[:]
            self._lags = Histogram()
            self._measuring = True
            self._steps_before = stamper.clock_steps
            self._reads = (stamper.kernel, stamper.userspace)
            self._marks = [mark()]
            self._pauses.clear()
        if stage is Stage.DRAIN:
            self._window_cpu = spent(self._marks[0], mark(), []).process_cpu_seconds
        if stage is Stage.OVER:
            # Measured requests run on in the drain: what delays it delays them.
            self._fold_lags()
            self._measuring = False
            self._window_reads = (
                stamper.kernel - self._reads[0],
                stamper.userspace - self._reads[1],
            )
            self._marks.append(mark())
        self._listener.stage(stage)

    def _fold_lags(self) -> None:
        lags = self._client.stamper.take_lags()
        if self._uses_heartbeat:
            lags = array("q", self._heartbeat.lags)
            del self._heartbeat.lags[:]
        if self._measuring:
            # On one machine data can be read within the microsecond: no lag is out of range.
            self._lags.add(np.frombuffer(lags, dtype=np.int64).clip(1000))

    # Running.

    async def prepare(self) -> None:
        """Open connections, make the first requests and send what is to be sent before the load.

        Raises:
            CapacityError: this process may not open that many connections.
        """
        plan = self._plan
        if plan.mode == "closed":
            users = plan.own_users
            await self._connect_ahead(users)
            self._ahead = 2 * users + 32
        else:
            rate = (plan.rate or REPLAYED_AHEAD) / plan.share.of
            expected = rate * (self._e2e_seconds or 1.0) * 1.5 + 8
            await self._connect_ahead(min(int(expected), plan.max_inflight, 1024))
            self._ahead = int(2 * rate) + 32
            assert isinstance(self.level.driver, OpenLoop)
            self._departures.begin(self.level.driver)
        ready = False
        while not ready and not self._interrupted.is_set():
            ready = self._sender.refill(self._ahead, AT_ONCE)
            await asyncio.sleep(0)
        await self._warm_up()

    async def run(self, at_ns: int | None = None) -> Measured:
        """Run the load to its end and return what it measured; the clock is given back.

        Args:
            at_ns: the zero of all its times, not in the future; `None`: now.
        """
        client = self._client
        self._merged_before = client.merged_reads
        self._faults_before = client.client_faults
        try:
            with (
                no_collection(),
                CollectorWatch(self._pauses),
                faults_end(self._loop, self._over.set),
            ):
                if self._uses_heartbeat:
                    self._heartbeat.start()
                self.level.start(at_ns)
                self.house.begin(self.level.result.start_ns, self.level.in_flight)
                await self._keep_house()
            await self._presence.settled(self._interrupted)
        finally:
            self.house.write_all()
            self._heartbeat.stop()
            self._departures.end()
            self._presence.close()
        client.close_idle()
        self._sender.judge()
        return self._measured()

    def close(self) -> None:
        """Give the kernel's timer back."""
        self._departures.end()
        self._clock.close()

    async def _warm_up(self) -> None:
        """Send the sessions that a trace has before its window, and wait for them."""
        gate = asyncio.Semaphore(WARM_UPS_AT_ONCE)

        async def failed(live: LiveSession) -> bool:
            async with gate:
                if self._interrupted.is_set():
                    return False
                record = await self._client.send(self._sender.prepare(live, 0))
                return record.outcome is not Outcome.OK

        bad = sum(await asyncio.gather(*map(failed, self._sender.warm_ups)))
        if bad:
            count = len(self._sender.warm_ups)
            self._listener.say(f"{self._step.name}: {bad} of {count} warm-up request(s) failed")

    async def _connect_ahead(self, count: int) -> None:
        say, name = self._listener.say, self._step.name
        await connect_ahead(
            self._client, count, self._interrupted, lambda what: say(f"{name}: {what}")
        )

    async def _keep_house(self) -> None:
        """Do in small slices all that can wait, until the level is over."""
        ahead = self._ahead
        live_ns = self.level.result.start_ns + LIVE_EVERY_NS
        ticks = 0
        while not self._over.is_set():
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)
            for _ in range(slice_of(PREPARED_A_TICK, self._sender.missing(ahead))):
                await self._departures.go_first()
                if self._sender.refill(ahead, 1):
                    break
            now_ns = self._clock.now_ns()
            if ticks % SLICE_EVERY == 0 or self.house.is_pressing:
                await self._departures.go_first()
                for _ in self.house.slice(now_ns):
                    await self._departures.go_first()
            self._sender.judge(JUDGED_A_TICK)
            self._departures.send_due()
            if now_ns >= live_ns:  # by time: on a busy machine a tick may be long
                live_ns = now_ns + LIVE_EVERY_NS
                self._listener.live(now_ns)

    # What was measured.

    def _measured(self) -> Measured:
        result = self.level.result
        used = spent(self._marks[0], self._marks[-1], self._pauses)
        kernel, userspace = self._window_reads
        measured = Measured(
            records=result,
            in_flight=self.level.in_flight.second_means(result.over_ns),
            evidence=Evidence(
                counts_agree=result.counts_agree,
                stamps_wanted=not self._uses_heartbeat,
                reads_kernel=kernel,
                reads_userspace=userspace,
                token_reads=self._so_far.token_reads,
                merged_reads=self._client.merged_reads - self._merged_before,
                cpu_share=used.cpu_share,
                process_cpu_seconds=self._window_cpu,
                steal_share=used.steal_share,
                run_delay_share=used.run_delay_share,
                throttled_share=used.throttled_share,
                collector_seconds=used.collector_seconds,
                clock_steps=self._client.stamper.clock_steps - self._steps_before,
                unprepared=self._sender.unprepared,
                client_faults=self._client.client_faults - self._faults_before,
            ),
            lags=self._lags,
            sent=self._sender.sent,
            gone=self._presence.gone,
        )
        measured.note_lags()
        return measured
