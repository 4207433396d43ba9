"""Accuracy stage: an eval as a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchcore.config.evals import PRESETS, EvalConfig
from benchcore.config.scenario import AccuracySettings
from benchcore.evals.custom import is_custom
from benchcore.evals.data import BUILTIN
from benchcore.evals.files import EvalFiles
from benchcore.evals.run import Accuracy, check_score, plan_eval
from benchcore.evals.task import find_task
from benchcore.metrics.accuracy import Sample
from benchcore.scenario.stage import BaseStage, StageContext, StagePhase, StagePlan
from benchcore.show.text import sample_line

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
