"""Eval page: an eval with its samples as one HTML file that opens offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.metrics.accuracy import AccuracyReport, Sample, over_completed, tally
from benchcore.report.html.document import document, table, text

if TYPE_CHECKING:
    from benchcore.metrics.scores import Estimate


def accuracy_page(report: AccuracyReport, *, show_text: bool) -> str:
    """Return an eval as a page.

    Args:
        report: finished or not.
        show_text: with questions and answers; without, only ids and hashes.
    """
    name = f"{report.task} {report.variant}".strip()
    parts = [
        f"<h1>{text(name)}, {text(str(report.target.get('model') or 'unknown model'))}</h1>",
        _head(report),
        _remarks(report),
        _scores(report),
        _counts(report),
        _samples(report, show_text=show_text),
        _facts(report),
    ]
    return document(name, parts)


def _head(report: AccuracyReport) -> str:
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


def _remarks(report: AccuracyReport) -> str:
    lines = report.remarks()
    if report.target.get("kind") == "simulator":
        lines.insert(0, "SIMULATOR: this is the score of the built-in simulated server")
    return "".join(f"<p>{text(line)}</p>" for line in lines)


def _row(name: str, one: Estimate | None) -> list[str]:
    if one is None:
        return [text(name), "–", "–", "–", "0", "0"]
    error = "–" if one.stderr is None else f"{one.stderr:.4f}"
    interval = f"{one.low:.4f} – {one.high:.4f}"
    return [text(name), f"{one.score:.4f}", error, interval, str(one.n), str(one.questions)]


def _scores(report: AccuracyReport) -> str:
    rows = [_row("all", report.score), _row("completed", over_completed(report.samples))]
    rows += [_row(name, one) for name, one in report.groups.items()]
    head = ["", "score", "standard error", "95 % interval", "samples", "questions"]
    figures = "".join(f"<p>{text(name)}: {value:.4f}</p>" for name, value in report.figures.items())
    return f"<h2>Scores</h2>{table(head, rows)}{figures}"


def _counts(report: AccuracyReport) -> str:
    counts = tally(report.samples)
    row = [
        text(report.status),
        *(str(getattr(counts, name)) for name in _COUNTED),
        f"{report.seconds:.1f}",
    ]
    head = ["status", *(name.replace("_", " ") for name in _COUNTED), "seconds"]
    return f"<h2>What became of the samples</h2>{table(head, [row])}"


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


def _samples(report: AccuracyReport, *, show_text: bool) -> str:
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
    return f"<h2>Samples</h2>{note}{table(head, rows)}"


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
    found = sample.extracted if show_text or len(sample.extracted or "") <= 1 else "…"
    return [
        first,
        str(sample.repeat),
        text(sample.group or "–"),
        outcome,
        f'<span class="{kind}">{"–" if sample.score is None else f"{sample.score:g}"}</span>',
        text(found or "–"),
        text(sample.target if show_text or len(sample.target) <= 1 else "…"),
        "–" if sample.output_tokens is None else str(sample.output_tokens),
        "–" if sample.seconds is None else f"{sample.seconds:.2f}",
    ]


def _facts(report: AccuracyReport) -> str:
    facts: dict[str, Any] = {
        "target": report.target,
        "config": report.config,
        "data": report.data,
        "origin": report.origin,
    }
    shown = orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode()
    return f"<h2>How it was asked</h2><pre>{escape(shown)}</pre>"
