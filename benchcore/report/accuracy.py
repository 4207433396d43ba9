"""Accuracy: an eval as text for a terminal, and two of them compared."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from benchcore.metrics.accuracy import AccuracyReport, Sample, SampleOutcome, over_completed, tally
from benchcore.report.table import report_console
from benchcore.text import printable

if TYPE_CHECKING:
    from benchcore.metrics.scores import Difference, Estimate


def render_accuracy(report: AccuracyReport, *, color: bool) -> str:
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
    lines = report.remarks()
    if report.target.get("kind") == "simulator":
        lines.insert(0, "SIMULATOR: this is the score of the built-in simulated server")
    if lines:
        console.print()
    for line in lines:
        console.print(Text(printable(line)))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, min_width=12)
    for name in ("score", "± stderr", "95 % interval", "samples", "questions"):
        table.add_column(name, justify="right")
    return table


def _add(table: Table, name: str, one: Estimate | None) -> None:
    if one is None:
        table.add_row(Text(name), "–", "–", "–", "0", "0")
        return
    error = "–" if one.stderr is None else f"{one.stderr:.4f}"
    interval = f"{one.low:.4f}–{one.high:.4f}"
    table.add_row(
        Text(printable(name)), f"{one.score:.4f}", error, interval, str(one.n), str(one.questions)
    )


def _scores(report: AccuracyReport) -> Table:
    table = _table(f"{report.task} {report.variant}".strip())
    _add(table, "all", report.score)
    if tally(report.samples).errors:
        _add(table, "completed", over_completed(report.samples))
    return table


def _groups(report: AccuracyReport) -> Table:
    table = _table("group")
    for name, one in report.groups.items():
        _add(table, name, one)
    return table


def _counts(report: AccuracyReport) -> Text:
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
    if report.origin.get("provider") != "native":
        parts = [f"sampled and scored by {report.origin.get('provider')}"]
    return Text(f"{', '.join(parts)}; {report.seconds:.1f} s, {report.status}")


def _verdict(report: AccuracyReport) -> Text | None:
    if not report.verdict:
        return None
    return Text(report.verdict, "bold green" if report.ok else "bold red")


def sample_line(sample: Sample, done: int, planned: int) -> str:
    """Return a sample in one line."""
    said = {
        SampleOutcome.SCORED: f"{sample.score:g}" if sample.score is not None else "",
        SampleOutcome.ERROR: sample.error,
    }.get(sample.outcome, "")
    found = "" if sample.extracted is None else f" {sample.extracted[:40]!r}"
    cut = " (cut off)" if sample.truncated else ""
    text = f"{done}/{planned} {sample.question} {sample.outcome.value} {said}{found}{cut}"
    return printable(" ".join(text.split()))


def render_difference(names: tuple[str, str], difference: Difference | None) -> str:
    """Return what two evals differ in, as lines of text.

    Args:
        names: of the two, the first being the one that is compared with.
        difference: second minus first; `None`: they have no question in common.
    """
    if difference is None:
        return f"{names[1]} and {names[0]} have no question in common\n"
    one = difference
    word = "more than chance" if one.significant else "not more than chance"
    interval = f"{one.low:+.4f} to {one.high:+.4f}"
    test = "" if one.p is None else f"; McNemar's exact p = {one.p:.4f}"
    lines = [
        f"{names[1]} − {names[0]}: {one.difference:+.4f}, 95 % interval {interval}: {word}",
        f"{one.questions} questions in both: {one.better} better, {one.worse} worse{test}",
    ]
    if one.left_out:
        lines.append(f"{one.left_out} questions left out: only one of the two answered them")
    return "\n".join(lines) + "\n"
