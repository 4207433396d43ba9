"""History lines: the runs of a folder as text."""

from __future__ import annotations

import io

from rich.table import Table
from rich.text import Text

from benchcore.report.comparison_lines import figure_text
from benchcore.report.history import History, facts
from benchcore.report.table import number, report_console
from benchcore.text import printable


def render_history(history: History) -> str:
    """Return the runs of a folder as text of 100 columns, newest first, and what changed."""
    out = io.StringIO()
    console = report_console(out)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("run", "scenario", "model", "status", "validity", "most at"):
        table.add_column(head, overflow="fold")
    table.add_column("tok/s", justify="right")
    for folder in reversed(history.folders):
        found = facts(folder)
        names = ("name", "scenario", "model", "status", "validity", "level")
        cells = [Text(printable(str(found[name] or "–"))) for name in names]
        table.add_row(*cells, number(found["tokens"]))
    console.print(table)
    for one in history.series():
        for at in one.changes:
            name = " ".join(filter(None, (one.scenario, one.level, one.figure.replace("_", " "))))
            before, after = (figure_text(one.figure, one.values[n]) for n in (at - 1, at))
            console.print(printable(f"{name} changed: {before} → {after} at {one.runs[at]}"))
    for line in history.broken:
        console.print(printable(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
