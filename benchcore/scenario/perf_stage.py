"""Perf stage: the climb as a stage."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError

from benchcore.base.errors import (
    ConfigError,
    InvalidRunError,
    TargetError,
    VerdictError,
)
from benchcore.climbs.ceiling import Ceiling, known_ceiling
from benchcore.climbs.climb import BAD_WORKLOAD, TARGET_GONE, Climb
from benchcore.climbs.plan import SHAPE, Part, StepSource, climb_config, climb_parts, steps
from benchcore.config.climb import ClimbFields
from benchcore.config.scenario import PerfSettings
from benchcore.runs.run import Level, Run
from benchcore.scenario.stage import ServerStage, StageContext, StagePhase, StagePlan
from benchcore.show.progress import Progress

if TYPE_CHECKING:
    from benchcore.config.target import Target
    from benchcore.evals.under_load import LoadEval

_YAML = (".yaml", ".yml", ".jsonl")
_FIGURES = ("ttft", "tpot", "itl", "e2e")


class PerfStage(ServerStage[PerfSettings]):
    """Climbs the levels that the scenario or the matrix names.

    Attributes:
        evaluation: questions to ask instead of the workload, each level's answers scored.
        source: of the levels, where the next depends on those that are over.
        result: what was measured, once it began.
    """

    name = "perf"
    phase = StagePhase.LOAD
    settings_model = PerfSettings
    limit_seconds = 4 * 3600.0
    warnable: ClassVar[frozenset[int]] = frozenset({4, 5})

    def __init__(self, settings: PerfSettings) -> None:
        super().__init__(settings)
        self.evaluation: LoadEval | None = None
        self.source: StepSource | None = None
        self._parts: list[Part] = []
        self.result: Run | None = None

    def plan(self, context: StageContext) -> StagePlan:
        """Return the levels, with how long each is."""
        parts = self.parts(context)
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
        settings, evaluation = self.settings, self.evaluation
        tokenizer = settings.tokenizer
        parts = self.parts(context)
        climb = Climb(
            self.target(context),
            parts,
            folder=context.folder,
            name=context.scenario.id,
            labels=context.labels,
            command=context.command,
            kind=context.kind,
            tokenizer=None if tokenizer is None else context.beside(tokenizer),
            grader=None if evaluation is None else evaluation.grader,
            sinks=settings.sinks,
            allow_simulator=context.allow_simulator,
            progress=context.progress,
            ceiling=await _ceiling(parts, context.progress),
            server_pid=context.launched_pid,
            source=self.source,
        )
        self._interrupt = climb.interrupt
        self.result = run = climb.run
        if evaluation is not None:
            evaluation.run = run
        try:
            await climb()
        finally:
            self.facts = _climb_facts(run)
            if evaluation is not None:
                evaluation.close()
        self.notes = [note for level in run.levels for note in level.findings]
        if not context.alone:  # a command says it in words of its own, once the table is there
            _judge(run, slos=bool(self._slos(context)))

    def target(self, context: StageContext) -> Target:
        """Return the server as the climb asks it."""
        found = super().target(context)
        return found.model_copy(update={"allow_empty": self.settings.allow_empty})

    def _slos(self, context: StageContext) -> tuple[str, ...]:
        return (*context.scenario.slos, *self.settings.slos)

    def parts(self, context: StageContext) -> list[Part]:
        """Return the workloads, each with its climb.

        Raises:
            ConfigError: they will not do.
        """
        if self._parts:  # a file of prompts is read once, and a seed is drawn once
            return self._parts
        settings, evaluation = self.settings, self.evaluation
        said = settings.model_fields_set
        given = {name: getattr(settings, name) for name in ClimbFields.model_fields if name in said}
        given["slos"] = self._slos(context)
        shape = {name: value for name in SHAPE if (value := getattr(settings, name)) is not None}
        workload = settings.workload
        if workload is not None and workload.endswith(_YAML):
            workload = context.beside(workload)
        # A server caches prompts that it has seen: each run has its own, unless told.
        seed = secrets.randbelow(2**31) if settings.seed is None else settings.seed
        given.pop("seed", None)
        try:
            if evaluation is None:
                parts = climb_parts(workload, shape, given, seed)
            else:
                # Each question once a level, unless something else is said.
                questions = evaluation.questions
                config = climb_config(given, {"requests": len(questions)}, seed)
                parts = [Part(questions.name, questions, config)]
        except ValidationError as error:
            if context.option_fault is not None:
                raise context.option_fault(error) from None
            faults = [
                fault["msg"].removeprefix("Value error, ")
                for fault in error.errors(include_url=False)
            ]
            raise ConfigError(f"stages.perf: {'; '.join(faults)}") from None
        _keep_to(context.asking.rate_limit, parts)
        self._parts = parts
        return parts


async def _ceiling(parts: list[Part], progress: Progress) -> Ceiling | None:
    """Return what one worker of this machine can drive, measured now where `auto` asks for it."""
    found = known_ceiling()
    if found is None and any(part.config.workers == "auto" for part in parts):
        from benchcore.scenario.doctor import keep_ceiling, measure_ceiling

        progress.say("workers auto: trying for some seconds what this machine can drive")
        found, _ = await measure_ceiling()
        keep_ceiling(found)
    return found


def _keep_to(limit: float | None, parts: list[Part]) -> None:
    """Refuse a climb that asks for more than the provider allows."""
    if limit is None:
        return
    for part in parts:
        config = part.config
        if not (config.rate or config.shape) or max(config.levels) > limit:
            raise ConfigError(
                f"stages.perf: the provider allows {limit:g} requests a second (rate_limit): give "
                "rates up to that instead of more or of concurrency"
            )


def _climb_facts(run: Run) -> dict[str, Any]:
    return {
        "status": run.status,
        "stopped": run.stopped or None,
        "valid": run.valid if run.levels else None,
        "levels": [dict(_level(level)) for level in run.levels],
    }


def _level(level: Level) -> Iterator[tuple[str, Any]]:
    for name in (
        "level",
        "repeat",
        "workload",
        "mode",
        "verdict",
        "scheduled",
        "ok",
        "failure_rate",
        "request_throughput",
        "output_token_throughput",
        "goodput_ratio",
    ):
        yield level.NAMES.get(name, name), getattr(level, name)
    for metric in _FIGURES:
        for statistic in ("p50", "p99"):
            yield f"{metric}_seconds_{statistic}", level.figure(f"{metric}.{statistic}")


def _judge(run: Run, *, slos: bool) -> None:
    if run.stopped == TARGET_GONE:
        raise TargetError(run.error)
    if run.stopped == BAD_WORKLOAD:
        raise ConfigError(run.error)
    if run.levels and not any(level.ok for level in run.levels):
        raise TargetError("not one request ended ok; run.json and requests.csv say how they ended")
    bad = [level.level for level in run.levels if level.verdict == "invalid"]
    if bad:
        raise InvalidRunError(
            f"{', '.join(bad)}: invalid, the load generator was measured; run.json has the reasons"
        )
    if slos and run.levels:
        first = run.levels[0]
        broken = [finding for finding in first.findings if finding.startswith("SLO ")]
        if broken:
            raise VerdictError(f"{first.level}, the lowest level: {'; '.join(broken)}")
