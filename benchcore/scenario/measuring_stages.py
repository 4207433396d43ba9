"""Measuring stages: the climb, the checks and the evals as stages of a scenario."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from benchcore.base.errors import (
    ConfigError,
    InvalidRunError,
    ResultsError,
    TargetError,
    VerdictError,
)
from benchcore.checks.catalogue import chosen_checks
from benchcore.checks.check import Check
from benchcore.checks.run import Functional, check_verdicts
from benchcore.climbs.climb import TARGET_GONE, Climb
from benchcore.climbs.plan import SHAPE, Part, climb_parts, steps
from benchcore.config.checks import FunctionalConfig
from benchcore.config.climb import ClimbFields
from benchcore.config.evals import PRESETS, EvalConfig
from benchcore.config.scenario import AccuracySettings, FunctionalSettings, PerfSettings
from benchcore.evals.custom import is_custom
from benchcore.evals.data import BUILTIN
from benchcore.evals.files import EvalFiles
from benchcore.evals.run import Accuracy, check_score, plan_eval
from benchcore.evals.task import find_task
from benchcore.metrics.accuracy import Sample
from benchcore.publish.junit import write_functional
from benchcore.runs.checks import FunctionalReport, Verdict
from benchcore.runs.run import RunResult
from benchcore.scenario.stage import BaseStage, StageContext, StagePhase, StagePlan
from benchcore.show.text import result_line, sample_line

_YAML = (".yaml", ".yml", ".jsonl")
_FIGURES = ("ttft", "tpot", "itl", "e2e")


class PerfStage(BaseStage[PerfSettings]):
    """Climbs the levels that the scenario or the matrix names."""

    name = "perf"
    phase = StagePhase.LOAD
    settings_model = PerfSettings
    limit_seconds = 4 * 3600.0
    warnable: ClassVar[frozenset[int]] = frozenset({4, 5})

    def __init__(self, settings: PerfSettings) -> None:
        super().__init__(settings)
        self._climb: Climb | None = None

    def plan(self, context: StageContext) -> StagePlan:
        """Return the levels, with how long each is."""
        parts = self._parts(context)
        found = StagePlan(facts={"levels": [], "valid": None})
        seconds = 0.0
        known = True
        for step in steps(parts):
            requests, limit = step.part.config.window(step.level)
            ends = [] if requests is None else [f"{requests} requests"]
            ends += [] if limit is None else [f"{'at most ' if requests else ''}{limit:g} s"]
            again = f", repeat {step.repeat}" if step.part.config.repeats > 1 else ""
            found.lines.append(f"{step.name}: {step.part.name}, {' or '.join(ends)}{again}")
            found.facts["levels"].append({"level": step.name, "repeat": step.repeat})
            known = known and limit is not None
            seconds += (limit or 0.0) + (step.part.config.warmup_seconds or 0.0)
        found.seconds = seconds if known else None
        return found

    async def run(self, context: StageContext) -> None:
        """Climb.

        Raises:
            InvalidRunError: a level measured the load generator.
            TargetError: the server does not answer, or not one request ended well.
            VerdictError: not even the lowest level met the objectives.
        """
        settings = self.settings
        target = context.target(
            settings.extra_body,
            endpoint=settings.asked_endpoint,
            stream=settings.stream,
            timeouts=settings.timeouts,
            allow_empty=settings.allow_empty,
        )
        tokenizer = settings.tokenizer
        self._climb = climb = Climb(
            target,
            self._parts(context),
            folder=context.folder,
            name=context.scenario.id,
            labels=context.labels,
            command=context.command,
            kind=context.kind,
            tokenizer=None if tokenizer is None else str(context.base / tokenizer),
            sinks=settings.sinks,
            allow_simulator=context.allow_simulator,
            progress=context.progress,
        )
        try:
            await climb()
        finally:
            self.facts = _climb_facts(climb.run)
        self.notes = [note for level in climb.run.levels for note in level.findings]
        _judge(climb.run, slos=bool(self._slos(context)))

    def interrupt(self) -> bool:
        """End the level early; what was measured is kept."""
        if self._climb is None:
            return False
        self._climb.interrupt()
        return True

    def _slos(self, context: StageContext) -> tuple[str, ...]:
        return (*context.scenario.slos, *self.settings.slos)

    def _parts(self, context: StageContext) -> list[Part]:
        settings = self.settings
        said = settings.model_fields_set
        given = {name: getattr(settings, name) for name in ClimbFields.model_fields if name in said}
        given["slos"] = self._slos(context)
        shape = {name: value for name in SHAPE if (value := getattr(settings, name)) is not None}
        workload = settings.workload
        if workload is not None and workload.endswith(_YAML):
            workload = str(context.base / workload)
        # A server caches prompts that it has seen: each run has its own, unless told.
        seed = secrets.randbelow(2**31) if settings.seed is None else settings.seed
        given.pop("seed", None)
        try:
            parts = climb_parts(workload, shape, given, seed)
        except ValidationError as error:
            faults = [
                fault["msg"].removeprefix("Value error, ")
                for fault in error.errors(include_url=False)
            ]
            raise ConfigError(f"stages.perf: {'; '.join(faults)}") from None
        _keep_to(context.asking.rate_limit, parts)
        return parts


def _keep_to(limit: float | None, parts: list[Part]) -> None:
    """Refuse a climb that asks for more than the provider allows."""
    if limit is None:
        return
    for part in parts:
        if not part.config.rate or max(part.config.rate) > limit:
            raise ConfigError(
                f"stages.perf: the provider allows {limit:g} requests a second (rate_limit): give "
                "rates up to that instead of more or of concurrency"
            )


def _climb_facts(run: RunResult) -> dict[str, Any]:
    return {
        "status": run.status,
        "stopped": run.stopped or None,
        "valid": run.valid if run.levels else None,
        "levels": [dict(_level(level.to_json())) for level in run.levels],
    }


def _level(level: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in (
        "level",
        "repeat",
        "workload",
        "mode",
        "validity",
        "scheduled",
        "ok",
        "failure_rate",
        "request_throughput",
        "output_token_throughput",
        "goodput_ratio",
    ):
        yield name, level[name]
    for metric in _FIGURES:
        summary = level["metrics"].get(metric) or {}
        for statistic in ("p50", "p99"):
            yield f"{metric}_seconds_{statistic}", summary.get(statistic)


def _judge(run: RunResult, *, slos: bool) -> None:
    if run.stopped == TARGET_GONE:
        raise TargetError(run.error)
    if run.levels and not any(level.ok for level in run.levels):
        raise TargetError("not one request ended ok; run.json and requests.csv say how they ended")
    bad = [level.level for level in run.levels if level.validity.verdict == "invalid"]
    if bad:
        raise InvalidRunError(
            f"{', '.join(bad)}: invalid, the load generator was measured; run.json has the reasons"
        )
    if slos and run.levels:
        first = run.levels[0]
        broken = [finding for finding in first.findings if finding.startswith("SLO ")]
        if broken:
            raise VerdictError(f"{first.level}, the lowest level: {'; '.join(broken)}")


class FunctionalStage(BaseStage[FunctionalSettings]):
    """Makes the smoke checks, or the suites that the scenario names."""

    name = "functional"
    phase = StagePhase.CHECK
    settings_model = FunctionalSettings
    limit_seconds = 1800.0

    def __init__(self, settings: FunctionalSettings) -> None:
        super().__init__(settings)
        self._machine: Functional | None = None

    def plan(self, context: StageContext) -> StagePlan:
        """Return the suites, with how many checks each has."""
        checks, config = self._checks(context)
        suites = Counter(check.suite for check in checks)
        lines = [f"{name}: {count} checks" for name, count in suites.items()]
        return StagePlan(
            lines=[f"{', '.join(lines)}; {config.concurrency} at a time"],
            seconds=config.seconds * len(checks) / config.concurrency,
            facts={
                "total": len(checks),
                **{verdict.value: None for verdict in Verdict},
                "pass_ratio": None,
                "failed": None,
            },
        )

    async def run(self, context: StageContext) -> None:
        """Make the checks.

        Raises:
            TargetError: the server is not there, puts everything off, or is no OpenAI API.
            VerdictError: a check failed, or none passed.
        """
        checks, config = self._checks(context)
        expired = self.settings.expired_key_env
        self._machine = machine = Functional(
            context.target(),
            checks,
            config,
            kind=context.kind,
            expired_key=None
            if expired is None
            else context.variable(expired, "stages.functional.expired_key_env"),
            key_variable=context.asking.api_key_env or "BENCHCORE_API_KEY",
            fail_fast=self.settings.fail_fast,
            on_result=lambda result: context.tell(result_line(result)),
            on_note=context.tell,
        )
        try:
            await machine()
        finally:
            self.facts = _check_facts(machine.report)
            try:
                write_functional(context.folder, machine.report)
            except OSError as error:
                raise ResultsError(
                    f"{context.folder}: cannot be written ({error.strerror})"
                ) from None
        unsettled = machine.report.count(Verdict.UNSETTLED)
        if unsettled and machine.report.judged:
            context.tell(
                f"{unsettled} checks are unsettled: the server put them off with 429 each time"
            )
        check_verdicts(machine.report)

    def interrupt(self) -> bool:
        """Make no more checks."""
        if self._machine is None:
            return False
        self._machine.interrupt()
        return True

    def _checks(self, context: StageContext) -> tuple[list[Check], FunctionalConfig]:
        settings = self.settings
        names = FunctionalConfig.model_fields
        given = {
            name: getattr(settings, name) for name in names if name in settings.model_fields_set
        }
        given.setdefault("engine", context.asking.dialect)
        if context.asking.rate_limit is not None:
            given["concurrency"] = 1
        config = FunctionalConfig(**given)
        return chosen_checks(config, context.base), config


def _check_facts(report: FunctionalReport) -> dict[str, Any]:
    failed = [one.case_id for one in report.results if one.verdict is Verdict.FAIL]
    return {
        "status": report.status,
        "engine": report.engine,
        "total": len(report.results),
        **{verdict.value: report.count(verdict) for verdict in Verdict},
        "pass_ratio": report.pass_ratio,
        "failed": failed,
    }


_FACTS = (
    "task",
    "variant",
    "score",
    "stderr",
    "interval",
    "n",
    "completed",
    "truncated",
    "no_answer",
    "refused",
    "errors",
)


class AccuracyStage(BaseStage[AccuracySettings]):
    """Asks a task's questions and scores the answers."""

    name = "accuracy"
    phase = StagePhase.SCORE
    settings_model = AccuracySettings
    limit_seconds = 12 * 3600.0

    def __init__(self, settings: AccuracySettings) -> None:
        super().__init__(settings)
        self._machine: Accuracy | None = None

    def plan(self, context: StageContext) -> StagePlan:
        """Return the task and how it is asked; its questions are neither read nor fetched."""
        config = self._config(context)
        task = self._task(context)
        if not is_custom(task):
            find_task(task)
        many = "all questions" if config.limit is None else f"{config.limit} questions"
        load = f"{config.rate:g} a second" if config.rate else f"{config.concurrency} at a time"
        held = "" if config.min_score is None else f", at least {config.min_score:g}"
        facts = dict.fromkeys(_FACTS) | {
            "task": self.settings.task,
            "variant": config.variant or None,
        }
        return StagePlan([f"{self.settings.task}: {many}, {load}{held}"], facts=facts)

    async def run(self, context: StageContext) -> None:
        """Ask and score.

        Raises:
            ConfigError: the questions are not there.
            TargetError: the server is not there.
            VerdictError: the score is below what it must be.
        """
        settings = self.settings
        config = self._config(context)
        plan = await plan_eval(
            self._task(context),
            config,
            _beside(context.base, settings.data) or context.environ.get("BENCHCORE_DATA"),
            _beside(context.base, settings.few_shot_data),
        )
        files = EvalFiles(context.folder, page="accuracy.html")

        def take(sample: Sample) -> None:
            files.write(sample)
            report = machine.report
            context.tell(sample_line(sample, len(report.samples), report.planned))

        self._machine = machine = Accuracy(
            context.target(
                settings.extra_body,
                endpoint=settings.asked_endpoint,
                stream=settings.stream,
                timeouts=settings.timeouts,
            ),
            plan.task,
            plan.questions,
            plan.config,
            data=plan.data,
            kind=context.kind,
            on_ready=files.begin,
            on_sample=take,
        )
        try:
            await machine()
        finally:
            found: dict[str, Any] = machine.report.to_json()
            self.facts = {name: found[name] for name in _FACTS} | {"status": found["status"]}
            self.notes = list(machine.report.notes)
            files.finish(machine.report)
        check_score(machine.report)

    def interrupt(self) -> bool:
        """Ask no more."""
        if self._machine is None:
            return False
        self._machine.interrupt()
        return True

    def _config(self, context: StageContext) -> EvalConfig:
        settings = self.settings
        names = EvalConfig.model_fields
        said = {
            name: getattr(settings, name) for name in names if name in settings.model_fields_set
        }
        fields = {**PRESETS.get(settings.preset or "", {}), **said}
        limit = context.asking.rate_limit
        if limit is not None:
            fields["rate"] = min(fields.get("rate") or limit, limit)
        return EvalConfig.model_validate(fields)

    def _task(self, context: StageContext) -> str:
        task = self.settings.task
        return str(context.base / task) if is_custom(task) else task


def _beside(base: Path, data: str | None) -> str | None:
    if data is None or data == BUILTIN:
        return data
    return str(base / data)
