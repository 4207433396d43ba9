"""Summary: a matrix for people, as Markdown, and for CI systems, as JUnit XML."""

from __future__ import annotations

from typing import Any, Final
from xml.etree import ElementTree as ET

from benchcore.pipeline.matrix_result import MatrixEntry, MatrixResult
from benchcore.sinks.functional import xml_text
from benchcore.stages.protocol import StagePart, StageStatus

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
    verdict = _MARKS["running" if result.status == "running" else result.verdict]
    lines = [
        f"## {_cell(result.name)}, {result.run_type}: {verdict}",
        "",
        "| scenario | verdict | functional | perf | accuracy | gate | minutes |",
        "| --- | --- | --- | --- | --- | --- | ---: |",
    ]
    lines += [_row(entry) for entry in result.entries]
    told = [line for entry in result.entries for line in _told(entry)]
    return "\n".join([*lines, *([""] if told else []), *told]) + "\n"


def _row(entry: MatrixEntry) -> str:
    parts = {} if entry.result is None else {part.name: part for part in entry.result.parts}
    cells = [_short(parts.get(name)) for name in _MEASURED]
    seconds = sum(part.seconds for part in parts.values())
    minutes = f"{seconds / 60:.1f}" if parts else ""
    verdict = _MARKS[entry.verdict]
    return f"| {_cell(entry.scenario)} | {verdict} | {' | '.join(cells)} | {minutes} |"


def _short(part: StagePart | None) -> str:
    """Return a stage in a few words."""
    if part is None:
        return ""
    if part.status in (StageStatus.SKIPPED, StageStatus.INTERRUPTED, StageStatus.PLANNED):
        return str(part.status)
    said = headline(part)
    return f"{said} ({part.status})" if said else str(part.status)


def headline(part: StagePart) -> str:
    """Return the one figure of a stage that says most; empty where it has none."""
    facts = part.facts
    if part.name == "functional" and "pass" in facts:
        return f"{facts['pass'] + facts['flaky']}/{facts['total']}"
    if part.name == "perf" and facts.get("levels"):
        last = facts["levels"][-1]
        tokens = last["output_token_throughput"]
        return f"{last['level']}: " + (
            "no tokens/s" if tokens is None else f"{tokens:.0f} tokens/s"
        )
    if part.name == "accuracy" and facts.get("score") is not None:
        return f"{facts['task']} {facts['score']:.3f}"
    if part.name == "gate" and facts.get("rules"):
        held = sum(1 for rule in facts["rules"] if rule["verdict"] == "pass")
        return f"{held}/{len(facts['rules'])} rules"
    return ""


def _told(entry: MatrixEntry) -> list[str]:
    """Return why something did not pass, a line each."""
    found = [f"- **{_cell(entry.scenario)}**: {_cell(entry.message)}"] if entry.message else []
    if entry.skipped:
        return [f"- {_cell(entry.scenario)} was left out: {_cell(entry.skipped)}"]
    for part in () if entry.result is None else entry.result.parts:
        if part.status in (StageStatus.FAILED, StageStatus.WARNED):
            text = _cell(part.message)
            found.append(f"- **{_cell(entry.scenario)}**, {part.name} {part.status}: {text}")
    return found


def _cell(text: str) -> str:
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(old, new)
    return text


def junit(result: MatrixResult) -> bytes:
    """Return a matrix as JUnit XML: a suite for each scenario, a case for each stage."""
    root = ET.Element("testsuites", name=f"benchcore {result.name} {result.run_type}")
    for entry in result.entries:
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
        message = entry.skipped or entry.message or entry.verdict
        ET.SubElement(case, tag, message=xml_text(message))
        return [case]
    cases = [_case(entry.scenario, part) for part in entry.result.parts]
    if entry.verdict == "failed" and not any(part.exit_code for part in entry.result.parts):
        # It failed outside its stages, such as on a full disk.
        case = ET.Element("testcase", classname=f"benchcore.{entry.scenario}", name="run", time="0")
        ET.SubElement(case, "error", message=xml_text(entry.message or "it did not end"))
        cases.append(case)
    return cases


def _case(scenario: str, part: StagePart) -> ET.Element:
    where: dict[str, Any] = {"classname": f"benchcore.{scenario}", "name": part.name}
    case = ET.Element("testcase", **where, time=f"{part.seconds:.3f}")
    message = xml_text(part.message)
    if part.status is StageStatus.FAILED:
        tag = "failure" if part.exit_code in _VERDICTS else "error"
        ET.SubElement(case, tag, message=message).text = xml_text("\n".join(part.notes))
    elif part.status in (StageStatus.SKIPPED, StageStatus.INTERRUPTED, StageStatus.PLANNED):
        ET.SubElement(case, "skipped", message=message or str(part.status))
    elif part.status is StageStatus.WARNED:
        ET.SubElement(case, "system-out").text = f"warned: {message}"
    return case
