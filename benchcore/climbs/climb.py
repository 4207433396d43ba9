"""Climb: level after level on one target, from the first probe to the finished run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchcore.base.clock import LoopClock, stamp_of, utc_now
from benchcore.base.errors import ConfigError
from benchcore.base.files import make_folder
from benchcore.base.text import harmless
from benchcore.client.client import Client
from benchcore.client.connection import ensure_descriptors
from benchcore.climbs.before_level import BeforeLevel
from benchcore.climbs.books import Books
from benchcore.climbs.ceiling import Ceiling, load_of, workers_for
from benchcore.climbs.findings import Failures
from benchcore.climbs.level_run import LevelRun
from benchcore.climbs.plan import LevelFigures, Part, Step, StopRules, level_plan, steps
from benchcore.climbs.probe import ProbeResult, find_model, fit, settle
from benchcore.climbs.requests import Grader, Tally
from benchcore.config.limits import Slo
from benchcore.config.target import Target
from benchcore.observe.dcgm import DcgmPages
from benchcore.observe.gpus import NONE, THROTTLES, GpuWatch, is_watched
from benchcore.observe.machine import host_facts
from benchcore.observe.processes import ProcessWatch
from benchcore.observe.scraper import Page
from benchcore.observe.sources import MetricsSources
from benchcore.runs.facts import LoadFacts, TargetFacts, WorkloadFacts
from benchcore.runs.run_json import as_asked, target_facts, versions
from benchcore.runs.sinks import ClimbRun, FanOut, SinkOptions, installed_sinks, raise_problems
from benchcore.show.progress import Progress, Silent
from benchcore.workload.token_costs import LocalTokenizer

if TYPE_CHECKING:
    from benchcore.climbs.dealt_run import DealtRun
    from benchcore.climbs.plan import StepSource
    from benchcore.fleet.crew import AnyCrew

WORKER_LOST = "worker lost"
"""Why a climb stops of which a worker has died: `stopped` of `run.json`."""
BAD_WORKLOAD = "bad workload"
"""Why a climb stops that meets a row it cannot use in a file: `stopped` of `run.json`."""
TARGET_GONE = "target gone"
"""Why a climb stops whose server is there no more: `stopped` of `run.json`."""
_LONGEST_NOTE = 600
"""Of what is found before the load: it names what a server lists."""


class Climb:
    """A climb that can be interrupted.

    Args:
        target: the server.
        parts: workloads, each with its climb.
        output: where to make the run folder; `None`: keep everything in memory.
        folder: a folder that is there already, instead.
        name: of the run.
        labels: the user's own facts.
        command: how it was called, for `run.json`.
        kind: `server`, or `simulator`.
        tokenizer: a local tokenizer file, for prompts and for answers without usage.
        grader: says what the answers of each level were worth, where that is wanted.
        sinks: names of optional sinks; they need a folder.
        allow_simulator: let sinks carry a simulator's figures out of the folder.
        progress: told how it goes.
        ceiling: what one worker of this machine can drive; `None`: unknown.
        server_pid: of a server that was launched on this machine; `None`: it was not.
        source: of the levels, where the next depends on those that are over; `None`: all that the
            parts name, in their order.
    """

    def __init__(
        self,
        target: Target,
        parts: Sequence[Part],
        *,
        output: Path | None = None,
        folder: Path | None = None,
        name: str = "climb",
        labels: dict[str, str] | None = None,
        command: Sequence[str] = (),
        kind: str = "server",
        tokenizer: str | None = None,
        grader: Grader | None = None,
        sinks: Sequence[str] = (),
        allow_simulator: bool = False,
        progress: Progress | None = None,
        ceiling: Ceiling | None = None,
        server_pid: int | None = None,
        source: StepSource | None = None,
    ) -> None:
        self._source = source
        self._processes = None if server_pid is None else ProcessWatch(server_pid)
        self._grader = grader
        self._ceiling = ceiling
        self._target = target
        self._parts = list(parts)
        self._steps = list(steps(self._parts))
        self._name = name
        self._tokenizer = tokenizer
        self._progress = progress or Silent()
        self._kind = kind
        self._running: LevelRun | DealtRun | None = None
        self._crew: AnyCrew | None = None
        self._gpus: GpuWatch | None = None
        self._found: ProbeResult | None = None
        self._opened = False
        self._failures = Failures(self._progress)
        self._interrupts = 0
        self._interrupted = asyncio.Event()
        if sinks and output is None and folder is None:
            raise ConfigError(f"sink {sinks[0]}: there is no folder to write to; give output")
        self._output = output
        self._folder = folder
        self._sinks = FanOut(
            {} if output is None and folder is None else installed_sinks(sinks),
            lambda problem: self._progress.say(f"the results cannot be written: {problem}"),
        )
        first = self._parts[0].config
        self._tally = Tally(self._sinks, keep_text=first.save_text or grader is not None)
        self.run = ClimbRun.begun(
            "",
            "",
            name=name,
            command=list(command),
            labels=labels or {},
            target=target_facts(target, kind),
            workload={},
            load={},
            seeds={"seed": first.seed},
            versions=versions(),
            host=host_facts(),
        )
        self.run.options = SinkOptions(first.save_events, first.save_text, allow_simulator)

    def interrupt(self) -> None:
        """Stop sending and end soon; a second time: end now. What is measured is kept."""
        self._interrupts += 1
        self._interrupted.set()
        if self._running is not None:
            grace = self._parts[0].config.grace_seconds if self._interrupts == 1 else 0.0
            self._running.interrupt(grace)

    async def __call__(self) -> ClimbRun:
        """Climb, and return the run.

        Where the target goes in the middle of it, the run has what was measured: it is `failed`,
        `stopped` says `target gone`, and `error` says more.

        Raises:
            TargetError: the target does not answer as it should.
            CapacityError: this machine cannot hold a level.
            ConfigError: the results cannot be written.
            ResultsError: they could be at first, and then no longer.
        """
        run = self.run
        workers = self._parts[0].config.workers
        if workers == "auto" and self._ceiling is None:
            raise ConfigError(
                "workers auto: what one worker of this machine can drive is not known; run "
                "benchcore doctor once, or give a number"
            )
        processes = 1 if workers == "auto" else workers
        fleet = self._parts[0].config.fleet
        if fleet is None:  # whose hosts have limits of their own
            ensure_descriptors(max(math.ceil(step.connections / processes) for step in self._steps))
        run.started_at = utc_now()
        stamp = stamp_of(run.started_at)
        if self._folder is not None:
            run.folder = self._folder
            run.run_id = run.folder.name
        elif self._output is not None:
            run.folder = make_folder(self._output, stamp, self._name)
            run.run_id = run.folder.name
        else:
            run.run_id = f"{stamp}-{self._name}"
        config = self._parts[0].config
        keep = config.save_text or self._tokenizer is not None or self._grader is not None
        try:
            if fleet is not None or processes > 1:  # they come up while the target is probed
                await self._start(processes)
            async with Client(
                self._target,
                kernel_stamps=config.kernel_stamps,
                keep=keep,
                source_ips=config.source_ips,
            ) as client:
                await self._until_interrupted(self._prepare(client))
                if workers == "auto" and not self._interrupts:
                    await self._start(self._workers_needed())
                if self._crew is not None and not self._interrupts:
                    self._order(self._crew, client, keep=keep)
                if not self._interrupts:
                    pages = await self._watch_gpus(config.gpu)
                    async with MetricsSources(client.target, pages) as sources:
                        await self._until_interrupted(sources.read_others())
                        await self._climb(client, sources)
        except BaseException as error:
            run.error = str(error) or type(error).__name__
            self._close("failed")
            raise
        finally:
            if self._crew is not None:
                await self._crew.close()
            if self._gpus is not None:
                await self._gpus.close()
        broken = run.stopped in (TARGET_GONE, BAD_WORKLOAD, WORKER_LOST)
        self._close("failed" if broken else "interrupted" if self._interrupts else "complete")
        if run.folder is not None:
            raise_problems(self._sinks, run.folder)
        return run

    def _close(self, status: str) -> None:
        self.run.status = status  # type: ignore[assignment]
        self.run.ended_at = utc_now()
        if self._opened:
            self._sinks.close(self.run)
        elif self.run.folder is not None and self._folder is None:
            # It never came to a load: an empty folder would only be in the way.
            with suppress(OSError):
                self.run.folder.rmdir()
            self.run.folder = None

    async def _until_interrupted(self, work: Any) -> None:
        """Do something slow, such as probing, unless the user interrupts."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._interrupted.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return
        task.result()

    # Before the load.

    async def _prepare(self, client: Client) -> None:
        run, progress = self.run, self._progress
        found = await find_model(client)
        client.target = self._target = self._target.model_copy(update={"model": found.model})
        counter = await settle(client, found, self._tokenizer)
        if isinstance(counter, LocalTokenizer):
            self._tally.count = counter.tokens
        for place, part in enumerate(self._parts):
            workload = await fit(client, found, part.workload, counter)
            self._parts[place] = Part(part.name, workload, part.config)
        self._target = client.target
        self._steps = list(steps(self._parts))
        self._found = found
        client.close_idle()
        run.versions = {
            **(run.versions or {}),
            "reader": client.reader,
            "timers": LoopClock.kind(),
        }
        probe = {
            "models_listed": found.models_listed,
            "usage": found.usage,
            "tokens_counted_by": found.tokenize,
            "ignore_eos": found.ignore_eos,
            "e2e_seconds": found.e2e_seconds,
            "ttft_seconds": found.ttft_seconds,
            "notes": [
                *([] if self._crew is None else self._crew.remarks),
                *(harmless(note, longest=_LONGEST_NOTE) for note in found.notes),
            ],
        }
        facts = target_facts(self._target, self._kind).to_json() | {"probe": probe}
        run.target = TargetFacts.model_validate(facts)
        self._describe()
        loads = [part.config.model_dump(mode="json") for part in self._parts]
        run.load = LoadFacts.model_validate(loads[0] if len(loads) == 1 else {"parts": loads})
        self._open()
        for note in found.notes:
            progress.say(note)

    async def _start(self, workers: int) -> None:
        from benchcore.climbs.dealt_run import crew_of  # one process does without

        self._crew = crew_of(self._parts, workers)
        if self._crew is not None:
            await self._crew.start(self.run.folder)
            for remark in self._crew.remarks:
                self._progress.say(remark)

    async def _watch_gpus(self, wanted: str) -> Callable[[Page, float], None]:
        """Read GPUs from now on: of this machine where the target is here, and of others' pages.

        Returns:
            What takes each page of metrics.
        """
        is_here = self._target.is_loopback and self._kind != "simulator"
        is_read = is_watched(wanted, is_here=is_here)
        scraped = self._sinks.server_metrics
        others = bool(self._target.metrics_urls) and wanted != NONE
        if not is_read and not others:
            return scraped
        self._gpus = gpus = GpuWatch(wanted, self._progress.say, others=others)
        if is_read:
            await gpus.start()
        exporters = DcgmPages(gpus.take, THROTTLES)

        def taken(page: Page, unix_seconds: float) -> None:
            scraped(page, unix_seconds)
            exporters.take(page)

        return taken

    def _workers_needed(self) -> int:
        """Return how many workers the highest level needs, by what the probe has shown."""
        assert self._found is not None
        assert self._ceiling is not None
        workers = workers_for((load_of(one, self._found) for one in self._steps), self._ceiling)
        self._progress.say(f"workers auto: {workers}")
        return workers

    def _warn_above(self, step: Step) -> None:
        """Say that a level is above what its workers can drive."""
        assert self._found is not None
        load = load_of(step, self._found)
        if load is None or self._ceiling is None or step.part.config.fleet is not None:
            return
        count = 1 if self._crew is None else len(self._crew.workers)
        share = self._ceiling.share(load)
        if share > count:
            needed = workers_for([load], self._ceiling)
            advice = f"give --workers {needed}" if needed > count else "use a larger machine"
            self._progress.say(
                f"{step.name}: {load.tokens_per_second:,.0f} tokens/s, if the server keeps its "
                f"pace, is {share / count:.0%} of what {count} worker(s) of this machine can "
                f"drive; {advice}"
            )

    def _order(self, crew: AnyCrew, client: Client, *, keep: bool) -> None:
        """Tell the workers what they need to know before any level."""
        from benchcore.climbs.worker import Orders

        config = self._parts[0].config
        crew.order(
            lambda number, folder: Orders(
                number,
                client.target,
                self._parts,
                keep=keep,
                kernel_stamps=config.kernel_stamps,
                source_ips=config.source_ips,
                folder=folder,
            )
        )

    def _describe(self) -> None:
        """Say in the run what its workloads ask, and what they have asked so far."""
        found = [as_asked(part.workload.describe(), self._target) for part in self._parts]
        facts = found[0] if len(found) == 1 else {"parts": found}
        self.run.workload = WorkloadFacts.model_validate(facts)

    def _open(self) -> None:
        run = self.run
        if run.folder is not None:
            self._opened = True
            self._sinks.open(run, run.folder, run.options)
            raise_problems(self._sinks, run.folder)
        # How many levels a source has is not known before its end.
        self._progress.begin(run, 0 if self._source is not None else len(self._steps))

    # The levels.

    async def _climb(self, client: Client, sources: MetricsSources) -> None:
        run = self.run
        config = self._parts[0].config
        slos = [Slo.parse(text) for text in config.slos]
        rules = StopRules(
            failures=config.stop_on_failures,
            slo=config.stop_on_slo,
            flat=config.stop_when_flat,
            gain=config.flat_gain,
            patience=config.flat_patience,
        )
        before = BeforeLevel(client, sources, self._progress.say)
        figures: list[LevelFigures] = []
        climbing: tuple[Part, int] | None = None
        for step in self._steps if self._source is None else self._source(run, self._parts):
            if climbing != (step.part, step.repeat):
                climbing, figures = (step.part, step.repeat), []
            reason = rules.reason(figures)
            if reason is not None:
                if not run.stopped:
                    run.stopped = reason
                    self._progress.say(f"no higher: {reason}")
                continue
            await self._until_interrupted(before.level(step, again=bool(run.levels)))
            if self._interrupts:
                return
            assert self._found is not None
            self._warn_above(step)
            books = Books(
                step,
                level_plan(step, self._found.e2e_seconds, self._found.ttft_seconds),
                slos=slos,
                sinks=self._sinks,
                tally=self._tally,
                progress=self._progress,
                sources=sources,
                stream=client.target.stream,
                grader=self._grader,
                failures=self._failures,
                folder=run.folder,
                gpus=self._gpus,
                processes=self._processes,
            )
            e2e_seconds = self._found.e2e_seconds
            if self._crew is None:
                self._running = LevelRun(client, books, e2e_seconds=e2e_seconds)
            else:
                from benchcore.climbs.dealt_run import DealtRun

                place = self._parts.index(step.part)
                self._running = DealtRun(self._crew, books, place, e2e_seconds=e2e_seconds)
            level = await self._running.run()
            gone, fault, lost = self._running.gone, self._running.fault, self._running.lost
            if self._grader is not None and not config.save_text:
                for record in level.records:
                    record.text = record.answer = None
            self._running = None
            figures.append(LevelFigures.of(level, slos))
            level.findings += [f"SLO {broken}" for broken in figures[-1].broken_slos]
            run.add(level)
            self._describe()
            self._sinks.level(run, level)
            self._progress.level(level)
            if gone:
                run.stopped = TARGET_GONE
                run.error = f"{client.target.base_url} has gone in {step.name}: {gone}"
                self._progress.say(f"no higher: {run.error}")
            elif fault is not None:
                run.stopped, run.error = BAD_WORKLOAD, str(fault)
                self._progress.say(f"no higher: {fault}")
            elif lost:
                run.stopped, run.error = WORKER_LOST, f"{lost} died in {step.name}"
                self._progress.say(f"no higher: {run.error}")
            if gone or fault is not None or lost or self._interrupts:
                return
