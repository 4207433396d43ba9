"""Comparison lines: two runs or more beside one another, as text, Markdown and JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from benchcore.config.titles import title
from benchcore.report.comparison import (
    FIGURES_SHOWN,
    Change,
    Key,
    Side,
    both_sides,
    change,
    key_name,
)
from benchcore.report.differences import noted
from benchcore.report.markdown import cell
from benchcore.report.run_folder import RunFolder
from benchcore.report.table import number, report_console
from benchcore.text import printable

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
        found, missing = pairs(first, other)
        levels = [
            {"level": name, "figures": [one.to_json() for one in changes]}
            for name, changes in found
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
        found, missing = pairs(first, other)
        lines = [*(f"not in both: {name}" for name in missing)]
        lines += [str(one) for one in noted(first.run, other.run)]
        parts.append((_markdown if markdown else _text)(first, other, found, lines))
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
        found = [change(ours[key], theirs[key], figure) for figure in figures]
        both.append(
            (name, [one for one in found if one.first is not None or one.second is not None])
        )
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
        for figure in FIGURES_SHOWN
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


def relative(one: Change) -> str:
    """Return a change in per cent; `–` where it has none."""
    return "–" if one.relative is None else f"{one.relative:+.1%}".replace("%", " %")


def verdict(one: Change) -> str:
    """Return `worse`, `better`, `chance`, or `–` where nothing tells."""
    if one.significant is None:
        return "–"
    if not one.significant:
        return "chance"
    worse = one.worse_p is not None and one.better_p is not None and one.worse_p < one.better_p
    return "worse" if worse else "better"


def _text(
    first: RunFolder, other: RunFolder, found: list[tuple[str, list[Change]]], lines: list[str]
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
    for name, changes in found:
        for place, one in enumerate(changes):
            table.add_row(
                Text(printable(name) if not place else ""),
                title(one.figure),
                figure_text(one.figure, one.first),
                figure_text(one.figure, one.second),
                relative(one),
                verdict(one),
                _JUDGED[one.how],
            )
    console.print(table)
    for line in lines:
        console.print(printable(line))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _markdown(
    first: RunFolder, other: RunFolder, found: list[tuple[str, list[Change]]], lines: list[str]
) -> str:
    rows = [
        f"`{other.name}` against `{first.name}`",
        "",
        "| level | figure | first | second | change | more than chance |",
        "|---|---|--:|--:|--:|---|",
    ]
    for name, changes in found:
        for one in changes:
            cells = (
                cell(name),
                title(one.figure),
                figure_text(one.figure, one.first),
                figure_text(one.figure, one.second),
                relative(one),
                verdict(one),
            )
            rows.append(f"| {' | '.join(cells)} |")
    if lines:
        rows += ["", *(f"- {cell(line)}" for line in lines)]
    return "\n".join(rows) + "\n"
