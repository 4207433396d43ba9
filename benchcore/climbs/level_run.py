"""Level run: one level on the real client, with everything that watches it."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchcore.base.clock import NS, LoopClock
from benchcore.base.errors import ConfigError
from benchcore.client.client import Client
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.climbs import findings
from benchcore.climbs.departures import LEAD_NS, Departures
from benchcore.climbs.housekeeping import ROWS_A_SLICE, Housekeeping, slice_of
from benchcore.climbs.plan import Step, level_plan
from benchcore.climbs.requests import Grader, SessionSender, Tally
from benchcore.climbs.watch import Presence, SoFar, connect_ahead, faults_end, no_collection
from benchcore.config.limits import Slo
from benchcore.load.level import Level
from benchcore.load.level_plan import LevelRecords, Stage
from benchcore.load.open_loop import OpenLoop
from benchcore.metrics.fidelity import fidelity
from benchcore.metrics.groups import judged_answers
from benchcore.metrics.level import count_tokens, infinite_figures, latencies, rates
from benchcore.metrics.percentiles import Histogram
from benchcore.metrics.spool import Spool, chosen, is_ok, joined
from benchcore.metrics.throughput import overlap_ns
from benchcore.metrics.validity import Evidence, judge
from benchcore.observe.machine import CollectorWatch, Heartbeat, Mark, mark, spent
from benchcore.observe.scraper import Scraper, ServerMetrics
from benchcore.runs.run import LevelResult, LevelScore
from benchcore.runs.sinks import FanOut, RequestRow
from benchcore.show.progress import Progress
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


class LevelRun:
    """Runs one level and makes its result.

    Args:
        client: open, its target settled.
        step: which level.
        slos: of a good request.
        sinks: take seconds as they come.
        tally: takes requests as they end.
        progress: told how it stands.
        server: the target's `/metrics`.
        e2e_seconds: how long one request took, alone; `None`: unknown.
        ttft_seconds: how long its first token took, likewise.
        grader: says what the answers were worth, where that is wanted.
        failures: tells of them.
        folder: where requests wait in a file for the level's end; `None`: in memory.
    """

    def __init__(
        self,
        client: Client,
        step: Step,
        *,
        slos: list[Slo],
        sinks: FanOut,
        tally: Tally,
        progress: Progress,
        server: ServerMetrics,
        e2e_seconds: float | None,
        ttft_seconds: float | None,
        grader: Grader | None = None,
        failures: findings.Failures | None = None,
        folder: Path | None = None,
    ) -> None:
        self._failures = failures or findings.Failures(progress)
        self._presence = Presence(client, lambda: self._level.interrupt(0))
        self._faults_before = 0
        self._client = client
        self._step = step
        self._config = step.part.config
        self._slos = slos
        self._tally = tally
        self._progress = progress
        self._e2e_seconds = e2e_seconds
        self._loop = asyncio.get_running_loop()
        self._plan = level_plan(step, e2e_seconds, ttft_seconds)
        is_open = self._plan.mode == "open"
        self._clock = LoopClock(self._loop, lead_ns=LEAD_NS if is_open else 0)
        replayed = self._plan.schedule_ns if self._plan.replay else None
        self._sender = SessionSender(
            client,
            step.part.workload,
            step.name,
            step.repeat,
            schedule_ns=replayed if isinstance(replayed, array) else None,
            speed=step.level if self._plan.replay else 1.0,
        )
        self._grader = grader
        if grader is not None:
            self._sender.numbers = {}
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
        self._steps_before = 0
        self._pauses: list[int] = []
        self._scraper = Scraper(server)
        self._stage_ns: dict[Stage, int] = {}
        self._level = Level(
            self._plan,
            self._clock,
            self._sender,
            on_over=self._over.set,
            on_record=self._record_ended,
            on_due=self._departures.set_next,
            on_stage=self._stage_changed,
            keep=False,
            count_sessions=isinstance(step.part.workload, SessionKind),
        )
        self._so_far = SoFar(step.name, self._level, self._failures)
        # Those whose texts a grader is to read stay as they are.
        self._measured = Spool(None if grader is not None else folder, on_problem=progress.say)
        tally.passed_on = self._keep_measured
        self._house = Housekeeping(
            step.name,
            step.repeat,
            sinks=sinks,
            tally=tally,
            so_far=self._so_far,
            on_the_way=client.in_flight_now,
            at_boundary=self._fold_lags,
            rows_at_once=ROWS_AT_ONCE if is_open else ROWS_A_SLICE,
        )

    @property
    def gone(self) -> str:
        """How the target, which has gone, refused the last look at it; empty: it is there."""
        return self._presence.gone

    @property
    def fault(self) -> ConfigError | None:
        """What ended the load early: a row of the workload's file cannot be used."""
        return self._sender.fault

    def interrupt(self, grace_seconds: float) -> None:
        """Send nothing more; see `Level.interrupt`."""
        self._interrupted.set()
        self._level.interrupt(round(grace_seconds * NS))
        if grace_seconds <= 0:
            self._tally.give_up()

    # What the level tells, in the middle of everything: as little work as can be.

    def _record_ended(self, record: Record, stage: Stage) -> None:
        self._house.ended(record, stage)
        self._presence.note(record)

    def _stage_changed(self, stage: Stage) -> None:
        stamper = self._client.stamper
        self._stage_ns[stage] = self._clock.now_ns()
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
        if stage is not Stage.OVER:
            self._scraper.at_once()

    def _fold_lags(self) -> None:
        lags = self._client.stamper.take_lags()
        if self._uses_heartbeat:
            lags = array("q", self._heartbeat.lags)
            del self._heartbeat.lags[:]
        if self._measuring:
            # On one machine data can be read within the microsecond: no lag is out of range.
            self._lags.add(np.frombuffer(lags, dtype=np.int64).clip(1000))

    # Running.

    async def run(self) -> LevelResult:
        """Run the level to its end and return what it measured."""
        try:
            return await self._run()
        finally:
            self._clock.close()

    async def _run(self) -> LevelResult:
        client, plan = self._client, self._plan
        if plan.mode == "closed":
            assert plan.concurrency is not None
            await self._ahead(plan.concurrency)
            ahead = 2 * plan.concurrency + 32
        else:
            rate = plan.rate or REPLAYED_AHEAD
            expected = rate * (self._e2e_seconds or 1.0) * 1.5 + 8
            await self._ahead(min(int(expected), plan.max_inflight, 1024))
            ahead = int(2 * rate) + 32
            assert isinstance(self._level.driver, OpenLoop)
            self._departures.begin(self._level.driver)
        ready = False
        while not ready and not self._interrupted.is_set():
            ready = self._sender.refill(ahead, AT_ONCE)
            await asyncio.sleep(0)
        await self._warm_up()
        merged_before = client.merged_reads
        self._faults_before = client.client_faults
        scraping = asyncio.create_task(self._scraper.run())
        try:
            with (
                no_collection(),
                CollectorWatch(self._pauses),
                faults_end(self._loop, self._over.set),
            ):
                if self._uses_heartbeat:
                    self._heartbeat.start()
                self._level.start()
                self._house.begin(self._level.result.start_ns, self._level.in_flight)
                await self._keep_house(ahead)
            await self._presence.settled(self._interrupted)
        except BaseException:
            self._house.write_all()
            self._tally.give_up()
            self._scraper.stop()
            scraping.cancel()
            raise
        finally:
            self._heartbeat.stop()
            self._departures.end()
            self._presence.close()
        client.close_idle()
        self._scraper.stop()
        scraping.cancel()
        (ended,) = await asyncio.gather(scraping, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended
        await self._scraper.read()
        self._house.write_all()
        self._sender.judge()
        await self._tally.finish()
        self._house.finish(self._level.result.over_ns)
        self._failures.say_rest(self._step.name)
        self._level.result.measured = self._measured.at_hand()
        found = self._result(client.merged_reads - merged_before)
        score = await self._grade()
        if score is not None:
            found.accuracy = score
        return found

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
            self._progress.say(f"{self._step.name}: {bad} of {count} warm-up request(s) failed")

    async def _grade(self) -> LevelScore | None:
        numbers = self._sender.numbers
        if self._grader is None or numbers is None:
            return None
        measured = self._level.result.measured
        # A dropped request never had a prompt.
        asked = [(numbers[one.request_id], one) for one in measured if one.request_id in numbers]
        return await self._grader.grade(self._step.name, self._step.repeat, asked)

    async def _ahead(self, count: int) -> None:
        say, name = self._progress.say, self._step.name
        await connect_ahead(
            self._client, count, self._interrupted, lambda what: say(f"{name}: {what}")
        )

    async def _keep_house(self, ahead: int) -> None:
        """Do in small slices all that can wait, until the level is over."""
        live_ns = self._level.result.start_ns + LIVE_EVERY_NS
        ticks = 0
        while not self._over.is_set():
            ticks += 1
            await asyncio.sleep(TICK_SECONDS)
            for _ in range(slice_of(PREPARED_A_TICK, self._sender.missing(ahead))):
                await self._departures.go_first()
                if self._sender.refill(ahead, 1):
                    break
            now_ns = self._clock.now_ns()
            if ticks % SLICE_EVERY == 0 or self._house.is_pressing:
                await self._departures.go_first()
                for _ in self._house.slice(now_ns):
                    await self._departures.go_first()
            self._sender.judge(JUDGED_A_TICK)
            self._departures.send_due()
            if now_ns >= live_ns:  # by time: on a busy machine a tick may be long
                live_ns = now_ns + LIVE_EVERY_NS
                self._progress.live(self._so_far.live(now_ns, self._house.tokens_per_second))

    def _keep_measured(self, row: RequestRow) -> None:
        if row.stage == Stage.WINDOW.value:
            self._measured.append(row.record)

    # The result.

    def _evidence(self, result: LevelRecords, everyone: Iterable[Record], merged: int) -> Evidence:
        window_ns = result.window_end_ns - result.window_start_ns
        gap_seconds = None
        if self._plan.mode == "open" and result.scheduled:
            rate = self._plan.rate
            gap_seconds = 1 / rate if rate else window_ns / NS / result.scheduled
        used = spent(self._marks[0], self._marks[-1], self._pauses)
        little = None
        failed = sum(result.ended[outcome] for outcome in FAILED)
        # Users that wait after failures leave too little in flight for an area to tell anything.
        if window_ns > NS and result.area_in_window > 0 and failed < result.ended[Outcome.OK]:
            own = overlap_ns(everyone, result.window_start_ns, result.window_end_ns)
            little = abs(own - result.area_in_window) / result.area_in_window
        kernel, userspace = self._window_reads
        return Evidence(
            counts_agree=result.counts_agree,
            stamps_wanted=not self._uses_heartbeat,
            reads_kernel=kernel,
            reads_userspace=userspace,
            token_reads=self._so_far.token_reads,
            merged_first=sum(
                record.events is not None and record.events[0] > 1 for record in result.measured
            ),
            merged_reads=merged,
            client_lag_p50_seconds=self._lags.percentile(0.5) / NS if len(self._lags) else None,
            client_lag_p99_seconds=self._lags.percentile(0.99) / NS if len(self._lags) else None,
            client_lag_max_seconds=self._lags.percentile(1.0) / NS if len(self._lags) else None,
            mean_arrival_gap_seconds=gap_seconds,
            cpu_share=used.cpu_share,
            process_cpu_seconds=self._window_cpu,
            steal_share=used.steal_share,
            run_delay_share=used.run_delay_share,
            throttled_share=used.throttled_share,
            collector_seconds=used.collector_seconds,
            clock_steps=self._client.stamper.clock_steps - self._steps_before,
            little_error=little,
            planned=result.scheduled if result.planned is None else result.planned,
            unsent=0 if result.planned is None else result.planned - result.scheduled,
            unprepared=self._sender.unprepared,
            client_faults=self._client.client_faults - self._faults_before,
        )

    def _result(self, merged: int) -> LevelResult:
        plan, result, config = self._plan, self._level.result, self._config
        everyone = joined(result.others, result.measured)
        outcomes = {one.value: result.ended[one] for one in Outcome if result.ended[one]}
        bad = sum(result.ended[outcome] for outcome in FAILED) + result.ended[Outcome.DROPPED]
        failures = bad if config.count_failures else None
        metrics = latencies(result.measured, open_loop=plan.mode == "open", failures=failures)
        evidence = self._evidence(result, everyone, merged)
        evidence.ok = result.ended[Outcome.OK]
        evidence.failed = bad
        evidence.median_gap_seconds = metrics["icl"].p50 if "icl" in metrics else None
        # A plain answer has no first token: its lateness is held against the whole of it.
        first = metrics.get("ttft") or metrics.get("e2e")
        evidence.median_ttft_seconds = None if first is None else first.p50
        if "dispatch_lag" in metrics:
            evidence.dispatch_lag_p99_seconds = metrics["dispatch_lag"].p99
        steady = findings.steady_state(self._level)
        buffered = findings.buffered_streams(result, evidence.client_lag_p50_seconds)
        evidence.buffered_pieces = None if buffered is None else buffered.pieces
        metrics |= infinite_figures(result.measured, failures, stream=self._client.target.stream)
        workload = self._step.part.workload
        tokens = count_tokens(chosen(result.measured, is_ok))
        return LevelResult.measured(
            level=self._step.name,
            workload=self._step.part.workload.name,
            mode=plan.mode,
            concurrency=plan.concurrency,
            rate=plan.rate,
            arrival=findings.arrival(config, self._step.level) if plan.mode == "open" else None,
            repeat=self._step.repeat,
            window_seconds=(result.window_end_ns - result.window_start_ns) / NS,
            warmup_seconds=(result.window_start_ns - result.start_ns) / NS,
            drain_seconds=(result.over_ns - result.window_end_ns) / NS,
            scheduled=result.scheduled,
            outcomes=outcomes,
            **rates(
                result.measured,
                result.others,
                result.window_start_ns,
                result.window_end_ns,
                self._slos,
            ),
            metrics=metrics,
            tokens=tokens,
            steady_state=findings.steady_figures(steady, result, everyone),
            judged=judge(evidence),
            evidence=evidence,
            findings=list(findings.findings(steady, result, buffered, gone=self.gone)),
            notes=[*findings.notes(result, self._slos), *findings.again(self._sender)],
            **findings.of_sessions(result, workload, self._slos, open_loop=plan.mode == "open"),
            prefix_cache=findings.prefix_cache(self._sender, tokens),
            fidelity=fidelity(result.measured) if plan.replay else None,
            answers=judged_answers(
                self._sender.judged, result.window_start_ns, result.window_end_ns
            ),
            server=self._scraper.columns(
                self._stage_ns.get(Stage.WINDOW, 0), self._stage_ns.get(Stage.DRAIN, 0)
            ),
            interrupted=result.interrupted,
            start_ns=result.start_ns,
            records=self._measured.held(),
            rows=self._house.rows,
        )
