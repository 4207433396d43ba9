"""Functional: the checks' report as JSON, as JUnit XML and in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from benchcore.base.files import replace_file
from benchcore.publish.prometheus import functional_metrics
from benchcore.runs.checks import CheckResult, Checks, Verdict
from benchcore.runs.run_json import dump

if TYPE_CHECKING:
    from pathlib import Path


_SKIPPED = (Verdict.SKIP, Verdict.UNSUPPORTED, Verdict.UNSETTLED)


def write_functional(folder: Path, report: Checks) -> None:
    """Write `functional.json`, `junit.xml` and `functional.prom`.

    Raises:
        OSError: they cannot be written.
    """
    from prometheus_client import generate_latest

    replace_file(folder / "functional.json", dump(report.to_json()))
    replace_file(folder / "junit.xml", junit(report))
    replace_file(folder / "functional.prom", generate_latest(functional_metrics(report)))


def junit(checks: Checks) -> bytes:
    """Return a report in the JUnit XML that CI systems read: one suite element per suite.

    A failure is a failure, and a server that had gone an error. Unsupported, unsettled and skip
    are skipped. Flaky is a pass that says so.
    """
    root = ET.Element(
        "testsuites", name="benchcore check", time=f"{checks.summary.seconds or 0.0:.3f}"
    )
    _count(root, checks.results)
    for name in dict.fromkeys(result.suite or "" for result in checks.results):
        results = [result for result in checks.results if result.suite == name]
        seconds = sum(result.seconds or 0.0 for result in results)
        suite = ET.SubElement(root, "testsuite", name=name, time=f"{seconds:.3f}")
        _count(suite, results)
        for result in results:
            _add(suite, result)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _count(element: ET.Element, results: list[CheckResult]) -> None:
    element.set("tests", str(len(results)))
    element.set("failures", str(sum(1 for one in results if one.verdict is Verdict.FAIL)))
    element.set("errors", str(sum(1 for one in results if one.verdict is Verdict.ERROR)))
    element.set("skipped", str(sum(1 for one in results if one.verdict in _SKIPPED)))


def _add(suite: ET.Element, result: CheckResult) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"benchcore.{result.suite}",
        name=result.case_id,
        time=f"{result.seconds or 0.0:.3f}",
    )
    reason = result.reason or ""
    if result.verdict is Verdict.FAIL:
        failure = ET.SubElement(
            case, "failure", message=xml_text(f"expected {result.expected}; got {result.got}")
        )
        lines = [result.title or ""]
        for exchange in result.evidence:
            lines += ["", exchange.curl, exchange.answered, exchange.body]
        failure.text = xml_text("\n".join(lines))
    elif result.verdict is Verdict.ERROR:
        ET.SubElement(case, "error", message=xml_text(reason))
    elif result.verdict in _SKIPPED:
        ET.SubElement(case, "skipped", message=xml_text(f"{result.verdict}: {reason}"))
    elif result.verdict is Verdict.FLAKY or result.tolerated:
        ET.SubElement(case, "system-out").text = xml_text(
            "\n".join([reason, *result.tolerated]).strip()
        )


def xml_text(text: str) -> str:
    """Return a text as XML can hold it, with nothing in it that a terminal would obey.

    U+FFFD stands for what cannot be printed, but for line breaks and tabs; what XML 1.0 cannot hold
    (section 2.2) is part of that.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
