"""Perf stage: the climb as a stage."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import ValidationError

from benchcore.base.errors import (
    ConfigError,
    InvalidRunError,
    TargetError,
    VerdictError,
)
from benchcore.climbs.climb import TARGET_GONE, Climb
from benchcore.climbs.plan import SHAPE, Part, climb_parts, steps
from benchcore.config.climb import ClimbFields
from benchcore.config.scenario import PerfSettings
from benchcore.runs.run import RunResult
from benchcore.scenario.stage import BaseStage, StageContext, StagePhase, StagePlan

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
