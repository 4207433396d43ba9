"""Lines: plans and results as text for a terminal of a hundred columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from benchcore.pipeline.matrix_result import MatrixResult
from benchcore.pipeline.plan import PlannedStage
from benchcore.pipeline.result import ScenarioResult
from benchcore.pipeline.scenario_file import LoadedScenario
from benchcore.pipeline.summary import headline
from benchcore.stages.protocol import StagePart, StageStatus

_WIDTH = 100
_INDENT = 25


def render_plan(loaded: LoadedScenario, stages: list[PlannedStage]) -> str:
    """Return what a scenario would do, stage by stage, with what it takes."""
    scenario = loaded.scenario
    head = f"{scenario.id}, {loaded.run_type.name}: {scenario.description or loaded.path}"
    lines = textwrap.wrap(head, _WIDTH)
    for stage in stages:
        what = [f"cannot be done: {stage.fault}"] if stage.fault else stage.lines
        lines += _row(stage.name, _takes(stage), what)
    known = [_seconds(stage) for stage in stages]
    total = sum(seconds for seconds in known if seconds is not None)
    unknown = [stage.name for stage in stages if _seconds(stage) is None]
    rest = f", besides {', '.join(unknown)}, which have no bound" if unknown else ""
    lines.append(f"{'':2}in all about {_time(total)}{rest}")
    return "\n".join(lines) + "\n"


def _seconds(stage: PlannedStage) -> float | None:
    return stage.at_most if stage.last_time is None else stage.last_time


def _takes(stage: PlannedStage) -> str:
    if stage.last_time is not None:
        return f"{_time(stage.last_time)} last"
    if stage.at_most is None:
        return "?"
    return f"≤ {_time(stage.at_most)}" if stage.at_most else ""


def _time(seconds: float) -> str:
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 99.5 else f"{minutes / 60:.1f} h"


def render_result(result: ScenarioResult) -> str:
    """Return what became of a scenario, stage by stage."""
    lines = [f"{result.scenario}, {result.run_type}: {result.verdict}"]
    for part in result.parts:
        lines += _row(part.name, str(part.status), list(_said(part)))
    return "\n".join(lines) + "\n"


def _said(part: StagePart) -> Iterable[str]:
    took = f"{_time(part.seconds)}" if part.started_at else ""
    if part.status is not StageStatus.PLANNED:
        yield ": ".join(filter(None, (took, headline(part), part.message)))
    elif part.message:
        yield part.message
    if part.status is StageStatus.PLANNED:
        yield from part.notes
        if part.facts:
            found = ", ".join(
                f"{name} {_fact(value)}" for name, value in part.facts.items() if value != []
            )
            yield f"would find: {found}"
    last_lines = part.facts.get("last_lines")
    if isinstance(last_lines, list):  # a stage of somebody else's may mean something else by it
        yield from (f"| {line}" for line in last_lines)


def _fact(value: object) -> str:
    if value is None:
        return "?"
    if isinstance(value, list):
        return f"({len(value)})"
    return str(value)


def _row(name: str, status: str, said: Iterable[str]) -> list[str]:
    head = f"  {name:<11} {status:<11}"
    rows = [
        row
        for line in said
        if line
        for row in textwrap.wrap(line, _WIDTH - _INDENT - 1, break_on_hyphens=False)
    ]
    first, *rest = rows or [""]
    return [f"{head:<{_INDENT}} {first}".rstrip(), *(f"{'':<{_INDENT}} {row}" for row in rest)]


def render_matrix(result: MatrixResult) -> str:
    """Return what became of a matrix, a line for each scenario, and why some did not pass."""
    lines = [f"{result.name}, {result.run_type}: {result.verdict}"]
    for entry in result.entries:
        told = [entry.message] if entry.message else []
        told += [entry.skipped] if entry.skipped else []
        for part in () if entry.result is None else entry.result.parts:
            if part.status in (StageStatus.FAILED, StageStatus.WARNED):
                told.append(f"{part.name} {part.status}: {part.message}")
        lines.append(f"  {entry.scenario}: {entry.verdict}")
        for line in told:
            lines += [f"    {row}" for row in textwrap.wrap(line, _WIDTH - 4)]
    return "\n".join(lines) + "\n"
