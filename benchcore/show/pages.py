"""Pages: comparisons, histories and evals as HTML files that open offline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from benchcore.base.text import number
from benchcore.config.catalogue import DRAWN, title
from benchcore.judge.baselines import noted
from benchcore.judge.comparison import Change
from benchcore.judge.history import History, Series, listed
from benchcore.metrics.accuracy import Sample, tally
from benchcore.runs.reading import RunFolder
from benchcore.runs.samples import Eval, read_samples
from benchcore.show.charts import Plot
from benchcore.show.document import document, figures, table, text
from benchcore.show.lines import figure_text, pairs, relative, verdict
from benchcore.show.page import render_page
from benchcore.show.plots import overlay, trend

if TYPE_CHECKING:
    from benchcore.metrics.scores import Estimate


_KIND: Final = {"worse": "bad", "better": "good"}


def comparison_page(first: RunFolder, others: Sequence[RunFolder], notes: Sequence[str]) -> str:
    """Return a comparison as a page.

    Args:
        first: with which the others are compared.
        others: each by itself.
        notes: what must be said besides.

    """
    title = f"{', '.join(one.name for one in others)} against {first.name}"
    parts = [
        f"<h1>{text(title)}</h1>",
        *(f'<p class="banner">{text(note)}</p>' for note in notes),
    ]
    for other in others:
        shared, missing = pairs(first, other)
        rows = [_run_row(name, one) for name, changes in shared for one in changes]
        heads = ["level", "figure", first.name, other.name, "change", "more than chance"]
        caption = f"{other.name} against {first.name}, level by level"
        parts += [f"<h2>{text(other.name)}</h2>", table(caption, heads, rows)]
        lines = [*(f"not in both: {name}" for name in missing)]
        lines += [str(one) for one in noted(first.run, other.run)]
        parts += [f'<p class="dim">{text(line)}</p>' for line in lines]
    plots = [plot for metric in DRAWN for plot in overlay([first, *others], metric)]
    if plots:
        parts += ["<h2>Percentiles</h2>", figures(plots)]
    return document(title, parts, plots)


def _run_row(name: str, compared: Change) -> list[str]:
    word = verdict(compared)
    return [
        text(name),
        text(title(compared.figure)),
        figure_text(compared.figure, compared.first),
        figure_text(compared.figure, compared.second),
        relative(compared),
        f'<span class="{_KIND.get(word, "dim")}">{word}</span>',
    ]


def history_page(history: History) -> str:
    """Return the runs of a folder as a page, newest first, with a trend for each figure."""
    series = [one for one in history.series() if len(one.values) > 1]
    parts = [
        f"<h1>{len(history.folders)} runs</h1>",
        _runs(history),
        *(f"<p>{text(line)}</p>" for line in history.broken),
        _changes(series),
    ]
    plots = []
    for scenario in dict.fromkeys(one.scenario for one in series):
        trends = [_trend(one) for one in series if one.scenario == scenario]
        parts += [f"<h2>{text(scenario)}</h2>", figures(trends)]
        plots += trends
    return document("Runs", parts, plots)


def _runs(history: History) -> str:
    rows = []
    for folder in reversed(history.folders):
        run = listed(folder)
        name = text(run.name)
        if (folder.path / "report.html").is_file():
            name = f'<a href="{quote(folder.name)}/report.html">{name}</a>'
        rows.append(
            [
                name,
                text(run.scenario),
                text(run.model or "–"),
                text(run.status),
                text(run.validity),
                text(run.level or "–"),
                number(run.tokens),
            ]
        )
    heads = ["run", "scenario", "model", "status", "validity", "peak level", "peak tok/s"]
    return table("The runs, newest first", heads, rows)


def _title(series: Series) -> str:
    return f"{series.level} {title(series.figure)}".strip()


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


def _trend(series: Series) -> Plot:
    scale = 1e3 if "." in series.figure and not series.figure.startswith("functional") else 1.0
    unit = "ms" if scale > 1 else "per second" if "throughput" in series.figure else "share"
    values = [value * scale for value in series.values]
    changes = series.changes
    said = f"{len(changes)} change(s)" if changes else "no change"
    words = f"{_title(series)} of {len(values)} runs, oldest first: {said} by more than chance"
    name = f"trend-{series.scenario}-{_title(series)}".replace(" ", "-")
    return trend(name, _title(series), words, values, changes, unit)


def accuracy_page(report: Eval, *, show_text: bool) -> str:
    """Return an eval as a page.

    Args:
        report: finished or not.
        show_text: with questions and answers; without, only ids and hashes.
    """
    parts = [
        f"<h1>{text(report.name)}, {text(report.target.model or 'unknown model')}</h1>",
        _head(report),
        _remarks(report),
        _scores(report),
        _counts(report),
        _samples(report, show_text=show_text),
        _facts(report),
    ]
    return document(report.name, parts)


def _head(report: Eval) -> str:
    score = report.score
    if score is None:
        return '<p class="score">no score</p>'
    error = "" if score.stderr is None else f" ± {score.stderr:.4f}"
    verdict = ""
    if report.verdict:
        kind = "good" if report.ok else "bad"
        verdict = f' <span class="{kind}">{text(report.verdict)}</span>'
    return (
        f'<p><span class="score">{score.score:.4f}</span>{error} '
        f'<span class="dim">95 % interval {score.low:.4f} to {score.high:.4f}</span>{verdict}</p>'
    )


def _remarks(report: Eval) -> str:
    lines = list(report.remarks)
    if report.target.kind == "simulator":
        lines.insert(0, "SIMULATOR: this is the score of the built-in simulated server")
    return "".join(f"<p>{text(line)}</p>" for line in lines)


def _row(name: str, estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return [text(name), "–", "–", "–", "0", "0"]
    error = "–" if estimate.stderr is None else f"{estimate.stderr:.4f}"
    interval = f"{estimate.low:.4f} – {estimate.high:.4f}"
    return [
        text(name),
        f"{estimate.score:.4f}",
        error,
        interval,
        str(estimate.n),
        str(estimate.questions),
    ]


def _scores(report: Eval) -> str:
    rows = [_row("all", report.score), _row("completed", report.score_completed)]
    rows += [_row(name, estimate) for name, estimate in report.groups.items()]
    head = ["", "score", "standard error", "95 % interval", "samples", "questions"]
    more = "".join(f"<p>{text(name)}: {value:.4f}</p>" for name, value in report.figures.items())
    return f"<h2>Scores</h2>{table('Scores', head, rows)}{more}"


def _counts(report: Eval) -> str:
    counts = tally(report.samples)
    row = [
        text(str(report.status)),
        *(str(getattr(counts, name)) for name in _COUNTED),
        f"{report.seconds:.1f}",
    ]
    head = ["status", *(name.replace("_", " ") for name in _COUNTED), "seconds"]
    return f"<h2>What became of the samples</h2>{table('Counts of samples', head, [row])}"


_COUNTED: Final = (
    "n",
    "completed",
    "scored",
    "no_answer",
    "refused",
    "content_filter",
    "errors",
    "truncated",
    "retries",
)


def _samples(report: Eval, *, show_text: bool) -> str:
    if not report.samples:
        return ""
    rows = [_sample(sample, show_text=show_text) for sample in report.samples]
    head = [
        "question",
        "repeat",
        "group",
        "outcome",
        "score",
        "found",
        "right",
        "tokens",
        "seconds",
    ]
    note = (
        ""
        if show_text
        else '<p class="dim">Questions and answers are left out; --show-text shows them.</p>'
    )
    return f"<h2>Samples</h2>{note}{table('Samples', head, rows)}"


def _sample(sample: Sample, *, show_text: bool) -> list[str]:
    kind = "dim" if sample.score is None else "good" if sample.score >= 1 else "bad"
    outcome = text(sample.outcome.value) + (" (cut off)" if sample.truncated else "")
    if sample.error:
        outcome += f"<br><small>{text(sample.error)}</small>"
    first = text(sample.question)
    if show_text and sample.prompt is not None:
        asked = "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in sample.prompt)
        first = (
            f"<details><summary>{first}</summary><pre>{escape(asked)}</pre>"
            f"<pre>{escape(sample.answer or '')}</pre></details>"
        )
    extracted = sample.extracted if show_text or len(sample.extracted or "") <= 1 else "…"
    return [
        first,
        str(sample.repeat),
        text(sample.group or "–"),
        outcome,
        f'<span class="{kind}">{"–" if sample.score is None else f"{sample.score:g}"}</span>',
        text(extracted or "–"),
        text(sample.target if show_text or len(sample.target) <= 1 else "…"),
        "–" if sample.output_tokens is None else str(sample.output_tokens),
        "–" if sample.seconds is None else f"{sample.seconds:.2f}",
    ]


def _facts(report: Eval) -> str:
    facts: dict[str, Any] = {
        "target": report.target.to_json(),
        "config": report.config,
        "data": {} if report.data is None else report.data.to_json(),
        "origin": report.origin.to_json(),
    }
    shown = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
    return f"<h2>How it was asked</h2><pre>{escape(shown)}</pre>"


def run_page(folder: RunFolder, gpus: int | None = None) -> str:
    """Return the page of a run, whatever it is of.

    Args:
        folder: of it.
        gpus: that it ran on; `None`: unknown.

    Raises:
        ConfigError: a file of it is damaged.
    """
    evaluated = folder.eval()
    if folder.levels or evaluated is None or not evaluated.scored:
        return render_page(folder, gpus)
    return accuracy_page(evaluated.join(read_samples(folder.path)), show_text=False)
