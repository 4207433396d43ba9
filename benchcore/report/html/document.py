"""Document: the frame of every page, and the tables in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from benchcore.report.html.style import STYLE
from benchcore.text import printable
from benchcore.version import installing

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
