"""Workload: what a workload asks, and what is wrong with its file, as text and as a page."""

from __future__ import annotations

import io
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.table import Table
from rich.text import Text

from benchcore.base.text import columns, number, percent, printable
from benchcore.show.charts import Axis, Panel, Plot, Series, spaced
from benchcore.show.document import document, figures, table, text
from benchcore.show.table import report_console
from benchcore.workload.layouts import Validation
from benchcore.workload.profile import Arrivals, Profile, Spread

if TYPE_CHECKING:
    from array import array

WIDTH: Final = 80
_ROWS: Final = {
    "input_tokens": "input tokens",
    "prompt_tokens": "… with history",
    "output_tokens": "output tokens",
    "turns": "turns per session",
    "wait_seconds": "waits, in seconds",
}
_HEADS: Final = ("", "of", "mean", "min", "p50", "p90", "p99", "max")
_CLASS_HEADS: Final = ("class", "requests", "share", "mean input", "mean output")
_BAR: Final = 36
_POINTS: Final = 500
_CLASSES: Final = 20
_COUNTERS: Final = {
    "workload": "as the workload says",
    "tokenizer": "counted by the tokenizer",
    "words": "estimated from words and marks (--tokenizer counts them)",
}
_FORMS: Final = {
    "jsonl": "JSON Lines",
    "json": "JSON",
    "csv": "CSV",
    "text": "text",
    "parquet": "Parquet",
    None: "a folder",
}


def render_profiles(profiles: Sequence[Profile], *, color: bool = False) -> str:
    """Return what workloads ask as text of 80 columns at most."""
    out = io.StringIO()
    console = report_console(out, color=color, width=min(columns(sys.stdout), WIDTH))
    for place, one in enumerate(profiles):
        if place:
            console.print()
        console.print(Text(printable(one.name), "bold"), Text(f"({one.kind}): {_counts(one)}"))
        console.print()
        console.print(_table(_HEADS, _spread_rows(one)))
        if one.classes:
            console.print()
            console.print(_table(_CLASS_HEADS, _class_rows(one)))
        arrivals = one.arrivals
        if arrivals is not None:
            console.print()
            for line in (*_arrival_lines(arrivals), *_bars(arrivals)):
                console.print(Text(line))
        console.print()
        for line in _notes(one):
            console.print(Text(line))
    return out.getvalue()


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    found = Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads):
        found.add_column(head, justify="right" if place else "left")
    for row in rows:
        found.add_row(*map(Text, map(printable, row)))
    return found


def _counts(one: Profile) -> str:
    said = f"{one.sessions:,} session(s), {one.requests:,} request(s)"
    return said if one.whole else f"the first {said}"


def _spread_rows(one: Profile) -> list[list[str]]:
    rows = []
    for name, spread in one.spreads().items():
        if spread is None or (name == "turns" and spread.high == 1):
            continue
        cells = _cells(spread, whole="seconds" not in name)
        rows.append([_ROWS[name], f"{spread.count:,}", *cells])
    return rows


def _cells(spread: Spread, *, whole: bool) -> list[str]:
    values = (spread.low, spread.p50, spread.p90, spread.p99, spread.high)
    return [number(spread.mean), *(f"{one:,.0f}" if whole else number(one) for one in values)]


def _class_rows(one: Profile) -> list[list[str]]:
    rows = []
    for name, found in sorted(one.classes.items(), key=lambda pair: -pair[1].requests):
        answered = found.requests - found.without_output
        rows.append(
            [
                name,
                f"{found.requests:,}",
                percent(found.requests / one.requests),
                number(found.input_tokens / found.requests),
                number(found.output_tokens / answered) if answered else "–",
            ]
        )
    if len(rows) > _CLASSES:
        rows[_CLASSES:] = [[f"and {len(rows) - _CLASSES} more", "", "", "", ""]]
    return rows


def _arrival_lines(one: Arrivals) -> Iterator[str]:
    if one.per_second is None:
        yield "arrivals: all sessions begin at once"
        return
    busiest = number(max(one.counts) / one.width)
    yield (
        f"arrivals: {number(one.per_second)}/s over {number(one.seconds)} s, "
        f"at most {busiest}/s within {number(one.width)} s"
    )
    if one.variation is not None:
        yield f"gaps: coefficient of variation {one.variation:.2f} (Poisson: 1)"


def _bars(one: Arrivals) -> Iterator[str]:
    if one.per_second is None:
        return
    most = max(one.counts)
    for place, count in enumerate(one.counts):
        bar = "█" * math.ceil(_BAR * count / most)
        yield f"{number(place * one.width):>10} s  {bar:<{_BAR}}  {number(count / one.width)}/s"


def _notes(one: Profile) -> Iterator[str]:
    counted = one.counted_by
    if set(counted) == {"workload"}:
        yield "lengths: as the workload says"
    else:
        parts = (
            _COUNTERS[who] if len(counted) == 1 else f"{count:,} {_COUNTERS[who]}"
            for who, count in counted.items()
        )
        yield f"input lengths: {', '.join(parts)}"
    if one.without_output:
        yield f"output: {one.without_output:,} request(s) leave the length to the server"
    if one.warm_ups:
        yield f"warm-up: {one.warm_ups:,} request(s) are sent before the load"
    if one.reuse.share is not None:
        least = "at least " if one.reuse.full else ""
        share = percent(one.reuse.share)
        yield f"prefix cache: a perfect one would hold {least}{share} of the input"


# What is wrong with a file.


def render_validation(found: Validation, *, drop_bad: bool) -> str:
    """Return what came of reading a file, as text.

    Args:
        found: it.
        drop_bad: whether to go on without the rows that cannot be used.
    """
    layout = found.layout
    lines = [f"{found.path}: {_FORMS[layout.form]}, read as {layout.kind}"]
    if layout.columns:
        lines.append(f"columns: {', '.join(layout.columns)}")
    lines.append(f"{found.sessions:,} session(s), {found.turns:,} request(s) can be used")
    if found.bad:
        dropped = "are left out" if drop_bad else "cannot be used"
        lines.append(f"{found.bad:,} row(s) {dropped}:")
        lines += [f"  {one}" for one in found.faults]
        if found.bad > len(found.faults):
            lines.append(f"  and {found.bad - len(found.faults):,} more")
    if found.fault:
        lines.append(found.fault)
    elif found.is_good or (drop_bad and found.droppable):
        name = shlex.quote(found.name(drop_bad=bool(found.bad)))
        lines.append(f"benchcore climb --workload {name}")
    return "".join(f"{printable(line)}\n" for line in lines)


# The page.


def workload_page(title: str, profiles: Sequence[Profile]) -> str:
    """Return what workloads ask as a page that opens offline.

    Args:
        title: of the page.
        profiles: of each of them.
    """
    parts = [f"<h1>{text(title)}</h1>"]
    shown: list[Plot] = []
    for one in profiles:
        parts.append(f"<h2>{text(one.name)}</h2>")
        parts.append(f"<p>{text(f'{one.kind}: {_counts(one)}')}</p>")
        parts.append(table(f"Lengths of {one.name}", _HEADS, _escaped(_spread_rows(one))))
        if one.classes:
            classes = table(f"Classes of {one.name}", _CLASS_HEADS, _escaped(_class_rows(one)))
            parts += ["<h3>Classes</h3>", classes]
        arrivals = one.arrivals
        if arrivals is not None:
            parts.append(f"<h3>Arrivals</h3><p>{text('; '.join(_arrival_lines(arrivals)))}</p>")
        parts += [f'<p class="dim">{text(line)}</p>' for line in _notes(one)]
        plots = list(_plots(one))
        parts.append(figures(plots))
        shown += plots
    return document(title, parts, shown)


def _escaped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(map(text, row)) for row in rows]


def _plots(one: Profile) -> Iterator[Plot]:
    for plot in (_lengths_plot(one), _turns_plot(one), _arrivals_plot(one)):
        if plot is not None:
            yield plot


def _lengths_plot(one: Profile) -> Plot | None:
    kinds = {
        "input": one.input_tokens,
        "input with history": one.prompt_tokens,
        "output": one.output_tokens,
    }
    series = tuple(
        Series(name, *_shares(values), form="step", place=place)
        for place, (name, values) in enumerate(kinds.items())
        if values
    )
    if not series:
        return None
    panel = Panel(Axis("tokens", "log"), Axis("share of requests, %", from_zero=True), series)
    text = "How many requests have at most so many tokens"
    return Plot(f"lengths-{one.name}", "Lengths", text, (panel,))


def _shares(values: array[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values, and how many per cent are at most so long; begins at 0 %."""
    found, counts = np.unique(np.asarray(values), return_counts=True)
    kept = spaced(len(found), _POINTS)
    shares = 100 * np.cumsum(counts) / counts.sum()
    return np.maximum(found[[0, *kept]], 1), np.concatenate(([0.0], shares[kept]))


def _turns_plot(one: Profile) -> Plot | None:
    if max(one.turns, default=1) == 1:
        return None
    turns, counts = np.unique(np.asarray(one.turns), return_counts=True)
    series = Series("sessions", turns.astype(float), counts.astype(float), "bars", width=0.8)
    panel = Panel(Axis("turns", "whole"), Axis("sessions", from_zero=True), (series,), height=0.7)
    return Plot(f"turns-{one.name}", "Turns", "How many sessions have so many turns", (panel,))


def _arrivals_plot(one: Profile) -> Plot | None:
    arrivals = one.arrivals
    if arrivals is None or arrivals.per_second is None:
        return None
    width = arrivals.width
    middles = (np.arange(float(len(arrivals.counts))) + 0.5) * width
    rates = np.array(arrivals.counts, float) / width
    series = Series("sessions per second", middles, rates, "bars", width=width)
    panel = Panel(
        Axis("seconds"), Axis("sessions per second", from_zero=True), (series,), height=0.7
    )
    text = "Sessions per second over time"
    return Plot(f"arrivals-{one.name}", "Arrivals", text, (panel,))
