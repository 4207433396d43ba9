"""Frame: what every page has, and the tables in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from benchcore.base.text import printable
from benchcore.version import installing

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
