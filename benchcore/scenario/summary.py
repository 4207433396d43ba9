"""Summary: plans and results as text, as Markdown and as JUnit XML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any, Final
from xml.etree import ElementTree as ET

from benchcore.publish.junit import xml_text
from benchcore.runs.scenarios import (
    MatrixEntry,
    MatrixResult,
    ScenarioResult,
    StageResult,
    StageStatus,
)
from benchcore.scenario.run import PlannedStage
from benchcore.scenario.stages import LoadedScenario

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
        f"## {_cell(result.name)}, {result.run_type}: {verdict}",
        "",
        "| scenario | verdict | functional | perf | accuracy | gate | minutes |",
        "| --- | --- | --- | --- | --- | --- | ---: |",
    ]
    lines += [_row(entry) for entry in result.scenarios]
    told = [line for entry in result.scenarios for line in _told(entry)]
    return "\n".join([*lines, *([""] if told else []), *told]) + "\n"


def _row(entry: MatrixEntry) -> str:
    parts = {} if entry.result is None else {part.name: part for part in entry.result.stages}
    cells = [_short(parts.get(name)) for name in _MEASURED]
    seconds = sum(part.seconds for part in parts.values())
    minutes = f"{seconds / 60:.1f}" if parts else ""
    verdict = _MARKS[entry.verdict]
    return f"| {_cell(entry.scenario)} | {verdict} | {' | '.join(cells)} | {minutes} |"


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
        return [f"- {_cell(entry.scenario)} was left out: {_cell(entry.message)}"]
    found = [f"- **{_cell(entry.scenario)}**: {_cell(entry.message)}"] if entry.message else []
    return found + [
        f"- **{_cell(entry.scenario)}**, {stage.name} {stage.status}: {_cell(stage.message)}"
        for stage in entry.stages
        if stage.status in (StageStatus.FAILED, StageStatus.WARNED)
    ]


def _cell(text: str | None) -> str:
    text = text or ""
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(old, new)
    return text


def junit(result: MatrixResult) -> bytes:
    """Return a matrix as JUnit XML: a suite for each scenario, a case for each stage."""
    root = ET.Element("testsuites", name=f"benchcore {result.name} {result.run_type}")
    for entry in result.scenarios:
        suite = ET.SubElement(root, "testsuite", name=xml_text(entry.scenario))
        cases = list(_cases(entry))
        counts = dict.fromkeys(("failures", "errors", "skipped"), 0)
        for case in cases:
            suite.append(case)
            for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                counts[kind] += case.find(tag) is not None
        suite.set("tests", str(len(cases)))
        for kind, count in counts.items():
            suite.set(kind, str(count))
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _cases(entry: MatrixEntry) -> list[ET.Element]:
    if entry.result is None:
        case = ET.Element("testcase", classname=f"benchcore.{entry.scenario}", name="run", time="0")
        tag = "error" if entry.verdict == "failed" else "skipped"
        message = entry.message or entry.verdict
        ET.SubElement(case, tag, message=xml_text(message))
        return [case]
    cases = [_case(entry.scenario, part) for part in entry.result.stages]
    if entry.verdict == "failed" and not any(part.exit_code for part in entry.result.stages):
        # It failed outside its stages, such as on a full disk.
        case = ET.Element("testcase", classname=f"benchcore.{entry.scenario}", name="run", time="0")
        ET.SubElement(case, "error", message=xml_text(entry.message or "it did not end"))
        cases.append(case)
    return cases


def _case(scenario: str, part: StageResult) -> ET.Element:
    where: dict[str, Any] = {"classname": f"benchcore.{scenario}", "name": part.name}
    case = ET.Element("testcase", **where, time=f"{part.seconds:.3f}")
    message = xml_text(part.message or "")
    if part.status is StageStatus.FAILED:
        tag = "failure" if part.exit_code in _VERDICTS else "error"
        ET.SubElement(case, tag, message=message).text = xml_text("\n".join(part.notes))
    elif part.status in (StageStatus.SKIPPED, StageStatus.INTERRUPTED, StageStatus.PLANNED):
        ET.SubElement(case, "skipped", message=message or str(part.status))
    elif part.status is StageStatus.WARNED:
        ET.SubElement(case, "system-out").text = f"warned: {message}"
    return case
