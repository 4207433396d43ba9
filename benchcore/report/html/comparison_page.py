"""Comparison page: runs beside one another, their curves over one another, one file offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchcore.config.titles import title
from benchcore.report.comparison import Change
from benchcore.report.comparison_lines import figure_text, pairs, relative, verdict
from benchcore.report.differences import noted
from benchcore.report.html.document import document, table, text
from benchcore.report.html.drawing import can_draw
from benchcore.report.html.overlays import overlay
from benchcore.report.html.page import figure, no_plots
from benchcore.report.run_folder import RunFolder

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
        found, missing = pairs(first, other)
        rows = [_row(name, one) for name, changes in found for one in changes]
        heads = ["level", "figure", first.name, other.name, "change", "more than chance"]
        parts += [f"<h2>{text(other.name)}</h2>", table(heads, rows)]
        lines = [*(f"not in both: {name}" for name in missing)]
        lines += [str(one) for one in noted(first.run, other.run)]
        parts += [f'<p class="dim">{text(line)}</p>' for line in lines]
    if not can_draw():
        parts.append(no_plots(None))
        return document(title, parts)
    for metric in ("ttft", "itl", "e2e"):
        parts += [figure(plot) for plot in overlay([first, *others], metric)]
    return document(title, parts)


def _row(name: str, one: Change) -> list[str]:
    word = verdict(one)
    return [
        text(name),
        text(title(one.figure)),
        figure_text(one.figure, one.first),
        figure_text(one.figure, one.second),
        relative(one),
        f'<span class="{_KIND.get(word, "dim")}">{word}</span>',
    ]
