"""Page: a run as one HTML file that opens offline, with its plots and its data inside."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from benchcore.base.files import replace_file
from benchcore.base.text import number, percent, printable
from benchcore.config.catalogue import DRAWN, columns_of
from benchcore.judge.levels import by_level, knee, mean_level
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.reading import RunFolder
from benchcore.runs.run import Level, Run
from benchcore.runs.samples import Eval
from benchcore.show.drawing import can_draw
from benchcore.show.markdown import render_markdown
from benchcore.show.plots import plots
from benchcore.show.table import HEADS, figure_cell, remarks, rows, unjudged
from benchcore.version import installing

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


# What every page has, and the tables in it.

STYLE: Final = """
:root{color-scheme:light dark;--ink:#1a1a1a;--dim:#5c5c5c;--paper:#fff;--line:#d8d8d8;
--good:#0072b2;--warn:#a15c00;--bad:#b83c00}
@media(prefers-color-scheme:dark){:root{--ink:#ececec;--dim:#a8a8a8;--paper:#151515;--line:#3c3c3c;
--good:#56b4e9;--warn:#e69f00;--bad:#ff8c4a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.45 system-ui,sans-serif}
h1{font-size:1.45rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .4rem}h3{font-size:1rem}
.dim{color:var(--dim)}.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.verdict{font-weight:600}.banner{border:2px solid var(--warn);padding:.4rem .8rem}
.wide{overflow-x:auto}.score{font-size:2.2rem;font-weight:600}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .4rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{vertical-align:bottom}th:first-child,td:first-child,.left{text-align:left}.left{white-space:normal}
figure{margin:1rem 0}figure svg{width:100%;height:auto;max-width:46rem;display:block}
figcaption{color:var(--dim);font-size:.9rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border-left:3px solid var(--line);
padding-left:.6rem;margin:.3rem 0}
details{margin:.4rem 0}summary{cursor:pointer}
@media print{body{max-width:none}figure{break-inside:avoid}}
"""


POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""Nothing is fetched and no script runs, whatever a server wrote into its answers."""


NO_PLOTS: Final = (
    f"This page has no plots. They need matplotlib ({installing('report')}); "
    "then benchcore report --format html draws them."
)


def text(value: object) -> str:
    """Return anything as text that HTML takes as text, whatever a server put into it."""
    return escape(printable(str(value)))


def document(title: str, body: Iterable[str]) -> str:
    """Return a page that opens offline.

    Args:
        title: as text.
        body: parts that are HTML already; empty ones are left out.
    """
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{text(title)} — benchcore</title><style>{STYLE}</style></head><body>",
    )
    return "\n".join([*head, *(part for part in body if part), "</body></html>\n"])


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0) -> str:
    """Return a table of cells that are HTML already.

    Args:
        heads: of the columns, as text.
        rows: of cells.
        left: so many columns at the end are text, and stand at the left.
    """

    def row(cells: Sequence[str], tag: str) -> str:
        first = len(cells) - left
        marks = [' class="left"' if place >= first else "" for place in range(len(cells))]
        return "".join(
            f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(cells, marks, strict=True)
        )

    head = row([text(one) for one in heads], "th")
    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
