"""Summary: plans and results as text, as Markdown and as JUnit XML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Literal

from benchcore.publish.junit import Case, junit_xml
from benchcore.runs.scenarios import (
    MatrixEntry,
    MatrixResult,
    ScenarioResult,
    StageResult,
    StageStatus,
)
from benchcore.scenario.run import PlannedStage
from benchcore.scenario.stages import LoadedScenario
from benchcore.show.markdown import cell, markdown_table

_WIDTH = 100
_INDENT = 25


def render_plan(loaded: LoadedScenario, stages: list[PlannedStage]) -> str:
    """Return what a scenario would do, stage by stage, with what it takes."""
    scenario = loaded.scenario
    head = f"{scenario.id}, {loaded.run_type.name}: {scenario.description or loaded.path}"
    lines = textwrap.wrap(head, _WIDTH)
    for stage in stages:
        what = [f"cannot be done: {stage.fault}"] if stage.fault else stage.lines
        lines += _terminal_row(stage.name, _takes(stage), what)
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
    for part in result.stages:
        lines += _terminal_row(part.name, str(part.status), list(_said(part)))
    return "\n".join(lines) + "\n"


def _said(part: StageResult) -> Iterable[str]:
    took = f"{_time(part.seconds)}" if part.started_at else ""
    if part.status is not StageStatus.PLANNED:
        yield ": ".join(filter(None, (took, part.headline, part.message)))
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


def _terminal_row(name: str, status: str, said: Iterable[str]) -> list[str]:
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
    for entry in result.scenarios:
        told = [entry.message] if entry.message else []
        told += [
            f"{stage.name} {stage.status}: {stage.message}"
            for stage in entry.stages
            if stage.status in (StageStatus.FAILED, StageStatus.WARNED)
        ]
        lines.append(f"  {entry.scenario}: {entry.verdict}")
        for line in told:
            lines += [f"    {row}" for row in textwrap.wrap(line, _WIDTH - 4)]
    return "\n".join(lines) + "\n"


_MARKS: Final = {
    "passed": "✅ passed",
    "warned": "⚠️ warned",
    "failed": "❌ failed",
    "interrupted": "⏹️ interrupted",
    "skipped": "⏭️ skipped",
    "planned": "📝 planned",
    "running": "⏳ running",
    "waiting": "⏳ waiting",
}
_MEASURED: Final = ("functional", "perf", "accuracy", "gate")
_VERDICTS: Final = (4, 5)
"""Exit codes of a judgement; others are of something that did not work."""


def markdown(result: MatrixResult) -> str:
    """Return a summary short enough for a comment on a pull request."""
    verdict = _MARKS[result.verdict or "running"]
    lines = [
        f"## {cell(result.name)}, {result.run_type}: {verdict}",
        "",
        *markdown_table(
            ["scenario", "verdict", *_MEASURED, "minutes"], map(_row, result.scenarios), right=[6]
        ),
    ]
    told = [line for entry in result.scenarios for line in _told(entry)]
    return "\n".join([*lines, *([""] if told else []), *told]) + "\n"


def _row(entry: MatrixEntry) -> list[str]:
    parts = {} if entry.result is None else {part.name: part for part in entry.result.stages}
    cells = [_short(parts.get(name)) for name in _MEASURED]
    seconds = sum(part.seconds for part in parts.values())
    minutes = f"{seconds / 60:.1f}" if parts else ""
    return [cell(entry.scenario), _MARKS[entry.verdict], *cells, minutes]


def _short(part: StageResult | None) -> str:
    """Return a stage in a few words."""
    if part is None:
        return ""
    if part.status in (StageStatus.SKIPPED, StageStatus.INTERRUPTED, StageStatus.PLANNED):
        return str(part.status)
    said = part.headline
    return f"{said} ({part.status})" if said else str(part.status)


def _told(entry: MatrixEntry) -> list[str]:
    """Return why something did not pass, a line each."""
    if entry.verdict == "skipped":
        return [f"- {cell(entry.scenario)} was left out: {cell(entry.message)}"]
    found = [f"- **{cell(entry.scenario)}**: {cell(entry.message)}"] if entry.message else []
    return found + [
        f"- **{cell(entry.scenario)}**, {stage.name} {stage.status}: {cell(stage.message)}"
        for stage in entry.stages
        if stage.status in (StageStatus.FAILED, StageStatus.WARNED)
    ]


def junit(result: MatrixResult) -> bytes:
    """Return a matrix as JUnit XML: a suite for each scenario, a case for each stage."""
    suites = {entry.scenario: _cases(entry) for entry in result.scenarios}
    return junit_xml(f"benchcore {result.name} {result.run_type}", suites, None)


def _cases(entry: MatrixEntry) -> list[Case]:
    whole = Case(f"benchcore.{entry.scenario}", "run")
    if entry.result is None:
        message = entry.message or entry.verdict
        failed = entry.verdict == "failed"
        return [replace(whole, outcome="error" if failed else "skipped", message=message)]
    stages = entry.result.stages
    cases = [_case(entry.scenario, stage) for stage in stages]
    if entry.verdict == "failed" and not any(stage.exit_code for stage in stages):
        # It failed outside its stages, such as on a full disk.
        message = entry.message or "it did not end"
        cases.append(replace(whole, outcome="error", message=message))
    return cases


def _case(scenario: str, stage: StageResult) -> Case:
    case = Case(f"benchcore.{scenario}", stage.name, stage.seconds, message=stage.message or "")
    if stage.status is StageStatus.FAILED:
        outcome: Literal["failure", "error"] = "error"
        if stage.exit_code in _VERDICTS:
            outcome = "failure"
        return replace(case, outcome=outcome, text="\n".join(stage.notes))
    if stage.status in (StageStatus.SKIPPED, StageStatus.INTERRUPTED, StageStatus.PLANNED):
        return replace(case, outcome="skipped", message=stage.message or str(stage.status))
    if stage.status is StageStatus.WARNED:
        return replace(case, text=f"warned: {case.message}")
    return case
