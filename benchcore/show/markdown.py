"""Markdown: a run short enough for a pull request's comment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from benchcore.base.text import percent, printable
from benchcore.config.catalogue import columns_of
from benchcore.judge.levels import by_level, mean_level, spread
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.run import Level, Run
from benchcore.runs.samples import Eval
from benchcore.show.table import HEADS, figure_cell, remarks, rows, unjudged

_MARKS: Final = {
    ord(mark): told
    for mark, told in {
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        "|": "\\|",
        "`": "'",
        "[": "\\[",
    }.items()
}


def cell(text: str | None) -> str:
    """Return text that Markdown takes as text, whatever a server put into it."""
    clean = printable((text or "").replace("\n", " "))
    return clean.translate(_MARKS)


def markdown_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()
) -> list[str]:
    """Return the lines of a table; its cells are taken as they are.

    Args:
        heads: of its columns.
        rows: of as many cells.
        right: the columns, from 0, whose cells end to the right, as numbers do.
    """
    rules = ("--:" if place in right else "---" for place in range(len(heads)))
    head = "".join(f"| {head} " if head else "| " for head in heads) + "|"
    return [head, f"|{'|'.join(rules)}|", *(f"| {' | '.join(row)} |" for row in rows)]


def render_markdown(run: Run, checks: Checks | None = None, evaluated: Eval | None = None) -> str:
    """Return a run as Markdown.

    Args:
        run: finished or not.
        checks: what they came to, where there were any.
        evaluated: what the eval came to, likewise.
    """
    name, model = (
        cell(str(text)) for text in (run.name or run.run_id, run.target.model or "unknown model")
    )
    lines = [f"**{name}**: {model}, {run.status}, {cell(str(run.started_at))}", ""]
    levels = run.levels
    if levels:
        lines += _levels(levels)
        lines += _groups(levels)
        lines += ["", *(f"- {cell(line)}" for line in remarks(run))]
    if checks is not None:
        lines += ["", _checks(checks)]
    if evaluated is not None and evaluated.scored:
        lines += ["", _score(evaluated)]
    return "\n".join(lines).rstrip() + "\n"


def _levels(levels: list[Level]) -> list[str]:
    scored = any(level.accuracy for level in levels)
    columns = columns_of("brief")
    heads = ["level", *(column.with_unit for column in columns), "validity"]
    heads += ["score"] if scored else []
    rows = []
    for repeats in by_level(levels):
        level = mean_level(repeats)
        cells = [cell(level.name), *(figure_cell(level, column) for column in columns)]
        cells.append(level.verdict or "not judged")
        if scored:
            score = None if level.accuracy is None else level.accuracy.score
            cells.append("–" if score is None else f"{score:.4f}")
        rows.append(cells)
    right = set(range(1, len(heads))) - {heads.index("validity")}
    return [*markdown_table(heads, rows, right), *_spreads(levels)]


def _groups(levels: list[Level]) -> list[str]:
    table_rows = rows(levels)
    if not table_rows:
        return []
    cells = (list(map(cell, row)) for row in table_rows)
    return ["", *markdown_table(HEADS, cells, range(2, len(HEADS)))]


def _spreads(levels: list[Level]) -> list[str]:
    lines = []
    for repeats in by_level(levels):
        if len(repeats) == 1:
            continue
        rate = spread(repeats, "output_token_throughput")
        tail = spread(repeats, "ttft.p99")
        lines.append(
            f"- {cell(mean_level(repeats).level)}: means; standard deviation between repeats: "
            f"tok/s {percent(rate)}, TTFT p99 {percent(tail)}"
        )
    return ["", *lines] if lines else []


def _checks(checks: Checks) -> str:
    failed = [failure.case_id for failure in checks.failures]
    more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
    which = f": {', '.join(map(cell, failed[:10]))}{more}" if failed else ""
    ratio = percent(checks.summary.pass_ratio)
    passed, count = checks.count(Verdict.PASS), checks.count(Verdict.FAIL)
    counts = f"{passed} passed, {count} failed ({ratio})"
    return "; ".join([f"checks: {counts}{which}", *unjudged(checks)])


def _score(evaluated: Eval) -> str:
    if evaluated.mean is None or evaluated.interval is None:
        return f"{cell(evaluated.name)}: no score"
    low, high = evaluated.interval
    return (
        f"{cell(evaluated.name)}: {evaluated.mean:.4f}, 95 % interval {low:.4f} to {high:.4f}, "
        f"{evaluated.n} samples, {evaluated.errors} errors"
    )
