"""History page: a folder of runs as an index with trends, one file that opens offline."""

from __future__ import annotations

from urllib.parse import quote

from benchcore.config.titles import title
from benchcore.report.comparison_lines import figure_text
from benchcore.report.history import History, Series, facts
from benchcore.report.html.document import document, table, text
from benchcore.report.html.drawing import Plot, can_draw
from benchcore.report.html.overlays import trend
from benchcore.report.html.page import figure, no_plots
from benchcore.report.table import number


def history_page(history: History) -> str:
    """Return the runs of a folder as a page, newest first, with a trend for each figure."""
    series = [one for one in history.series() if len(one.values) > 1]
    parts = [
        f"<h1>{len(history.folders)} runs</h1>",
        _runs(history),
        *(f"<p>{text(line)}</p>" for line in history.broken),
        _changes(series),
    ]
    if series and not can_draw():
        parts.append(no_plots(None))
        return document("Runs", parts)
    for scenario in dict.fromkeys(one.scenario for one in series):
        parts.append(f"<h2>{text(scenario)}</h2>")
        parts += [_drawn(one) for one in series if one.scenario == scenario]
    return document("Runs", parts)


def _runs(history: History) -> str:
    rows = []
    for folder in reversed(history.folders):
        found = facts(folder)
        name = text(found["name"])
        if (folder.path / "report.html").is_file():
            name = f'<a href="{quote(folder.name)}/report.html">{name}</a>'
        rows.append(
            [
                name,
                text(found["scenario"]),
                text(found["model"] or "–"),
                text(found["status"]),
                text(found["validity"]),
                text(found["level"] or "–"),
                number(found["tokens"]),
            ]
        )
    heads = ["run", "scenario", "model", "status", "validity", "peak level", "peak tok/s"]
    return table(heads, rows)


def _title(one: Series) -> str:
    return f"{one.level} {title(one.figure)}".strip()


def _changes(series: list[Series]) -> str:
    lines = [
        f"{one.scenario}, {_title(one)}: {figure_text(one.figure, one.values[at - 1])} → "
        f"{figure_text(one.figure, one.values[at])} at {one.runs[at]}"
        for one in series
        for at in one.changes
    ]
    if not lines:
        return "<h2>Changes</h2><p>No figure changed its level by more than chance.</p>"
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<h2>Changes</h2><ul>{items}</ul>"


def _drawn(one: Series) -> str:
    scale = 1e3 if "." in one.figure and not one.figure.startswith("functional") else 1.0
    unit = "ms" if scale > 1 else "per second" if "throughput" in one.figure else "share"
    values = [value * scale for value in one.values]
    changes = one.changes
    said = f"{len(changes)} change(s)" if changes else "no change"
    words = f"{_title(one)} of {len(values)} runs, oldest first: {said} by more than chance"
    drawn = trend(values, changes, unit)
    name = f"trend-{one.scenario}-{_title(one)}".replace(" ", "-")
    return f"<h3>{text(_title(one))}</h3>{figure(Plot(name, _title(one), words, drawn))}"
