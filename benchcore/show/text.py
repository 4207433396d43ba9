"""Text: checks and evals for a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchcore.base.text import percent, printable
from benchcore.metrics.accuracy import Sample, SampleOutcome, tally
from benchcore.runs.checks import CheckResult, Checks, Verdict
from benchcore.runs.samples import Eval
from benchcore.show.table import report_console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchcore.metrics.scores import Estimate, PairedDifference


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


def render_functional(checks: Checks, *, color: bool) -> str:
    """Return checks as text of 100 columns.

    Args:
        checks: what they came to.
        color: with colours for a terminal.
    """
    out = io.StringIO()
    console = report_console(out, color=color)
    console.print(_checks_table(checks))
    console.print(_summary(checks))
    _print_capabilities(console, checks)
    for failure in checks.failures:
        _print_failure(console, failure)
    _print_group(console, "error", _reasons(checks.results, Verdict.ERROR))
    _print_group(console, "unsettled", _reasons(checks.results, Verdict.UNSETTLED))
    _print_group(console, "flaky", _reasons(checks.results, Verdict.FLAKY))
    _print_group(console, "tolerated", _tolerated(checks.results))
    _print_group(console, "unsupported", _reasons(checks.results, Verdict.UNSUPPORTED))
    _print_group(console, "skipped", _reasons(checks.results, Verdict.SKIP))
    return out.getvalue()


def result_line(result: CheckResult) -> str:
    """Return a result in one line."""
    why = f"expected {result.expected}; got {result.got}" if result.expected else result.reason
    if result.verdict is Verdict.PASS:
        why = "tolerated" if result.tolerated else ""
    text = f"{result.verdict:<11} {result.case_id}"
    return printable(f"{text}: {why}" if why else text)


def _checks_table(checks: Checks) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("suite", min_width=18)
    verdicts = [one for one in Verdict if one not in _SELDOM or checks.count(one)]
    for verdict in verdicts:
        table.add_column(verdict.value, justify="right")
    table.add_column("checks", justify="right")
    table.add_column("seconds", justify="right")
    suites = list(dict.fromkeys(result.suite for result in checks.results))
    for suite in suites:
        results = [one for one in checks.results if one.suite == suite]
        _add_row(table, verdicts, suite or "unknown", results)
    if len(suites) > 1:
        _add_row(table, verdicts, "all", checks.results, style="bold")
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
    cells.append(Text(f"{sum(result.seconds or 0.0 for result in results):.1f}"))
    table.add_row(*cells, style=style)


def _summary(checks: Checks) -> Text:
    summary = checks.summary
    ratio = percent(summary.pass_ratio)
    seconds = "–" if summary.seconds is None else f"{summary.seconds:.1f}"
    text = Text("\n")
    text.append(
        f"{checks.passed} of {checks.judged} judged checks passed ({ratio})",
        "bold green" if checks.ok else "bold red",
    )
    text.append(f", {summary.mode} mode, engine {summary.engine}, {seconds} s, {summary.status}")
    return text


def _print_capabilities(console: Console, checks: Checks) -> None:
    words = {True: "yes", False: "no", None: "unknown"}
    known = [
        f"{name} {words[capability.available]}" for name, capability in checks.capabilities.items()
    ]
    if known:
        console.print(Text(f"capabilities: {', '.join(known)}"))


def _print_failure(console: Console, result: CheckResult) -> None:
    console.print()
    console.print(Text(f"FAIL {result.case_id}", "bold red"), Text(f"— {result.title}"))
    console.print(Text(printable(f"  expected  {result.expected}")))
    console.print(Text(printable(f"  got       {result.got}")))
    if result.reason:
        console.print(Text(printable(f"  note      {result.reason}")))
    for exchange in result.evidence[-1:]:
        body = " ".join(exchange.body.split())
        cut = body if len(body) <= _SHOWN_BODY else f"{body[:_SHOWN_BODY]}…"
        console.print(Text(printable(f"  answer    {exchange.answered}  {cut}")))
        console.print(Text(printable(f"  repeat    {exchange.curl}")), soft_wrap=True)


def _reasons(results: Iterable[CheckResult], verdict: Verdict) -> list[tuple[str, str]]:
    return [
        (result.case_id, result.reason or "") for result in results if result.verdict is verdict
    ]


def _tolerated(results: Iterable[CheckResult]) -> list[tuple[str, str]]:
    return [(result.case_id, text) for result in results for text in result.tolerated]


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


def render_accuracy(report: Eval, *, color: bool) -> str:
    """Return an eval as text of 100 columns.

    Args:
        report: finished or not.
        color: with colours for a terminal.
    """
    out = io.StringIO()
    console = report_console(out, color=color)
    console.print(_scores(report))
    console.print(_counts(report))
    if report.groups:
        console.print()
        console.print(_groups(report))
    for name, value in report.figures.items():
        console.print(Text(f"{name}: {value:.4f}"))
    verdict = _verdict(report)
    if verdict is not None:
        console.print(verdict)
    lines = list(report.remarks)
    if report.target.kind == "simulator":
        lines.insert(0, "SIMULATOR: this is the score of the built-in simulated server")
    if lines:
        console.print()
    for line in lines:
        console.print(Text(printable(line)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _eval_table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, min_width=12)
    for name in ("score", "± stderr", "95 % interval", "samples", "questions"):
        table.add_column(name, justify="right")
    return table


def _add(table: Table, name: str, estimate: Estimate | None) -> None:
    if estimate is None:
        table.add_row(Text(name), "–", "–", "–", "0", "0")
        return
    error = "–" if estimate.stderr is None else f"{estimate.stderr:.4f}"
    interval = f"{estimate.low:.4f}–{estimate.high:.4f}"
    table.add_row(
        Text(printable(name)),
        f"{estimate.score:.4f}",
        error,
        interval,
        str(estimate.n),
        str(estimate.questions),
    )


def _scores(report: Eval) -> Table:
    table = _eval_table(report.name)
    _add(table, "all", report.score)
    if report.errors:
        _add(table, "completed", report.score_completed)
    return table


def _groups(report: Eval) -> Table:
    table = _eval_table("group")
    for name, estimate in report.groups.items():
        _add(table, name, estimate)
    return table


def _counts(report: Eval) -> Text:
    counts = tally(report.samples)
    parts = [
        f"{counts.scored} scored",
        f"{counts.no_answer} no answer",
        f"{counts.refused} refused",
        *([f"{counts.content_filter} content filter"] if counts.content_filter else []),
        f"{counts.errors} errors",
        f"{counts.truncated} truncated",
        f"{counts.retries} retries",
    ]
    if report.origin.provider != "native":
        parts = [f"sampled and scored by {report.origin.provider}"]
    return Text(f"{', '.join(parts)}; {report.seconds:.1f} s, {report.status}")


def _verdict(report: Eval) -> Text | None:
    if not report.verdict:
        return None
    return Text(report.verdict, "bold green" if report.ok else "bold red")


def sample_line(sample: Sample, done: int, planned: int) -> str:
    """Return a sample in one line."""
    said = {
        SampleOutcome.SCORED: f"{sample.score:g}" if sample.score is not None else "",
        SampleOutcome.ERROR: sample.error,
    }.get(sample.outcome, "")
    extracted = "" if sample.extracted is None else f" {sample.extracted[:40]!r}"
    cut = " (cut off)" if sample.truncated else ""
    text = f"{done}/{planned} {sample.question} {sample.outcome.value} {said}{extracted}{cut}"
    return printable(" ".join(text.split()))


def render_difference(names: tuple[str, str], difference: PairedDifference | None) -> str:
    """Return what two evals differ in, as lines of text.

    Args:
        names: of the two, the first being the one that is compared with.
        difference: second minus first; `None`: they have no question in common.
    """
    if difference is None:
        return f"{names[1]} and {names[0]} have no question in common\n"
    word = "more than chance" if difference.significant else "not more than chance"
    interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
    p = difference.mcnemar_p
    test = "" if p is None else f"; McNemar's exact p = {p:.4f}"
    both = f"{difference.better} better, {difference.worse} worse"
    lines = [
        f"{names[1]} − {names[0]}: {difference.difference:+.4f}, 95 % interval {interval}: {word}",
        f"{difference.questions} questions in both: {both}{test}",
    ]
    if difference.left_out:
        lines.append(f"{difference.left_out} questions left out: only one of the two answered them")
    return "\n".join(lines) + "\n"
