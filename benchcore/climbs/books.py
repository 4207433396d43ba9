"""Books: where the requests and seconds of a running level are kept, and what comes of them."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchcore.base.clock import NS
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.climbs import findings
from benchcore.climbs.load_run import Measured
from benchcore.climbs.plan import Step
from benchcore.climbs.requests import Grader, Tally
from benchcore.climbs.watch import SoFar
from benchcore.config.alerts import Threshold
from benchcore.config.limits import Slo
from benchcore.load.level_plan import LevelPlan, LevelRecords, Stage
from benchcore.metrics.alerts import Alerts
from benchcore.metrics.energy import gpu_columns, gpus, per_token
from benchcore.metrics.fidelity import fidelity
from benchcore.metrics.figures import dispatch_lag_ns
from benchcore.metrics.groups import judged_answers
from benchcore.metrics.level import (
    count_tokens,
    in_band_figures,
    infinite_figures,
    latencies,
    rates,
)
from benchcore.metrics.percentiles import nearest_rank
from benchcore.metrics.spool import Spool, chosen, is_ok, joined
from benchcore.metrics.throughput import Row, overlap_ns
from benchcore.metrics.validity import Evidence, Validity, judge, judge_together
from benchcore.observe.gpus import GpuWatch
from benchcore.observe.processes import ProcessWatch
from benchcore.observe.scraper import Scraper
from benchcore.observe.sources import MetricsSources
from benchcore.observe.windows import remarks
from benchcore.runs.run import LevelResult, LevelScore, WorkerFacts
from benchcore.runs.sinks import FanOut, RequestRow
from benchcore.show.progress import Progress


class Books:
    """Keeps the books of one level, whoever runs its load, and closes them with its result.

    Args:
        step: which level.
        plan: what it does.
        slos: of a good request.
        sinks: take rows and seconds.
        tally: takes requests as they end.
        progress: told how it stands.
        sources: pages of metrics, the target's own among them.
        stream: whether streams are asked for.
        grader: says what the answers were worth, where that is wanted.
        failures: tells of them.
        folder: where requests wait in a file for the level's end; `None`: in memory.
        gpus: of this machine; `None`: they are not read.
        processes: of a server that was launched on this machine; `None`: it was not.
    """

    def __init__(
        self,
        step: Step,
        plan: LevelPlan,
        *,
        slos: Sequence[Slo],
        sinks: FanOut,
        tally: Tally,
        progress: Progress,
        sources: MetricsSources,
        stream: bool,
        grader: Grader | None,
        failures: findings.Failures,
        folder: Path | None,
        gpus: GpuWatch | None = None,
        processes: ProcessWatch | None = None,
    ) -> None:
        self.step = step
        self.plan = plan
        self.sinks = sinks
        self.tally = tally
        self.progress = progress
        self.so_far = SoFar(step.name, plan, failures)
        self._sources = sources
        self.scraper = Scraper(sources.target, sources.all)
        self.block_tokens = sources.target.block_tokens
        """Of the server's prefix cache; `None`: unknown."""
        self._slos = slos
        self._stream = stream
        self._grader = grader
        self._failures = failures
        self._alerts = Alerts(map(Threshold.parse, step.part.config.watch))
        self._processes = processes
        if processes is not None:
            processes.find()
        self._gpus = gpus
        if gpus is not None:
            gpus.forget(time.perf_counter())
        self._stage_ns: dict[Stage, int] = {}
        # Those whose texts a grader is to read stay as they are.
        self._measured = Spool(None if grader is not None else folder, on_problem=progress.say)
        tally.passed_on = self._keep_measured

    def _keep_measured(self, row: RequestRow) -> None:
        if row.stage == Stage.WINDOW.value:
            self._measured.append(row.record, row.data)

    def stage(self, stage: Stage, at_ns: int) -> None:
        """Take note of where the level has come to."""
        self._stage_ns[stage] = at_ns
        if stage is Stage.WINDOW:
            self.scraper.opened(at_ns)
            if self._processes is not None:
                self._processes.opened()
        elif stage is Stage.DRAIN:
            self.scraper.closed(at_ns)
            if self._processes is not None:
                self._processes.closed()

    def live(self, stands: findings.Standing, now_ns: int, rows: Sequence[Row]) -> None:
        """Let people know how it stands."""
        per_second = rows[-1].tokens if rows else None
        if self._processes is not None:
            self._processes.tick()
        values = self.scraper.now()
        if self._gpus is not None:
            values |= self._gpus.now()
        for line in self._alerts.look((now_ns - stands.start_ns) / NS, values):
            self.progress.say(f"{self.step.name}: {line}")
        live = self.so_far.live(stands, now_ns, per_second)
        self.progress.live(
            replace(
                live,
                gpu_utilization=values.get("gpu_utilization"),
                gpu_watts=values.get("gpu_power"),
                server_waiting=values.get("queue"),
            )
        )

    async def close(
        self,
        measured: Measured,
        rows: Sequence[Row],
        workers: Mapping[int, Measured] | None = None,
        lost: Mapping[int, str] | None = None,
        facts: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> LevelResult:
        """Return the result of a level whose requests have all been taken.

        Args:
            measured: what was measured beside them.
            rows: its seconds.
            workers: of several workers, what each has measured.
            lost: by worker that died, how.
            facts: by worker, what else there is to say of it.
        """
        self._failures.say_rest(self.step.name)
        measured.records.measured = self._measured.at_hand()
        if self._gpus is not None:
            await self._gpus.reach(measured.records.window_end_ns / NS)
        found = self._result(measured, rows, workers or {}, lost or {}, facts or {})
        score = await self._grade(measured.records.measured)
        if score is not None:
            found.accuracy = score
        return found

    async def _grade(self, measured: Sequence[Record]) -> LevelScore | None:
        if self._grader is None:
            return None
        # A dropped request never had a prompt.
        asked = [(one.session, one) for one in measured if one.outcome is not Outcome.DROPPED]
        return await self._grader.grade(self.step.name, self.step.repeat, asked)

    def _complete(self, measured: Measured, everyone: Iterable[Record]) -> None:
        """Add to the evidence what only all requests together show."""
        result, evidence, plan = measured.records, measured.evidence, self.plan
        window_ns = result.window_end_ns - result.window_start_ns
        if plan.mode == "open" and result.scheduled:
            evidence.mean_arrival_gap_seconds = (
                1 / plan.rate if plan.rate else window_ns / NS / result.scheduled
            )
        failed = sum(result.ended[outcome] for outcome in FAILED)
        # Users that wait after failures leave too little in flight for an area to tell anything.
        if window_ns > NS and result.area_in_window > 0 and failed < result.ended[Outcome.OK]:
            own = overlap_ns(everyone, result.window_start_ns, result.window_end_ns)
            evidence.little_error = abs(own - result.area_in_window) / result.area_in_window
        evidence.counts_agree = result.counts_agree
        evidence.merged_first = sum(
            record.events is not None and record.events[0] > 1 for record in result.measured
        )
        evidence.planned = result.scheduled if result.planned is None else result.planned
        evidence.unsent = 0 if result.planned is None else result.planned - result.scheduled
        evidence.ok = result.ended[Outcome.OK]
        evidence.failed = failed + result.ended[Outcome.DROPPED]

    def _result(
        self,
        measured: Measured,
        rows: Sequence[Row],
        workers: Mapping[int, Measured],
        lost: Mapping[int, str],
        of_workers: Mapping[int, Mapping[str, Any]],
    ) -> LevelResult:
        plan, result, step = self.plan, measured.records, self.step
        config, evidence = step.part.config, measured.evidence
        everyone = joined(result.others, result.measured)
        outcomes = {one.value: result.ended[one] for one in Outcome if result.ended[one]}
        bad = sum(result.ended[outcome] for outcome in FAILED) + result.ended[Outcome.DROPPED]
        failures = bad if config.count_failures else None
        metrics = latencies(result.measured, open_loop=plan.mode == "open", failures=failures)
        self._complete(measured, everyone)
        evidence.median_gap_seconds = metrics["icl"].p50 if "icl" in metrics else None
        # A plain answer has no first token: its lateness is held against the whole of it.
        first = metrics.get("ttft") or metrics.get("e2e")
        evidence.median_ttft_seconds = None if first is None else first.p50
        if "dispatch_lag" in metrics:
            evidence.dispatch_lag_p99_seconds = metrics["dispatch_lag"].p99
        steady = findings.steady_state(plan, result, measured.in_flight)
        buffered = findings.buffered_streams(result, evidence.client_lag_p50_seconds)
        evidence.buffered_pieces = None if buffered is None else buffered.pieces
        metrics |= infinite_figures(result.measured, failures, stream=self._stream)
        tokens = count_tokens(chosen(result.measured, is_ok))
        judged, facts = self._judged(evidence, workers, lost, of_workers, result)
        per_second = rates(
            result.measured,
            result.others,
            result.window_start_ns,
            result.window_end_ns,
            self._slos,
        )
        seconds = (result.window_end_ns - result.window_start_ns) / NS
        window = self._stage_ns.get(Stage.WINDOW, 0), self._stage_ns.get(Stage.DRAIN, 0)
        told = self.scraper.figures(*window)
        in_band = in_band_figures(result.measured)
        server = self.scraper.columns(*window)
        energy = self._energy(result, per_second, seconds)
        if energy.get("gpus") is not None:
            server |= gpu_columns(energy["gpus"])
        return LevelResult.measured(
            level=step.name,
            workload=step.part.workload.name,
            mode=plan.mode,
            concurrency=plan.concurrency,
            rate=plan.rate,
            arrival=findings.arrival(config, step.level) if plan.mode == "open" else None,
            repeat=step.repeat,
            window_seconds=seconds,
            warmup_seconds=(result.window_start_ns - result.start_ns) / NS,
            drain_seconds=(result.over_ns - result.window_end_ns) / NS,
            scheduled=result.scheduled,
            outcomes=outcomes,
            **per_second,
            metrics=metrics,
            tokens=tokens,
            steady_state=findings.steady_figures(steady, result, everyone),
            judged=judged,
            evidence=evidence,
            **({} if facts is None else {"workers": facts}),
            findings=[
                *findings.findings(steady, result, buffered, gone=measured.gone),
                *remarks(told),
            ],
            notes=[
                *findings.notes(result, self._slos),
                *findings.again(measured.sent),
                *self._unpaid(energy),
            ],
            **findings.of_sessions(
                result, step.part.workload, self._slos, open_loop=plan.mode == "open"
            ),
            prefix_cache=findings.prefix_cache(measured.sent, tokens),
            fidelity=fidelity(result.measured) if plan.replay else None,
            answers=judged_answers(
                measured.sent.judged, result.window_start_ns, result.window_end_ns
            ),
            server=server,
            **energy,
            **self._of_processes(seconds),
            **({"alerts": alerts} if (alerts := self._alerts.episodes) else {}),
            start_unix_seconds=self._sources.unix_seconds(result.start_ns),
            **({"server_metrics": told} if told else {}),
            **({"in_band": in_band} if in_band else {}),
            interrupted=result.interrupted,
            start_ns=result.start_ns,
            records=self._measured.held(),
            rows=rows,
        )

    def _of_processes(self, seconds: float) -> dict[str, Any]:
        """Return what the server's own processes took; empty: that is not known."""
        found = None if self._processes is None else self._processes.figures(seconds)
        return {} if found is None else {"server_processes": found}

    def _energy(
        self, result: LevelRecords, per_second: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Return what the GPUs did and what tokens cost; empty: nobody asked, or none is here."""
        config = self.step.part.config
        found = None
        if self._gpus is not None:
            found = gpus(
                self._gpus.readings,
                result.window_start_ns / NS,
                result.window_end_ns / NS,
                expected=self._gpus.devices,
                lost=self._gpus.lost,
            )
        if found is None and config.gpu_price is None:
            return {}
        tokens, requests = (
            None if (rate := per_second.get(name)) is None else rate * seconds
            for name in ("output_token_throughput", "request_throughput")
        )
        costs = per_token(
            found,
            output_tokens=tokens,
            requests=requests,
            seconds=seconds,
            price=config.gpu_price,
            count=config.gpu_count,
        )
        said = {"gpus": found, **costs}
        return {name: value for name, value in said.items() if value is not None}

    def _unpaid(self, energy: Mapping[str, Any]) -> Iterator[str]:
        """Yield why there is no cost though a price was given."""
        config = self.step.part.config
        if config.gpu_price is not None and config.gpu_count is None and "gpus" not in energy:
            yield "cost unknown: no GPU was read, so give --gpu-count beside --gpu-price"

    def _judged(
        self,
        evidence: Evidence,
        workers: Mapping[int, Measured],
        lost: Mapping[int, str],
        of_workers: Mapping[int, Mapping[str, Any]],
        result: LevelRecords,
    ) -> tuple[Validity, list[WorkerFacts] | None]:
        """Return the verdict and, of several workers, what each of them has to do with it."""
        if not workers and not lost:
            return judge(evidence), None
        of_each = _of_workers(evidence, workers, result.measured)
        judged, verdicts = judge_together(evidence, of_each, lost)
        facts = [
            WorkerFacts.complete(
                worker=number,
                validity=verdicts[number].verdict,
                reasons=verdicts[number].reasons,
                client=None if number in lost else of_each[number].to_json(),
                **of_workers.get(number, {}),
            )
            for number in sorted({*workers, *lost})
        ]
        return judged, facts


def _of_workers(
    whole: Evidence, workers: Mapping[int, Measured], measured: Iterable[Record]
) -> dict[int, Evidence]:
    """Return what is known of each worker: its own evidence, with the medians of all of them."""
    lags = {number: array("q") for number in workers}
    found = {
        number: replace(
            one.evidence,
            median_gap_seconds=whole.median_gap_seconds,
            median_ttft_seconds=whole.median_ttft_seconds,
            mean_arrival_gap_seconds=whole.mean_arrival_gap_seconds,
            buffered_pieces=whole.buffered_pieces,
            merged_first=0,
            ok=0,
            failed=0,
        )
        for number, one in workers.items()
    }
    for record in measured:
        own = found.get(record.worker)
        if own is None:
            continue
        own.planned += 1
        own.ok += record.outcome is Outcome.OK
        own.failed += record.outcome in FAILED or record.outcome is Outcome.DROPPED
        own.merged_first += record.events is not None and record.events[0] > 1
        lag_ns = dispatch_lag_ns(record) if whole.dispatch_lag_p99_seconds is not None else None
        if lag_ns is not None:
            lags[record.worker].append(lag_ns)
    for number, values in lags.items():
        if values:
            late_ns = nearest_rank(np.sort(np.asarray(values, dtype=np.int64)), 0.99)
            found[number].dispatch_lag_p99_seconds = late_ns / NS
    return found
