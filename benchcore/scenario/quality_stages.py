"""Quality stages: the checks and an eval as stages."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchcore.base.errors import (
    ResultsError,
)
from benchcore.base.text import printable
from benchcore.checks.catalogue import chosen_checks
from benchcore.checks.check import Check
from benchcore.checks.run import Functional, check_verdicts
from benchcore.config.checks import FunctionalConfig
from benchcore.config.evals import PRESETS, EvalConfig
from benchcore.config.scenario import AccuracySettings, FunctionalSettings
from benchcore.evals.custom import is_custom
from benchcore.evals.data import BUILTIN
from benchcore.evals.files import EvalFiles
from benchcore.evals.run import Accuracy, EvalPlan, check_score, plan_eval
from benchcore.evals.task import find_task
from benchcore.metrics.accuracy import Sample
from benchcore.publish.junit import write_functional
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.samples import Eval
from benchcore.scenario.stage import ServerStage, StageContext, StagePhase, StagePlan
from benchcore.show.text import result_line, sample_line

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


class AccuracyStage(ServerStage[AccuracySettings]):
    """Asks a task's questions and scores the answers.

    Args:
        settings: what the scenario says.
        planned: the questions that a command was asked for, with the samples that are there already
            where a run is gone on with.
        show_text: let the page show questions and answers, where they are kept.
    """

    name = "accuracy"
    phase = StagePhase.SCORE
    settings_model = AccuracySettings
    limit_seconds = 12 * 3600.0

    def __init__(
        self,
        settings: AccuracySettings,
        *,
        planned: EvalPlan | None = None,
        show_text: bool = False,
    ) -> None:
        super().__init__(settings)
        self._planned = planned
        self._show_text = show_text
        self.report: Eval | None = None
        self.begun = False
        """Whether anything was written."""

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
        plan = self._planned or await self._plan(context)
        files = EvalFiles(
            context.folder,
            page="report.html" if context.alone else "accuracy.html",
            show_text=self._show_text,
            beside=lambda report: self._write_head(context, report),
        )

        def take(sample: Sample) -> None:
            files.write(sample)
            report = machine.report
            context.tell(sample_line(sample, len(report.samples), report.planned))

        machine = Accuracy(
            self.target(context),
            plan.task,
            plan.questions,
            plan.config,
            data=plan.data,
            kind=context.kind,
            done=plan.done,
            on_ready=files.begin,
            on_sample=take,
        )
        self._interrupt = machine.interrupt
        self.report = machine.report
        try:
            await machine()
        finally:
            found: dict[str, Any] = machine.report.to_json()
            self.facts = {name: found[name] for name in _FACTS} | {"status": found["status"]}
            self.notes = list(machine.report.notes)
            self.begun = files.begun
            files.finish(machine.report)
        check_score(machine.report)

    async def _plan(self, context: StageContext) -> EvalPlan:
        settings = self.settings
        data, shots = (
            name if name is None or name == BUILTIN else context.beside(name)
            for name in (settings.data, settings.few_shot_data)
        )
        return await plan_eval(
            self._task(context),
            self._config(context),
            data or context.environ.get("BENCHCORE_DATA"),
            shots,
        )

    def _write_head(self, context: StageContext, report: Eval) -> None:
        if context.alone:
            context.write_head(report.status or "failed", report.target)

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
        return context.beside(task) if is_custom(task) else task


# Functional stage: the checks as a stage.


class FunctionalStage(ServerStage[FunctionalSettings]):
    """Makes the smoke checks, or the suites that the scenario names.

    Args:
        settings: what the scenario says.
        chosen: the checks that a command was asked for, and how they are made.
        expired_key: the key that the simulator takes for an expired one.
    """

    name = "functional"
    phase = StagePhase.CHECK
    settings_model = FunctionalSettings
    limit_seconds = 1800.0

    def __init__(
        self,
        settings: FunctionalSettings,
        *,
        chosen: tuple[list[Check], FunctionalConfig] | None = None,
        expired_key: str | None = None,
    ) -> None:
        super().__init__(settings)
        self._chosen = chosen
        self._expired_key = expired_key
        self.report: Checks | None = None

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
        key = self._expired_key
        if expired is not None and key is None:
            key = context.variable(expired, "stages.functional.expired_key_env")
        machine = Functional(
            self.target(context),
            checks,
            config,
            kind=context.kind,
            expired_key=key,
            expired_variable=expired or "EXPIRED_KEY",
            key_variable=context.asking.api_key_env or "BENCHCORE_API_KEY",
            fail_fast=self.settings.fail_fast,
            on_result=lambda result: context.tell(result_line(result)),
            on_note=lambda note: context.tell(printable(note)),
        )
        self._interrupt = machine.interrupt
        self.report = machine.report
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
            if context.alone:
                summary = machine.report.summary
                context.write_head(summary.status or "failed", summary.target)
        unsettled = machine.report.count(Verdict.UNSETTLED)
        if unsettled and machine.report.judged and not context.alone:
            context.tell(
                f"{unsettled} checks are unsettled: the server put them off with 429 each time"
            )
        check_verdicts(machine.report)

    def _checks(self, context: StageContext) -> tuple[list[Check], FunctionalConfig]:
        if self._chosen is not None:
            return self._chosen
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


def _check_facts(checks: Checks) -> dict[str, Any]:
    return {
        "status": checks.summary.status,
        "engine": checks.summary.engine,
        "total": len(checks.results),
        **{verdict.value: checks.count(verdict) for verdict in Verdict},
        "pass_ratio": checks.summary.pass_ratio,
        "failed": [one.case_id for one in checks.failures],
    }
