"""Lines: comparisons, verdicts and series as text and as Markdown."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from benchcore.base.text import number, printable
from benchcore.config.catalogue import COMPARED, title
from benchcore.judge.baselines import noted
from benchcore.judge.comparison import (
    Change,
    Key,
    Side,
    both_sides,
    change,
    key_name,
)
from benchcore.judge.gate import GateResult
from benchcore.judge.history import History, listed
from benchcore.runs.reading import RunFolder
from benchcore.show.markdown import cell, markdown_table
from benchcore.show.table import report_console

_JUDGED = {
    "requests": "by requests",
    "repeats": "by repeats",
    "": "takes --repeats 3",
}


def comparison_json(
    first: RunFolder, others: Sequence[RunFolder], notes: Sequence[str]
) -> dict[str, Any]:
    """Return a comparison as JSON: a list of changes for each run and level."""
    entries = []
    for other in others:
        shared, missing = pairs(first, other)
        levels = [
            {"level": name, "figures": [one.to_json() for one in changes]}
            for name, changes in shared
        ]
        entry = {"run": str(other.path), "levels": levels, "missing": missing}
        entries.append({**entry, "notes": [str(one) for one in noted(first.run, other.run)]})
    return {"first": str(first.path), "others": entries, "notes": list(notes)}


def render_comparison(
    first: RunFolder, others: Sequence[RunFolder], notes: Sequence[str], *, markdown: bool
) -> str:
    """Return a comparison as text of 100 columns, or as Markdown.

    Args:
        first: with which the others are compared.
        others: each by itself.
        notes: what must be said besides.
        markdown: as tables for a pull request's comment.
    """
    parts = []
    for other in others:
        shared, missing = pairs(first, other)
        lines = [*(f"not in both: {name}" for name in missing)]
        lines += [str(difference) for difference in noted(first.run, other.run)]
        parts.append((_markdown if markdown else _text)(first, other, shared, lines))
    parts += [f"{printable(note)}\n" for note in notes]
    return "\n".join(parts)


def pairs(first: RunFolder, other: RunFolder) -> tuple[list[tuple[str, list[Change]]], list[str]]:
    """Return the changes of the levels that both have, and the names of the others."""
    ours, theirs = both_sides(first, other)
    keys: list[Key] = list({**ours, **theirs})
    both, missing = [], []
    for key in keys:
        name = key_name(key, keys)
        if key not in ours or key not in theirs:
            missing.append(name)
            continue
        figures = _comparable(ours[key], theirs[key])
        changes = [change(ours[key], theirs[key], figure) for figure in figures]
        known = [each for each in changes if each.first is not None or each.second is not None]
        both.append((name, known))
    return both, missing


def _comparable(one: Side, other: Side) -> list[str]:
    """Return the figures to compare: of a run without `itl`, such as an imported one, `icl`.

    What other tools call ITL are the gaps between chunks, which are our `icl`.
    """
    chunks = any(
        side.value("itl.p50") is None and side.value("icl.p50") is not None for side in (one, other)
    )
    return [
        f"icl{figure.removeprefix('itl')}" if chunks and figure.startswith("itl.") else figure
        for figure in COMPARED
    ]


def figure_text(figure: str, value: float | None) -> str:
    """Return a figure as it is read: latencies in ms."""
    if value is None:
        return "–"
    if "." in figure:
        return f"{number(value * 1e3)} ms"
    if figure == "failure_rate":
        return f"{value:.2%}".replace("%", " %")
    return number(value)


def relative(compared: Change) -> str:
    """Return a change in per cent; `–` where it has none."""
    return "–" if compared.relative is None else f"{compared.relative:+.1%}".replace("%", " %")


def verdict(compared: Change) -> str:
    """Return `worse`, `better`, `chance`, or `–` where nothing tells."""
    if compared.significant is None:
        return "–"
    if not compared.significant:
        return "chance"
    worse = (
        compared.worse_p is not None
        and compared.better_p is not None
        and compared.worse_p < compared.better_p
    )
    return "worse" if worse else "better"


def _compared(compared: Change) -> tuple[str, ...]:
    values = (figure_text(compared.figure, value) for value in (compared.first, compared.second))
    return title(compared.figure), *values, relative(compared), verdict(compared)


def _text(
    first: RunFolder, other: RunFolder, shared: list[tuple[str, list[Change]]], lines: list[str]
) -> str:
    out = io.StringIO()
    console = report_console(out)
    console.print(f"{other.name} against {first.name}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("level", "figure"):
        table.add_column(header)
    for header in ("first", "second", "change"):
        table.add_column(header, justify="right")
    for header in ("more than chance", "judged"):
        table.add_column(header)
    for name, changes in shared:
        for place, compared in enumerate(changes):
            table.add_row(
                Text(printable(name) if not place else ""),
                *_compared(compared),
                _JUDGED[compared.how],
            )
    console.print(table)
    for line in lines:
        console.print(printable(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _markdown(
    first: RunFolder, other: RunFolder, shared: list[tuple[str, list[Change]]], lines: list[str]
) -> str:
    cells = [(cell(name), *_compared(compared)) for name, changes in shared for compared in changes]
    heads = ("level", "figure", "first", "second", "change", "more than chance")
    rows = [
        f"`{other.name}` against `{first.name}`",
        "",
        *markdown_table(heads, cells, range(2, 5)),
    ]
    if lines:
        rows += ["", *(f"- {cell(line)}" for line in lines)]
    return "\n".join(rows) + "\n"


def render_gate(result: GateResult, run: str, baseline: str, *, markdown: bool) -> str:
    """Return what a gate found, a line for each rule at each level.

    Args:
        result: what became of the rules.
        run: name of the run.
        baseline: name of what it was held against.
        markdown: as a table for a pull request's comment.
    """
    return (_verdict_markdown if markdown else _verdict_text)(result, run, baseline)


def _untold(result: GateResult) -> str:
    count = sum(1 for line in result.lines if line.verdict == "cannot tell")
    return f"; {count} of {len(result.lines)} rules cannot tell" if count else ""


def _verdict_text(result: GateResult, run: str, baseline: str) -> str:
    lines = [
        f"{run} against {baseline}: {'passed' if result.passed else 'failed'}{_untold(result)}"
    ]
    width = max((len(line.level) for line in result.lines), default=0)
    words = max((len(line.verdict) for line in result.lines), default=0)
    for line in result.lines:
        word = line.verdict if line.passed else "FAIL"
        head = f"{word:<{words}}  {line.level:<{width}}  "
        lines.append(f"{head}{line.rule}: {line.found}")
        if line.note:
            lines.append(f"{' ' * len(head)}{line.note}")
    lines += [f"note  {note}" for note in result.notes]
    return "".join(f"{printable(line)}\n" for line in lines)


def _verdict_markdown(result: GateResult, run: str, baseline: str) -> str:
    word = ("passed" if result.passed else "**failed**") + _untold(result)
    cells = []
    for line in result.lines:
        verdict = line.verdict if line.passed else "**FAIL**"
        told = (verdict, line.level or "run", line.rule, line.found, line.note)
        cells.append(list(map(cell, told)))
    lines = [
        f"`{cell(run)}` against `{cell(baseline)}`: {word}",
        "",
        *markdown_table(("", "level", "rule", "found", ""), cells),
    ]
    if result.notes:
        lines += ["", *(f"- {cell(note)}" for note in result.notes)]
    return "\n".join(lines) + "\n"


_RIGHT: Final = "peak tok/s"
_COLUMNS: Final = {
    "run": "name",
    "scenario": "scenario",
    "model": "model",
    "status": "status",
    "validity": "validity",
    "peak level": "level",
}
_LEFT_OUT: Final = ("scenario", "status", "model", "peak level")


def _wide(heads: Sequence[str], rows: Sequence[Mapping[str, str]]) -> int:
    return sum(max(len(head), *(len(row[head]) for row in rows)) + 2 for head in heads)


def render_history(history: History) -> str:
    """Return the runs of a folder as text as wide as the terminal, newest first, and what changed.

    A run's name is never broken, since it is what other commands are given: columns that are
    missed least are left out until the others fit.
    """
    out = io.StringIO()
    console = report_console(out)
    rows = [
        {
            **{head: printable(getattr(run, name) or "–") for head, name in _COLUMNS.items()},
            _RIGHT: number(run.tokens),
        }
        for run in map(listed, reversed(history.folders))
    ]
    heads = [*_COLUMNS, _RIGHT]
    for missed_least in _LEFT_OUT:
        if _wide(heads, rows) <= console.width:
            break
        heads.remove(missed_least)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, no_wrap=True, justify="right" if head == _RIGHT else "left")
    for row in rows:
        table.add_row(*(Text(row[head]) for head in heads))
    console.print(table, crop=False, overflow="ignore")
    for series in history.series():
        for at in series.changes:
            name = " ".join(filter(None, (series.scenario, series.level, title(series.figure))))
            before, after = (figure_text(series.figure, series.values[n]) for n in (at - 1, at))
            console.print(printable(f"{name} changed: {before} → {after} at {series.runs[at]}"))
    for line in history.broken:
        console.print(printable(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
