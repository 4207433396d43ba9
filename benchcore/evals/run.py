"""Eval: asks a task's questions and scores the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchcore.base.errors import ConfigError, VerdictError
from benchcore.client.client import Client
from benchcore.client.openai import asked_tokens
from benchcore.climbs.probe import find_model
from benchcore.config.evals import EvalConfig
from benchcore.config.target import Target
from benchcore.evals.custom import custom_task, is_custom
from benchcore.evals.data import shot_rows, task_rows
from benchcore.evals.sampling import Sampler
from benchcore.evals.task import Question, Task, find_task, sha256
from benchcore.metrics.accuracy import Sample, SampleOutcome
from benchcore.runs.run_json import target_facts
from benchcore.runs.samples import Eval, EvalData


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """What an eval is to ask.

    Args:
        task: whose questions.
        config: how.
        questions: in order.
        data: where they are from, for `accuracy.json`.
        done: samples that there are already.
        folder: of the run that is gone on with.
        base_url: of its server.
        kind: of its server: `server` or `simulator`.
    """

    task: Task
    config: EvalConfig
    questions: list[Question]
    data: EvalData
    done: list[Sample] = field(default_factory=list)
    folder: Path | None = None
    base_url: str | None = None
    kind: str = "server"


async def plan_eval(
    task: str | Task, config: EvalConfig, data: str | None = None, shots: str | None = None
) -> EvalPlan:
    """Read a task's data and put its questions in order.

    Args:
        task: its name, the name of a YAML file, or the task itself.
        config: how it is asked.
        data: a file, a folder, `builtin`; `None`: it is fetched from its public place.
        shots: a file of solved questions; `None`: likewise.

    Raises:
        ConfigError: the task, a setting or the data is wrong.
    """
    name = task if isinstance(task, str) else task.name
    if isinstance(task, str):
        task = custom_task(Path(task)) if is_custom(task) else find_task(task)
    task.check(config)
    config = task.settled(config)
    variant = task.variant(config)
    rows = await task_rows(task, variant, data)
    solved = await shot_rows(task, variant, shots, config.few_shot, data)
    questions = task.questions(rows.rows, config, solved.rows)
    if not questions:
        raise ConfigError(f"task {task.name}: the data hold no question of variant {variant!r}")
    asked = EvalData(
        task=name,
        given=data,
        few_shot_given=shots,
        files=rows.facts,
        few_shot_files=solved.facts,
    )
    return EvalPlan(task, config, questions, asked)


class Accuracy:
    """Asks a task's questions and scores the answers.

    Args:
        target: the server.
        task: what is asked.
        questions: in the order of asking.
        config: how.
        data: where the questions are from, for `accuracy.json`.
        kind: `server` or `simulator`.
        done: samples of an earlier, unfinished run of the same questions: they are not asked again.
        on_ready: told once the server is known, before anything is asked.
        on_sample: told of each new sample as soon as it is there.
    """

    def __init__(
        self,
        target: Target,
        task: Task,
        questions: Sequence[Question],
        config: EvalConfig,
        *,
        data: EvalData | None = None,
        kind: str = "server",
        done: Sequence[Sample] = (),
        on_ready: Callable[[Eval], None] = lambda _report: None,
        on_sample: Callable[[Sample], None] = lambda _sample: None,
    ) -> None:
        self._target = target.model_copy(update={"allow_empty": True})
        self._task = task
        self._config = config
        self._kind = kind
        self._on_ready = on_ready
        self._on_sample = on_sample
        self._running: asyncio.Task[None] | None = None
        self._left = remaining(questions, done, config)
        self.report = Eval.begun(
            task.name,
            variant=task.variant(config) or None,
            config={**config.model_dump(mode="json"), **_over(target)},
            data=data,
            target=target_facts(target, kind),
            samples=done,
            planned=len(questions),
            min_score=config.min_score,
        )

    async def __call__(self) -> Eval:
        """Ask, and return the report; what is interrupted leaves a report of what was asked.

        Raises:
            TargetError: the server is not there, has gone, or has answered not one question.
        """
        begun = time.perf_counter()
        self._running = asyncio.create_task(self._run())
        try:
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()
            whole = len(self.report.samples) == self.report.planned
            self.report.status = "complete" if whole else "interrupted"
        finally:
            self._running.cancel()
            self._finish(time.perf_counter() - begun)
        return self.report

    def interrupt(self) -> None:
        """Stop; what was not asked can be asked later."""
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        async with Client(self._target, keep=True) as client:
            probed = await find_model(client)
            client.target = client.target.model_copy(update={"model": probed.model})
            self.report.target = target_facts(client.target, self._kind)
            self.report.notes.extend(probed.notes)
            self.report.count()
            self._on_ready(self.report)
            answered = any(sample.score is not None for sample in self.report.samples)
            sampler = Sampler(client, self._task, self._config, self._take, answered=answered)
            try:
                await sampler.ask(self._left)
            finally:  # the server may have wanted the questions to be asked otherwise
                self.report.target = target_facts(client.target, self._kind)
                self.report.notes.extend(sampler.found.notes)

    def _take(self, sample: Sample) -> None:
        self.report.samples.append(sample)
        self._on_sample(sample)

    def _finish(self, seconds: float) -> None:
        report = self.report
        report.samples.sort(key=lambda sample: sample.index)
        report.figures = self._task.figures(report.samples)
        report.seconds = seconds
        if report.status == "running":
            report.status = "failed"
        report.count()


def _over(target: Target) -> dict[str, Any]:
    """Return the settings that the bodies have from `extra_body`, which stands over them."""
    extra = target.extra_body
    sampling = {
        name: extra[name] for name in ("temperature", "top_p") if extra.get(name) is not None
    }
    asked = asked_tokens(extra)
    return sampling if asked is None else {**sampling, "max_tokens": asked}


def check_score(report: Eval) -> None:
    """Hold a report to the score that it must have.

    Raises:
        VerdictError: the score is below it, or there is none.
    """
    ours = report.origin.provider == "native"
    if report.score is None or (ours and not report.completed):
        raise VerdictError("not one sample was answered, so there is nothing to judge; see above")
    if report.ok is False:
        raise VerdictError(
            f"{report.task}: the score {report.score.score:.4f} is below {report.min_score:g}, and "
            f"so is the upper bound of its 95 % interval, {report.score.high:.4f}"
        )


def remaining(
    questions: Sequence[Question], done: Sequence[Sample], config: EvalConfig
) -> list[Question]:
    """Return the questions that have no sample yet.

    Raises:
        ConfigError: a sample is of another question than the one at its place.
    """
    by_index = {question.index: question for question in questions}
    asked = set()
    for sample in done:
        question = by_index.get(sample.index)
        text = "" if question is None else sha256(question.messages(config.system))
        if text != sample.prompt_sha256:
            raise ConfigError(
                f"sample {sample.index} does not belong to these questions; "
                "have the data changed since?"
            )
        if sample.index in asked:
            raise ConfigError(f"sample {sample.index} appears twice")
        asked.add(sample.index)
    return [question for question in questions if question.index not in asked]


def without_errors(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples that need not be asked again where errors are."""
    return [sample for sample in samples if sample.outcome is not SampleOutcome.ERROR]


async def evaluate(
    target: Target | str, task: str | Task = "gpqa", *, data: str | None = None, **settings: Any
) -> Eval:
    """Ask a task's questions and return what the answers were worth.

    Args:
        target: the server, or its address.
        task: its name, the name of a YAML file, or the task itself.
        data: a file, a folder, `builtin`; `None`: it is fetched from its public place.
        settings: fields of `EvalConfig`, such as `limit=50`.

    Raises:
        BenchcoreError: see `benchcore.base.errors`; pydantic's ValidationError for a bad setting.
    """
    config = EvalConfig.model_validate(settings)
    plan = await plan_eval(task, config, data)
    target = Target(target) if isinstance(target, str) else target
    return await Accuracy(target, plan.task, plan.questions, plan.config, data=plan.data)()
