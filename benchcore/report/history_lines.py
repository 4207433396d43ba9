"""History lines: the runs of a folder as text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from benchcore.config.titles import title
from benchcore.report.comparison_lines import figure_text
from benchcore.report.history import History, facts
from benchcore.report.table import number, report_console
from benchcore.text import printable

_RIGHT: Final = "peak tok/s"
_COLUMNS: Final = {
    "run": "name",
    "scenario": "scenario",
    "model": "model",
    "status": "status",
    "validity": "validity",
    "peak level": "level",
    _RIGHT: "tokens",
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
            head: printable(str(found[name] or "–")) if name != "tokens" else number(found[name])
            for head, name in _COLUMNS.items()
        }
        for found in map(facts, reversed(history.folders))
    ]
    heads = list(_COLUMNS)
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
    for one in history.series():
        for at in one.changes:
            name = " ".join(filter(None, (one.scenario, one.level, title(one.figure))))
            before, after = (figure_text(one.figure, one.values[n]) for n in (at - 1, at))
            console.print(printable(f"{name} changed: {before} → {after} at {one.runs[at]}"))
    for line in history.broken:
        console.print(printable(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
