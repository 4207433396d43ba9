"""Document: what every page has: its frame, its style, its scripts, and the tables in it.

A page is one file that opens offline. Nothing can be fetched or sent from it, and no script runs
but ours, whatever a server wrote into its answers: the policy in its head names them by their
hashes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

import orjson

from benchcore.base.text import printable
from benchcore.show.charts import Plot

_ASSETS: Final = Path(__file__).parent / "assets"
_THEMES: Final = ("auto", "light", "dark")


@functools.cache
def asset(name: str) -> str:
    """Return one of the files that stand in pages."""
    return (_ASSETS / name).read_text(encoding="utf-8").strip()


def text(value: object) -> str:
    """Return anything as text that HTML takes as text, whatever a server put into it."""
    return escape(printable(str(value)))


def data_block(name: str, data: object) -> str:
    """Return JSON as an element that runs nothing.

    Args:
        name: its `id`.
        data: what it holds.
    """
    # `</script>` in a server's text would end the element; the JSON stays the same.
    encoded = orjson.dumps(data).decode()
    safe = encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{name}">{safe}</script>'


def document(title: str, body: Iterable[str], plots: Sequence[Plot] = (), rows: str = "") -> str:
    """Return a page that opens offline.

    Args:
        title: as text.
        body: parts that are HTML already; empty ones are left out.
        plots: that stand in it as figures.
        rows: the data of its table of requests, an element; empty: it has none.
    """
    styles, scripts, data = [asset("page.css")], [], []
    if plots:
        styles.append(asset("uPlot.min.css"))
        license_text = f"/*\n{asset('uPlot.LICENSE')}\n*/\n"
        scripts += [license_text + asset("uPlot.iife.min.js"), asset("charts.js")]
        data.append(data_block("plots", [plot.to_json() for plot in plots]))
    if rows:
        scripts.append(asset("requests.js"))
        data.append(rows)
    policy = (
        f"default-src 'none'; style-src {_hashes(styles)}; "
        f"script-src {_hashes(scripts) or _NONE}; base-uri 'none'; form-action 'none'"
    )
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{text(title)} — benchcore</title>",
        *(f"<style>{style}</style>" for style in styles),
        f"</head><body>{_themes()}<main>",
    )
    told = f"<noscript><p>{text(NO_SCRIPT)}</p></noscript>" if scripts else ""
    end = (*data, *(f"<script>{script}</script>" for script in scripts), "</body></html>\n")
    return "\n".join([*head, told, *(part for part in body if part), "</main>", *end])


NO_SCRIPT: Final = (
    "This browser runs no scripts: the plots and the table of requests are not shown. All other "
    "figures are here."
)
_NONE: Final = "'none'"


def _hashes(contents: Iterable[str]) -> str:
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _themes() -> str:
    """Return the switch between light and dark, which needs no script: the style looks at it."""
    choices = "".join(
        f'<label><input type="radio" name="theme" id="theme-{theme}"'
        f"{' checked' if theme == 'auto' else ''}>{theme}</label>"
        for theme in _THEMES
    )
    return (
        '<header><span class="brand">benchcore</span>'
        f'<fieldset class="theme"><legend class="hidden">Colours</legend>{choices}</fieldset>'
        "</header>"
    )


def figure(plot: Plot | None) -> str:
    """Return the place of a plot, with what it shows said in words."""
    if plot is None:
        return ""
    name = text(plot.name)
    return (
        f'<figure class="plot" data-plot="{name}"><div class="plot-head"><h3>{text(plot.title)}'
        f"</h3></div><figcaption>{text(plot.text)}.</figcaption></figure>"
    )


def figures(plots: Iterable[Plot | None]) -> str:
    """Return the places of plots, two beside one another where there is room; empty: of none."""
    places = "".join(map(figure, plots))
    return f'<div class="plots">{places}</div>' if places else ""


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 0) -> str:
    """Return a table of cells that are HTML already; the first cell of a row is its head.

    Args:
        caption: what it shows, for those who cannot see the heading above it.
        heads: of the columns, as text.
        rows: of cells.
        left: so many columns at the end are text, and stand at the left.
    """

    def row(cells: Sequence[str], *, head: bool) -> str:
        first = len(cells) - left
        parts = []
        for place, cell in enumerate(cells):
            mark = ' class="left"' if place >= first else ""
            scope = ' scope="col"' if head else ' scope="row"' if not place else ""
            tag = "th" if scope and cell else "td"
            parts.append(f"<{tag}{scope if tag == 'th' else ''}{mark}>{cell}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    head = row([text(title) for title in heads], head=True)
    body = "".join(row(cells, head=False) for cells in rows)
    return (
        f'<div class="wide" role="group" tabindex="0" aria-label="{text(caption)}">'
        f'<table><caption class="hidden">{text(caption)}</caption>'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )
