"""Dealt run: one level whose load several workers send, and which is one level all the same.

The schedule is drawn here and dealt out; stamps are taken where the sockets are. What is merged are
requests, counts and histograms, never percentiles.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchcore.base.clock import NEVER_NS, NS
from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.client.records import Outcome, Record
from benchcore.climbs.books import Books
from benchcore.climbs.findings import Standing
from benchcore.climbs.load_run import LIVE_EVERY_NS, Measured
from benchcore.climbs.plan import Part
from benchcore.climbs.worker import LevelOrders
from benchcore.fleet.crew import AnyCrew, AnyWorker, Message
from benchcore.fleet.shard_log import Begun, Closed, Ended, Entry
from benchcore.fleet.workers import Crew, WorkerError
from benchcore.load.ensemble import Ensemble
from benchcore.load.level_plan import LevelPlan, LevelRecords, Stage
from benchcore.metrics.throughput import Row, Second
from benchcore.runs.run import LevelResult
from benchcore.runs.sinks import LevelHead, RequestRow
from benchcore.workload.kinds import SessionKind
from benchcore.workload.sessions import Share

TICK_SECONDS = 0.02
LATE_SECONDS = 5.0
"""A worker that has been interrupted, and has not ended so long after its grace, is killed."""

_now_ns = time.perf_counter_ns


def workers_needed(plan: LevelPlan, most: int) -> int:
    """Return how many workers a level has something to do for."""
    limits = [most]
    if plan.concurrency is not None:
        limits.append(plan.concurrency)
    if plan.requests is not None:
        limits.append(plan.requests)
    return max(min(limits), 1)


def crew_of(parts: Sequence[Part], workers: int) -> AnyCrew | None:
    """Return who sends the load of a climb; `None`: this process alone.

    Args:
        parts: its workloads.
        workers: how many there are on this machine.

    Raises:
        ConfigError: what a fleet needs is not installed.
    """
    config = parts[0].config
    if config.fleet is None:
        return Crew(workers) if workers > 1 else None
    from benchcore.fleet.dask_crew import DaskCrew  # with Dask, which few have

    kinds = [part.workload for part in parts if isinstance(part.workload, SessionKind)]
    files = [path for kind in kinds for path in kind.files()]
    return DaskCrew(config.fleet, workers if "workers" in config.model_fields_set else None, files)


@dataclass(slots=True)
class _Shard:
    """What is known here of one worker's share of a level.

    Args:
        worker: who runs it.
        place: among those that have something to do in this level, from 0.
        begun: the requests that it has begun and not ended, by their numbers.
        ready: whether it may begin.
        measured: what it has measured, once it is over.
        lost: how it died; empty: it did not.
        scheduled: its measured requests so far.
        ended: how they have ended.
        closed: seconds that it has passed on.
    """

    worker: AnyWorker
    place: int
    begun: dict[int, Begun] = field(default_factory=dict)
    ready: bool = False
    measured: Measured | None = None
    lost: str = ""
    scheduled: int = 0
    ended: Counter[Outcome] = field(default_factory=Counter)
    closed: int = 0

    @property
    def is_over(self) -> bool:
        return self.measured is not None or bool(self.lost)


class DealtRun:
    """Runs one level on several workers and makes its result.

    Args:
        crew: the workers, who have their orders.
        books: of the level.
        part: place of its workload.
        e2e_seconds: how long one request took, alone; `None`: unknown.
    """

    def __init__(
        self, crew: AnyCrew, books: Books, part: int, *, e2e_seconds: float | None
    ) -> None:
        self._crew = crew
        self._books = books
        self._part = part
        self._e2e_seconds = e2e_seconds
        self._plan = books.plan
        count = workers_needed(self._plan, len(crew.workers))
        self._shards = {
            worker: _Shard(worker, place) for place, worker in enumerate(crew.workers[:count])
        }
        self._ensemble = Ensemble(self._plan, count, self._tell, open_ahead_ns=crew.open_ahead_ns)
        self._stage = Stage.WARMUP
        self._interrupt_ns = 0
        self._kill_ns = NEVER_NS
        self._failure: BaseException | None = None
        self._others: list[Record] = []
        self._ended: list[RequestRow] = []
        self._rows: list[Row] = []
        self._seconds: dict[int, tuple[float, Second]] = {}
        self._head = LevelHead(books.step.name, books.step.repeat, 0)
        self.gone = ""
        """How the target, which has gone, refused the last look at it; empty: it is there."""
        self.fault: ConfigError | None = None
        """What ended the load early: a row of the workload's file cannot be used."""

    @property
    def lost(self) -> str:
        """Which workers have died; empty: none."""
        return ", ".join(
            f"worker {shard.worker.number}" for shard in self._shards.values() if shard.lost
        )

    def interrupt(self, grace_seconds: float) -> None:
        """Send nothing more; see `Level.interrupt`."""
        if not self._interrupt_ns:
            self._interrupt_ns = _now_ns()
            self._ensemble.stop()
            if self._stage is Stage.WINDOW:
                self._books.stage(Stage.DRAIN, self._interrupt_ns)
        self._kill_ns = _now_ns() + round((grace_seconds + LATE_SECONDS) * NS)
        self._tell_running("interrupt", grace_seconds, self._interrupt_ns)
        if grace_seconds <= 0:
            self._books.tally.give_up()

    def _tell(self, place: int, *message: object) -> None:
        self._crew.workers[place].send(*message)

    def _tell_running(self, *message: object) -> None:
        for shard in self._running:
            shard.worker.send(*message)

    @property
    def _running(self) -> list[_Shard]:
        return [shard for shard in self._shards.values() if not shard.is_over]

    # Running.

    async def run(self) -> LevelResult:
        """Run the level to its end and return what it measured.

        Raises:
            BenchcoreError: what ended a worker's share of it.
        """
        books = self._books
        self._deal()
        # After an interrupt nobody waits for the last of them: they end as soon as they are there.
        while not self._interrupt_ns and not all(
            shard.ready or shard.is_over for shard in self._shards.values()
        ):
            await self._listen()
        async with books.scraper.running():
            try:
                self._begin()
                await self._until_over()
            except BaseException:
                books.tally.give_up()
                raise
        self._close_shards()
        if self._failure is not None:
            raise self._failure
        await books.tally.finish()
        measured = self._merged()
        self._close_seconds(measured.records.over_ns)
        self.gone, self.fault = measured.gone, measured.sent.fault
        books.sinks.flush()
        for worker in self._shards:  # all that it holds is written elsewhere
            worker.log.begin_again()
        numbered = {worker.number: shard for worker, shard in self._shards.items()}
        return await books.close(
            measured,
            self._rows,
            workers={n: one.measured for n, one in numbered.items() if one.measured is not None},
            lost={number: one.lost for number, one in numbered.items() if one.lost},
            facts={worker.number: worker.facts for worker in self._shards},
        )

    def _deal(self) -> None:
        step, count = self._books.step, len(self._shards)
        for worker, shard in self._shards.items():
            if worker.has_ended:
                self._heard(worker, None)
                continue
            plan = self._plan.dealt(Share(shard.place, count))
            worker.send(
                "level",
                LevelOrders(
                    self._part,
                    step.repeat,
                    step.level,
                    step.name,
                    plan,
                    self._e2e_seconds,
                    self._books.block_tokens,
                ),
            )

    def _begin(self) -> None:
        """Let all of them begin at one instant."""
        start_ns = _now_ns() + self._crew.start_ahead_ns
        self._head = LevelHead(self._head.level, self._head.repeat, start_ns)
        self._ensemble.begin(start_ns)
        self._tell_running("start", start_ns)

    async def _until_over(self) -> None:
        live_ns = self._head.start_ns + LIVE_EVERY_NS
        while self._running:
            await self._listen()
            self._take_logs()
            self._write()
            self._books.tally.slice()
            self._conduct()
            now_ns = _now_ns()
            if now_ns >= live_ns:
                live_ns = now_ns + LIVE_EVERY_NS
                self._books.live(self._standing(), now_ns, self._rows)

    def _conduct(self) -> None:
        """Let the level go on as far as all workers have come."""
        self._ensemble.look(_now_ns())
        before, self._stage = self._stage, self._ensemble.stage
        if self._stage is before:
            return
        if before is Stage.WARMUP:
            self._books.stage(Stage.WINDOW, self._ensemble.window_start_ns)
        if self._stage is not Stage.WINDOW and before is not Stage.DRAIN:
            self._books.stage(Stage.DRAIN, self._ensemble.window_end_ns)

    async def _listen(self) -> None:
        """Take what the workers say, for one tick at most."""
        until = asyncio.get_running_loop().time() + TICK_SECONDS
        while (left := until - asyncio.get_running_loop().time()) > 0:
            said = await self._crew.next_message(left)
            if said is not None:
                self._heard(*said)
                self._conduct()
        if _now_ns() >= self._kill_ns:
            self._kill_ns = NEVER_NS
            for shard in self._running:
                self._books.progress.say(f"worker {shard.worker.number} does not end: it is killed")
                shard.worker.kill()

    def _heard(self, worker: AnyWorker, message: Message | None) -> None:
        shard = self._shards.get(worker)
        if shard is None or shard.is_over:
            return  # it has nothing to do in this level, and its death ends the next one
        if message is None:
            shard.lost = f"it died ({worker.end})"
            self._ensemble.over(shard.place)
            self._stop_others(self._books.step.part.config.grace_seconds)
            return
        name, *more = message
        if name == "say":
            self._books.progress.say(more[0])
        elif name == "spilled":
            worker.log.spilled(more[0])
        elif name == "ready":
            shard.ready = True
        elif name == "over":
            shard.measured = more[0]
            self._ensemble.over(shard.place)
            if more[0].gone:
                self._stop_others(0.0)
        elif name == "failed":
            fault = more[0]
            if self._failure is None:
                number = worker.number
                self._failure = (
                    fault
                    if isinstance(fault, BenchcoreError)
                    else WorkerError(f"worker {number} met a fault of benchcore's own: {fault}")
                )
            shard.lost = "it failed"
            self._ensemble.over(shard.place)
            self._stop_others(0.0)
        else:  # warm, filled, drained
            getattr(self._ensemble, name)(shard.place, *more)

    def _stop_others(self, grace_seconds: float) -> None:
        if not self._interrupt_ns or grace_seconds <= 0:
            self.interrupt(grace_seconds)

    def _standing(self) -> Standing:
        return Standing(
            stage=self._stage,
            start_ns=self._head.start_ns,
            window_start_ns=self._ensemble.window_start_ns,
            scheduled=sum(shard.scheduled for shard in self._shards.values()),
            in_flight=sum(len(shard.begun) for shard in self._shards.values()),
        )

    # What the workers have written.

    def _take_logs(self) -> None:
        for shard in self._shards.values():
            for entry in shard.worker.log.read():
                self._take(shard, entry)

    def _take(self, shard: _Shard, entry: Entry) -> None:
        if isinstance(entry, Begun):
            shard.begun[entry.index] = entry
            shard.scheduled += entry.stage is Stage.WINDOW
        elif isinstance(entry, Ended):
            shard.begun.pop(entry.record.index, None)
            self._request_ended(shard, entry.record, entry.stage, entry.data)
        else:
            self._second_over(shard, entry)

    def _request_ended(
        self, shard: _Shard, record: Record, stage: Stage, data: bytes | None = None
    ) -> None:
        if stage is Stage.WINDOW:
            assert record.outcome is not None
            shard.ended[record.outcome] += 1
        elif record.done_ns >= min(self._ensemble.window_start_ns, _now_ns()):
            self._others.append(record)
        # Texts are counted or dropped here, and then it is no more what those bytes hold.
        has_texts = record.text is not None or record.texts is not None or record.answer is not None
        row = RequestRow(self._head, record, stage.value, None if has_texts else data)
        self._ended.append(row)

    def _second_over(self, shard: _Shard, closed: Closed) -> None:
        # What one that died had still to say of a second that is closed counts in the next one.
        number = max(closed.number, len(self._rows))
        in_flight, second = self._seconds.get(number, (0.0, Second()))
        second.add(closed.second)
        in_flight += closed.in_flight if number == closed.number else 0.0
        self._seconds[number] = in_flight, second
        shard.closed = closed.number + 1
        # One that has died closes no more seconds: those of the others are whole without it.
        alive = [one.closed for one in self._shards.values() if not one.is_over]
        while alive and len(self._rows) < min(alive):
            self._close_second()

    def _close_second(self) -> None:
        number = len(self._rows)
        in_flight, second = self._seconds.pop(number, (0.0, Second()))
        row = second.row(number, in_flight)
        self._rows.append(row)
        self._books.sinks.second(self._head, row)
        self._books.sinks.flush()

    def _close_seconds(self, over_ns: int) -> None:
        length = -((self._head.start_ns - over_ns) // NS)
        while self._seconds or len(self._rows) < length:
            self._close_second()

    def _write(self) -> None:
        """Make rows of what has ended."""
        rows, self._ended = self._ended, []
        for row in rows:
            self._books.so_far.note(row.record)
        self._books.tally.write(rows)

    # The end.

    def _close_shards(self) -> None:
        """Take all that is left, and end for a worker that died what it had on its way."""
        now_ns = _now_ns()
        for shard in self._shards.values():
            for entry in shard.worker.log.read(None):
                self._take(shard, entry)
            if shard.lost:
                left = len(shard.begun)
                shard.lost += f" with {left} request(s) on their way, which count as cancelled"
            for index, begun in sorted(shard.begun.items()):
                record = Record("", begun.scheduled_ns, index, Outcome.CANCELLED, done_ns=now_ns)
                record.error = f"its worker died ({shard.worker.end})"
                record.worker = shard.worker.number
                self._request_ended(shard, record, begun.stage)
            shard.begun.clear()
        self._write()

    def _merged(self) -> Measured:
        """Return what all have measured together."""
        shards = self._shards.values()
        known = [shard.measured for shard in shards if shard.measured is not None]
        lost = [self._of_lost(shard) for shard in shards if shard.measured is None]
        whole = copy.deepcopy(known.pop(0)) if known else Measured(lost.pop(0))
        for part in known:
            whole.add(part)
        result = whole.records
        for records in lost:
            result.add(records)
            result.area_in_window = 0  # nobody knows that of one that died
        result.interrupted |= bool(self._interrupt_ns)
        result.others = [one for one in self._others if _was_inside(one, result)]
        return whole

    def _of_lost(self, shard: _Shard) -> LevelRecords:
        """Return what a worker that died has left behind."""
        scheduled, now_ns = shard.scheduled, _now_ns()
        return LevelRecords(
            planned=scheduled if self._plan.mode == "open" else None,
            scheduled=scheduled,
            sent=scheduled - shard.ended[Outcome.DROPPED],
            ended=shard.ended,
            start_ns=self._head.start_ns,
            window_start_ns=min(self._ensemble.window_start_ns, now_ns),
            window_end_ns=min(self._ensemble.window_end_ns, now_ns),
            over_ns=now_ns,
        )


def _was_inside(record: Record, result: LevelRecords) -> bool:
    """Whether an unmeasured request was on its way inside the window."""
    return record.done_ns >= result.window_start_ns and record.scheduled_ns < result.window_end_ns
