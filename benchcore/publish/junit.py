"""JUnit: results as CI systems read them; the files of the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
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


@dataclass(frozen=True, slots=True)
class Case:
    """A case of JUnit XML.

    Args:
        classname: as CI systems group cases.
        name: of the case.
        seconds: it took.
        outcome: what became of it; `None`: it passed.
        message: why.
        text: what else there is to read.
    """

    classname: str
    name: str
    seconds: float = 0.0
    outcome: Literal["failure", "error", "skipped"] | None = None
    message: str = ""
    text: str = ""

    def add_to(self, suite: ET.Element) -> None:
        """Append it to its suite."""
        where = {"classname": self.classname, "name": self.name, "time": f"{self.seconds:.3f}"}
        case = ET.SubElement(
            suite, "testcase", {key: xml_text(value) for key, value in where.items()}
        )
        if self.outcome is not None:
            why = ET.SubElement(case, self.outcome, message=xml_text(self.message))
            why.text = xml_text(self.text) or None
        elif self.text:
            ET.SubElement(case, "system-out").text = xml_text(self.text)


def junit_xml(name: str, suites: Mapping[str, Sequence[Case]], seconds: float | None) -> bytes:
    """Return cases in the JUnit XML that CI systems read.

    Args:
        name: of the whole.
        suites: cases, by suite.
        seconds: all took; `None`: the whole and its suites do not say how long they took.
    """
    root = ET.Element("testsuites", name=xml_text(name))
    if seconds is not None:
        root.set("time", f"{seconds:.3f}")
        _count(root, [case for cases in suites.values() for case in cases])
    for suite_name, cases in suites.items():
        suite = ET.SubElement(root, "testsuite", name=xml_text(suite_name))
        if seconds is not None:
            suite.set("time", f"{sum(case.seconds for case in cases):.3f}")
        _count(suite, cases)
        for case in cases:
            case.add_to(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _count(element: ET.Element, cases: Sequence[Case]) -> None:
    element.set("tests", str(len(cases)))
    for name, outcome in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(1 for case in cases if case.outcome == outcome)))


def junit(checks: Checks) -> bytes:
    """Return a report in the JUnit XML that CI systems read: one suite element per suite.

    A failure is a failure, and a server that had gone an error. Unsupported, unsettled and skip
    are skipped. Flaky is a pass that says so.
    """
    suites: dict[str, list[Case]] = {}
    for result in checks.results:
        suites.setdefault(result.suite or "", []).append(_case(result))
    return junit_xml("benchcore check", suites, checks.summary.seconds or 0.0)


def _case(result: CheckResult) -> Case:
    case = Case(f"benchcore.{result.suite}", result.case_id, result.seconds or 0.0)
    reason = result.reason or ""
    if result.verdict is Verdict.FAIL:
        lines = [result.title or ""]
        for exchange in result.evidence:
            lines += ["", exchange.curl, exchange.answered, exchange.body]
        message = f"expected {result.expected}; got {result.got}"
        return replace(case, outcome="failure", message=message, text="\n".join(lines))
    if result.verdict is Verdict.ERROR:
        return replace(case, outcome="error", message=reason)
    if result.verdict in _SKIPPED:
        return replace(case, outcome="skipped", message=f"{result.verdict}: {reason}")
    if result.verdict is Verdict.FLAKY or result.tolerated:
        return replace(case, text="\n".join([reason, *result.tolerated]).strip())
    return case


def xml_text(text: str) -> str:
    """Return a text as XML can hold it, with nothing in it that a terminal would obey.

    U+FFFD stands for what cannot be printed, but for line breaks and tabs; what XML 1.0 cannot hold
    (section 2.2) is part of that.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )
