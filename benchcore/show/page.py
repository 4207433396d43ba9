"""Page: a run as one HTML file that opens offline, with its plots and its data inside."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

import orjson

from benchcore.base.files import replace_file
from benchcore.base.text import number, percent
from benchcore.config.catalogue import DRAWN, columns_of
from benchcore.judge.explain import Explanation, explain
from benchcore.judge.levels import by_level, knee, mean_level
from benchcore.judge.parts import Until, server_at_departure
from benchcore.metrics.energy import Device
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.reading import RunFolder
from benchcore.runs.run import Level, Run
from benchcore.runs.samples import Eval
from benchcore.show.answer import Line, answers
from benchcore.show.charts import Plot
from benchcore.show.document import data_block, document, figures, table, text
from benchcore.show.explanation import sentences, server_says
from benchcore.show.markdown import render_markdown
from benchcore.show.plots import plots
from benchcore.show.requests import Block, requests_block
from benchcore.show.table import HEADS, figure_cell, remarks, rows, unjudged

_KIND: Final = {"valid": "good", "suspect": "warn", "invalid": "bad"}


def render_page(folder: RunFolder, gpus: int | None = None) -> str:
    """Return a run as a page.

    It says what the run came to, and then asks in this order: is this valid, where is the knee,
    what did it cost in latency, what failed.

    Args:
        folder: of the run, finished or not.
        gpus: how many the server has; `None`: what the run's label `gpus` says, if anything.

    Raises:
        ConfigError: a file of the run cannot be read.
    """
    run = folder.run
    name = run.name or run.run_id
    levels = folder.levels
    shown = plots(folder, gpus) if levels else []
    drawn = {plot.name: plot for plot in shown}
    block = requests_block(folder) if levels else None
    parts = [
        f"<h1>{text(name)}: {text(run.target.model or 'unknown model')}</h1>",
        f'<p class="dim">{" · ".join(map(text, _origin(run)))}</p>',
        _banner(folder),
    ]
    if levels:
        parts += [
            _answer(answers(run)),
            _valid(levels),
            _capacity(folder, drawn),
            _knee(levels, drawn),
            _latency(levels, drawn),
            _groups(levels),
            _failed(levels),
            _explained(folder),
            _over_time(shown),
            _requests(drawn, block),
            _server(levels),
            _energy(levels),
        ]
    parts += [
        _checks(folder.checks()),
        _accuracy(folder.eval(), levels),
        _remarks(run) if levels else "",
        _facts(run),
    ]
    return document(str(name), parts, shown, block.element if block else "")


def _answer(lines: Iterable[Line]) -> str:
    cards = "".join(
        f'<div class="card"><dt>{text(line.question)}</dt>'
        f'<dd><strong class="{line.kind}">{text(line.answer)}</strong> {text(line.more)}</dd></div>'
        for line in lines
    )
    return f'<section aria-label="In short"><dl class="cards">{cards}</dl></section>'


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
    heads = ["level", "verdict", "why"]
    return f"<h2>Is it valid?</h2>{table('Validity of each level', heads, rows, left=2)}"


def _capacity(folder: RunFolder, drawn: Mapping[str, Plot]) -> str:
    found = folder.certificate()
    if found is None:
        return ""
    said = f"<p>{text(found.says)}.</p>"
    return f"<h2>What does it hold?</h2>{said}{figures([drawn.get('capacity')])}"


def _knee(levels: Sequence[Level], drawn: Mapping[str, Plot]) -> str:
    found = knee(levels)
    said = "" if found is None else f"<p>{text(found)}.</p>"
    shown = figures([drawn.get("curve"), drawn.get("pareto")])
    return f"<h2>Where is the knee?</h2>{said}{shown}"


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
    said = "Latencies in milliseconds; ~ rests on too few requests. Of repeats (×n) the means."
    note = f'<p class="dim">{said}</p>'
    heads = ["level", *(column.head for column in columns), "validity"]
    shown = figures(
        [
            *(
                drawn.get(f"{kind}-{name}")
                for name in DRAWN
                for kind in ("percentiles", "distribution")
            ),
            drawn.get("goodput"),
        ]
    )
    figured = table("Throughput and latency of each level", heads, rows)
    return f"<h2>What did it cost in latency?</h2>{figured}{note}{shown}"


def _groups(levels: Sequence[Level]) -> str:
    table_rows = rows(levels)
    if not table_rows:
        return ""
    cells = ([text(cell) for cell in row] for row in table_rows)
    return f"<h2>By turn and class</h2>{table('Figures by turn and class', HEADS, cells)}"


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
    return f"<h2>What failed?</h2>{table('Failures of each level', heads, rows, left=2)}"


def _explained(folder: RunFolder) -> str:
    """Return why the slow requests of each level are slow, as `benchcore explain` says it."""
    parts = []
    for level in folder.levels:
        requests = folder.requests(level.level, level.repeat)
        if requests is None:
            continue
        server = server_at_departure(folder, level, requests)
        explanations = [explain(requests, until, server) for until in Until]
        spoken = [line for found in explanations for line in sentences(found)]
        # Of a level with too few requests both say the same.
        items = "".join(f"<li>{text(line)}</li>" for line in dict.fromkeys(spoken))
        whole = explanations[-1]
        told = "" if whole is None else _parts(level.name, whole)
        said = server_says(level)
        parts.append(
            f'<section class="plot"><h3>{text(level.name)}</h3><ul>{items}</ul>{told}'
            f"{f'<p>{text(said)}</p>' if said else ''}</section>"
        )
    if not parts:
        return ""
    return f'<h2>Why are slow requests slow?</h2><div class="plots">{"".join(parts)}</div>'


def _parts(name: str, explanation: Explanation) -> str:
    rows = [
        [
            f"{text(stands.part.title)}<small>{text(stands.how)}</small>",
            number(stands.middle * 1e3) if stands.middle >= 0 else f"{stands.middle * 1e3:.2f}",
            percent(max(stands.middle / explanation.middle_seconds, 0.0)),
            f"{stands.slowest * 1e3:+,.2f}",
        ]
        for stands in explanation.parts
    ]
    heads = ["part", "typical ms", "share", "slowest, more ms"]
    return table(f"Parts of the time of requests of {name}", heads, rows)


def _over_time(plots: Sequence[Plot]) -> str:
    shown = figures(plot for plot in plots if plot.name.startswith("timeline-"))
    return f"<h2>Over time</h2>{shown}" if shown else ""


def _requests(drawn: Mapping[str, Plot], block: Block | None) -> str:
    """Return the place of the table of requests, which a script fills."""
    if block is None:
        return ""
    return (
        f"<h2>Request by request</h2>{figures([drawn.get('requests')])}"
        f'<p class="dim">{text(block)}</p><div id="request-table"></div>'
    )


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
    return f"<h2>Inside the server</h2>{table('Figures of the server by level', heads, rows)}"


def _energy(levels: Sequence[Level]) -> str:
    """Return what the GPUs of the server did at each level, and what its tokens cost."""
    costs = [
        [
            text(level.name),
            number(level.gpus.energy_joules if level.gpus else None),
            number(level.tokens_per_joule),
            number(level.joules_per_request),
            number(level.cost_per_million_tokens),
            text("; ".join(level.gpus.energy_reasons) if level.gpus else "") or "–",
        ]
        for level in levels
        if level.gpus is not None or level.cost_per_million_tokens is not None
    ]
    if not costs:
        return ""
    devices = [
        _device(level, device) for level in levels if level.gpus for device in level.gpus.devices
    ]
    heads = ["level", "energy J", "tokens/J", "J/request", "cost of 10⁶ tokens", "energy doubted"]
    told = table("Energy and cost of each level", heads, costs, left=1)
    if devices:
        heads = ["level", "GPU", "busy", "power W", "most W", "memory GB", "of GB", "clock MHz"]
        told += table("GPUs at each level", [*heads, "held down by"], devices, left=1)
    return f"<h2>GPUs, energy and cost</h2>{told}"


def _device(level: Level, device: Device) -> list[str]:
    def scaled(value: float | None, scale: float) -> str:
        return number(None if value is None else value / scale)

    name = " ".join(filter(None, (device.device, device.name, device.role)))
    return [
        text(level.name),
        text(name),
        percent(device.utilization_avg),
        number(device.power_watts_avg),
        number(device.power_watts_max),
        scaled(device.memory_bytes_max, 1e9),
        scaled(device.memory_total_bytes, 1e9),
        scaled(device.sm_hertz_avg, 1e6),
        text(", ".join(device.throttled or ()) or "–"),
    ]


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
    heads = ["check", "what it asks", "expected and got"]
    more = table("Checks that failed", heads, rows, left=2) if rows else ""
    return f"<h2>Checks</h2>{said}{more}"


def _accuracy(evaluated: Eval | None, levels: Sequence[Level]) -> str:
    scores = list(_scores(levels))
    parts = []
    if scores:
        heads = ["level", "score", "95 % interval", "samples", "errors"]
        parts.append(table("Scores of each level", heads, scores))
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
    return (
        f"{again}<details><summary>Configuration and versions</summary>"
        f"<pre>{escape(shown)}</pre></details>{data_block('run', whole)}"
    )


def write_reports(path: Path) -> None:
    """Write `report.md` and `report.html`.

    Args:
        path: of a run's folder.

    Raises:
        ConfigError: it holds no run that can be read.
        OSError: they cannot be written.
    """
    folder = RunFolder(path)
    markdown = render_markdown(folder.run, folder.checks(), folder.eval())
    replace_file(path / "report.md", markdown.encode())
    replace_file(path / "report.html", render_page(folder).encode())
