"""Functional: the checks of a server as a table, and each failure with what can be done with it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchcore.metrics.functional import CheckResult, FunctionalReport, Verdict
from benchcore.report.table import percent, report_console
from benchcore.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STYLES = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.UNSUPPORTED: "cyan",
    Verdict.SKIP: "dim",
    Verdict.FLAKY: "yellow",
    Verdict.UNSETTLED: "yellow",
    Verdict.ERROR: "bold red",
}
_SHOWN_BODY = 600
_SELDOM = (Verdict.UNSETTLED, Verdict.ERROR)
"""They have a column only where there is one of them."""


def render_functional(report: FunctionalReport, *, color: bool) -> str:
    """Return a report as text of 100 columns.

    Args:
        report: what the checks came to.
        color: with colours for a terminal.
    """
    out = io.StringIO()
    console = report_console(out, color=color)
    console.print(_table(report))
    console.print(_summary(report))
    _print_capabilities(console, report)
    for result in report.results:
        if result.verdict is Verdict.FAIL:
            _print_failure(console, result)
    _print_group(console, "error", _reasons(report.results, Verdict.ERROR))
    _print_group(console, "unsettled", _reasons(report.results, Verdict.UNSETTLED))
    _print_group(console, "flaky", _reasons(report.results, Verdict.FLAKY))
    _print_group(console, "tolerated", _tolerated(report.results))
    _print_group(console, "unsupported", _reasons(report.results, Verdict.UNSUPPORTED))
    _print_group(console, "skipped", _reasons(report.results, Verdict.SKIP))
    return out.getvalue()


def result_line(result: CheckResult) -> str:
    """Return a result in one line."""
    why = f"expected {result.expected}; got {result.got}" if result.expected else result.reason
    if result.verdict is Verdict.PASS:
        why = "tolerated" if result.tolerated else ""
    text = f"{result.verdict:<11} {result.case_id}"
    return printable(f"{text}: {why}" if why else text)


def _table(report: FunctionalReport) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("suite", min_width=18)
    verdicts = [one for one in Verdict if one not in _SELDOM or report.count(one)]
    for verdict in verdicts:
        table.add_column(verdict.value, justify="right")
    table.add_column("checks", justify="right")
    table.add_column("seconds", justify="right")
    suites = list(dict.fromkeys(result.suite for result in report.results))
    for suite in suites:
        _add_row(table, verdicts, suite, [one for one in report.results if one.suite == suite])
    if len(suites) > 1:
        _add_row(table, verdicts, "all", report.results, style="bold")
    return table


def _add_row(
    table: Table,
    verdicts: Sequence[Verdict],
    name: str,
    results: Sequence[CheckResult],
    style: str = "",
) -> None:
    cells = [Text(name)]
    for verdict in verdicts:
        count = sum(1 for result in results if result.verdict is verdict)
        cells.append(Text(str(count) if count else "–", _STYLES[verdict] if count else "dim"))
    cells.append(Text(str(len(results))))
    cells.append(Text(f"{sum(result.seconds for result in results):.1f}"))
    table.add_row(*cells, style=style)


def _summary(report: FunctionalReport) -> Text:
    ratio = percent(report.pass_ratio)
    text = Text("\n")
    text.append(
        f"{report.passed} of {report.judged} judged checks passed ({ratio})",
        "bold green" if report.ok else "bold red",
    )
    text.append(
        f", {report.mode} mode, engine {report.engine}, {report.seconds:.1f} s, {report.status}"
    )
    return text


def _print_capabilities(console: Console, report: FunctionalReport) -> None:
    words = {True: "yes", False: "no", None: "unknown"}
    found = [f"{name} {words[one['available']]}" for name, one in report.capabilities.items()]
    if found:
        console.print(Text(f"capabilities: {', '.join(found)}"))


def _print_failure(console: Console, result: CheckResult) -> None:
    console.print()
    console.print(Text(f"FAIL {result.case_id}", "bold red"), Text(f"— {result.title}"))
    console.print(Text(printable(f"  expected  {result.expected}")))
    console.print(Text(printable(f"  got       {result.got}")))
    if result.reason:
        console.print(Text(printable(f"  note      {result.reason}")))
    for exchange in result.evidence[-1:]:
        answer = exchange["response"]
        status = answer.get("status") or answer["outcome"]
        body = " ".join(str(answer.get("body", "")).split())
        cut = body if len(body) <= _SHOWN_BODY else f"{body[:_SHOWN_BODY]}…"
        console.print(Text(printable(f"  answer    {status}  {cut}")))
        console.print(Text(printable(f"  repeat    {exchange['curl']}")), soft_wrap=True)


def _reasons(results: Iterable[CheckResult], verdict: Verdict) -> list[tuple[str, str]]:
    return [(one.case_id, one.reason) for one in results if one.verdict is verdict]


def _tolerated(results: Iterable[CheckResult]) -> list[tuple[str, str]]:
    return [(one.case_id, text) for one in results for text in one.tolerated]


def _print_group(console: Console, name: str, lines: list[tuple[str, str]]) -> None:
    """Print checks with their reasons, those that have the same one together."""
    if not lines:
        return
    console.print()
    console.print(Text(name, "bold"))
    by_reason: dict[str, list[str]] = {}
    for case_id, reason in lines:
        by_reason.setdefault(reason, []).append(case_id)
    for reason, ids in by_reason.items():
        console.print(Text(printable(f"  {', '.join(ids)}: {reason}")))
