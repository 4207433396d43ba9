"""Page: a run as one HTML file that opens offline, with its plots and its data inside."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from benchcore.base.files import replace_file
from benchcore.base.text import number, percent
from benchcore.config.catalogue import DRAWN, columns_of
from benchcore.judge.levels import by_level, knee, mean_level
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.reading import RunFolder
from benchcore.runs.run import Level, Run
from benchcore.runs.samples import Eval
from benchcore.show.drawing import can_draw
from benchcore.show.frame import NO_PLOTS, document, table, text
from benchcore.show.groups import HEADS, rows
from benchcore.show.markdown import render_markdown
from benchcore.show.plots import plots
from benchcore.show.table import figure_cell, remarks, unjudged

if TYPE_CHECKING:
    from benchcore.show.drawing import Plot


_KIND: Final = {"valid": "good", "suspect": "warn", "invalid": "bad"}


def render_page(folder: RunFolder, plots: Sequence[Plot] | None) -> str:
    """Return a run as a page.

    It asks in this order: is this valid, where is the knee, what did it cost in latency, what
    failed.

    Args:
        folder: of the run, finished or not.
        plots: of it; `None`: none are drawn, and the page says how to get them.
    """
    run = folder.run
    name = run.name or run.run_id
    levels = folder.levels
    drawn = {plot.name: plot for plot in plots or ()}
    parts = [
        f"<h1>{text(name)}: {text(run.target.model or 'unknown model')}</h1>",
        f'<p class="dim">{" · ".join(map(text, _origin(run)))}</p>',
        _banner(folder),
        no_plots(plots) if levels else "",
    ]
    if levels:
        parts += [
            _valid(levels),
            _knee(levels, drawn),
            _latency(levels, drawn),
            _groups(levels),
            _failed(levels),
            _over_time(plots or (), drawn),
            _server(levels),
        ]
    parts += [
        _checks(folder.checks()),
        _accuracy(folder.eval(), levels),
        _remarks(run) if levels else "",
        _facts(run),
    ]
    return document(str(name), parts)


def _origin(run: Run) -> list[str]:
    version = (run.versions or {}).get("benchcore", "unknown")
    return [run.target.base_url or "no address", str(run.started_at), f"benchcore {version}"]


def _banner(folder: RunFolder) -> str:
    lines = []
    if folder.run.simulated:
        lines.append("SIMULATOR: these are the figures of the built-in simulated server")
    if folder.unfinished:
        lines.append(folder.unfinished)
    return "".join(f'<p class="banner">{text(line)}</p>' for line in lines)


def _valid(levels: Iterable[Level]) -> str:
    rows = []
    for level in levels:
        verdict = level.verdict or "not judged"
        why = "; ".join(level.reasons) or "no reason to doubt it"
        rows.append(
            [
                text(level.name),
                f'<span class="verdict {_KIND.get(verdict, "dim")}">{text(verdict)}</span>',
                f'<span class="left">{text(why)}</span>',
            ]
        )
    return f"<h2>Is it valid?</h2>{table(['level', 'verdict', 'why'], rows, left=2)}"


def no_plots(plots: Sequence[Plot] | None) -> str:
    """Return what a page says where no plots were drawn."""
    return "" if plots is not None else f'<p class="dim">{text(NO_PLOTS)}</p>'


def figure(plot: Plot | None) -> str:
    """Return a plot with what it shows said in words."""
    if plot is None:
        return ""
    svg = plot.svg().replace("<svg ", f'<svg role="img" aria-label="{text(plot.text)}" ', 1)
    return f"<figure>{svg}<figcaption>{text(plot.text)}</figcaption></figure>"


def _knee(levels: Sequence[Level], drawn: Mapping[str, Plot]) -> str:
    found = knee(levels)
    said = "" if found is None else f"<p>{text(found)}.</p>"
    plots = figure(drawn.get("curve")) + figure(drawn.get("pareto"))
    return f"<h2>Where is the knee?</h2>{said}{plots}"


def _latency(levels: Iterable[Level], drawn: Mapping[str, Plot]) -> str:
    columns = columns_of("page")
    rows = []
    for level in map(mean_level, by_level(levels)):
        verdict = level.verdict or "not judged"
        rows.append(
            [
                text(level.name),
                *(figure_cell(level, column) for column in columns),
                f'<span class="{_KIND.get(verdict, "dim")}">{text(verdict)}</span>',
            ]
        )
    plots = "".join(figure(drawn.get(f"percentiles-{name}")) for name in DRAWN)
    said = "Latencies in milliseconds; ~ rests on too few requests. Of repeats (×n) the means."
    note = f'<p class="dim">{said}</p>'
    heads = ["level", *(column.head for column in columns), "validity"]
    plots += figure(drawn.get("goodput"))
    return f"<h2>What did it cost in latency?</h2>{table(heads, rows)}{note}{plots}"


def _groups(levels: Sequence[Level]) -> str:
    table_rows = rows(levels)
    if not table_rows:
        return ""
    cells = ([text(cell) for cell in row] for row in table_rows)
    return f"<h2>By turn and class</h2>{table(HEADS, cells)}"


def _failed(levels: Iterable[Level]) -> str:
    rows = []
    for level in levels:
        bad = {name: count for name, count in level.outcomes.items() if name != "ok"}
        said = ", ".join(f"{count} × {name}" for name, count in bad.items()) or "none"
        findings = "; ".join(level.findings)
        rows.append(
            [
                text(level.name),
                percent(level.failure_rate),
                text(said),
                text(findings or "–"),
            ]
        )
    heads = ["level", "failed", "how", "findings"]
    return f"<h2>What failed?</h2>{table(heads, rows, left=2)}"


def _over_time(plots: Sequence[Plot], drawn: Mapping[str, Plot]) -> str:
    lines = [plot for plot in plots if plot.name.startswith("timeline-")]
    shown = "".join(f"<h3>{text(plot.title)}</h3>{figure(plot)}" for plot in lines)
    requests = figure(drawn.get("requests"))
    if not shown and not requests:
        return ""
    return f"<h2>Over time</h2>{requests}{shown}"


def _server(levels: Sequence[Level]) -> str:
    names = [
        name
        for name in levels[0].server or {}
        if any((level.server or {}).get(name, -1) >= 0 for level in levels)
    ]
    if not names:
        return ""
    rows = [
        [text(name.removeprefix("server_").replace("_", " "))]
        + [
            number(value) if (value := (level.server or {}).get(name, -1)) >= 0 else "–"
            for level in levels
        ]
        for name in names
    ]
    heads = ["as the server says", *(level.name for level in levels)]
    return f"<h2>Inside the server</h2>{table(heads, rows)}"


def _checks(checks: Checks | None) -> str:
    if checks is None:
        return ""
    summary = checks.summary
    ratio = percent(summary.pass_ratio)
    rows = [
        [text(failure.case_id), text(failure.title), text(f"{failure.expected}; got {failure.got}")]
        for failure in checks.failures
    ]
    said = (
        f"<p>{checks.count(Verdict.PASS)} passed, {checks.count(Verdict.FAIL)} failed ({ratio}), "
        f"{checks.count(Verdict.UNSUPPORTED)} unsupported, {checks.count(Verdict.SKIP)} skipped, "
        f"{''.join(f'{said}, ' for said in unjudged(checks))}"
        f"{text(summary.mode)} mode, engine {text(summary.engine)}</p>"
    )
    more = table(["check", "what it asks", "expected and got"], rows, left=2) if rows else ""
    return f"<h2>Checks</h2>{said}{more}"


def _accuracy(evaluated: Eval | None, levels: Sequence[Level]) -> str:
    scores = list(_scores(levels))
    parts = []
    if scores:
        parts.append(table(["level", "score", "95 % interval", "samples", "errors"], scores))
    if evaluated is not None and evaluated.mean is not None and evaluated.interval is not None:
        low, high = evaluated.interval
        parts.append(
            f"<p>{text(evaluated.name)}: <b>{evaluated.mean:.4f}</b>, "
            f"95 % interval {low:.4f} to {high:.4f}, {evaluated.n} samples, "
            f"{evaluated.errors} errors</p>"
        )
        parts += [f"<p>{text(line)}</p>" for line in evaluated.remarks]
    return f"<h2>Accuracy</h2>{''.join(parts)}" if parts else ""


def _scores(levels: Iterable[Level]) -> Iterator[list[str]]:
    for level in levels:
        accuracy = level.accuracy
        if accuracy is None:
            continue
        interval = accuracy.interval
        yield [
            text(level.name),
            "–" if accuracy.score is None else f"{accuracy.score:.4f}",
            "–" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}",
            str(accuracy.n),
            str(accuracy.errors),
        ]


def _remarks(run: Run) -> str:
    lines = remarks(run)
    if not lines:
        return ""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<h2>What else must be known</h2><ul>{items}</ul>"


def _facts(run: Run) -> str:
    again = ""
    if run.command:
        again = f"<h2>How to repeat it</h2><pre>{text(shlex.join(run.command))}</pre>"
    names = ("target", "workload", "load", "seeds", "labels", "versions", "host")
    whole = run.whole()
    facts = {name: whole[name] for name in names if whole[name]}
    shown = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
    data = orjson.dumps(whole).decode()
    # `</script>` in a server's text would end the element; the JSON stays the same.
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return (
        f"{again}<details><summary>Configuration and versions</summary>"
        f"<pre>{escape(shown)}</pre></details>"
        f'<script type="application/json" id="run">{safe}</script>'
    )


def write_reports(path: Path, *, draw: bool) -> None:
    """Write `report.md` and `report.html`.

    Args:
        path: of a run's folder.
        draw: draw plots, where matplotlib is installed; without them the page says how to get them.

    Raises:
        ConfigError: it holds no run that can be read.
        OSError: they cannot be written.
    """
    folder = RunFolder(path)
    markdown = render_markdown(folder.run, folder.checks(), folder.eval())
    replace_file(path / "report.md", markdown.encode())
    page = path / "report.html"
    replace_file(page, render_page(folder, plots(folder) if draw and can_draw() else None).encode())
