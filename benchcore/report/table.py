"""Table: a climb as one table of 100 columns, with what must be said below it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.metrics.summary import Summary

WIDTH = 100
_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "bold red"}


def number(value: float | None) -> str:
    """Return a number with about four digits; `–` where it is unknown."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def printable(text: str) -> str:
    """Return text of a server with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def milliseconds(summary: Summary | None, name: str) -> str:
    """Return a percentile in ms, with a `~` where it rests on too few requests."""
    if summary is None:
        return "–"
    mark = "~" if name in summary.low_confidence else ""
    return mark + number(summary.percentiles[name] * 1e3)


def percent(value: float | None) -> str:
    """Return a share in per cent; `–` where it is unknown."""
    if value is None:
        return "–"
    if value == 0:
        return "0 %"
    return f"{value:.1%}".replace("%", " %")


def level_name(level: LevelResult) -> str:
    """Return what a level is called, with its repeat where it is not the first."""
    return level.level if level.repeat == 1 else f"{level.level} #{level.repeat}"


_COLUMNS: tuple[tuple[str, Callable[[LevelResult], str]], ...] = (
    ("level", level_name),
    ("req/s", lambda level: number(level.request_throughput)),
    ("tok/s", lambda level: number(level.output_token_throughput)),
    ("tok/s\nper user", lambda level: number(level.tokens_per_second_per_user)),
    ("TTFT ms\np50", lambda level: milliseconds(level.ttft, "p50")),
    ("TTFT ms\np99", lambda level: milliseconds(level.ttft, "p99")),
    ("ITL ms\np50", lambda level: milliseconds(level.itl, "p50")),
    ("ITL ms\np99", lambda level: milliseconds(level.itl, "p99")),
    ("e2e ms\np99", lambda level: milliseconds(level.e2e, "p99")),
    ("failed", lambda level: percent(level.failure_rate)),
    ("goodput\nreq/s", lambda level: number(level.goodput)),
    ("validity", lambda level: level.validity.verdict),
)


def level_table(levels: Iterable[LevelResult]) -> Table:
    """Return the table of some levels."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for header, _ in _COLUMNS:
        last = header == "validity"
        table.add_column(
            header,
            justify="left" if header == "level" or last else "right",
            no_wrap=True,
            vertical="bottom",
        )
    for level in levels:
        cells = [Text(cell(level)) for _, cell in _COLUMNS]
        cells[-1].stylize(_STYLES[level.validity.verdict])
        if level.failure_rate:
            cells[-3].stylize("red")
        table.add_row(*cells)
    return table


def accuracy_table(levels: Iterable[LevelResult]) -> Table:
    """Return what the answers of some levels were worth, each held against the first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in (
        "level",
        "score",
        "± stderr",
        "95 % interval",
        "samples",
        "no answer",
        "cut off",
    ):
        table.add_column(header, justify="left" if header == "level" else "right")
    table.add_column("errors", justify="right")
    table.add_column("against the first", justify="right", no_wrap=True)
    for level in levels:
        found = level.accuracy
        if found is None:
            continue
        score, counts, difference = found.score, found.counts, found.difference
        stderr = None if score is None else score.stderr
        against = Text("–")
        if difference is not None:
            style = "bold red" if difference.significant and difference.difference < 0 else ""
            limits = f"{difference.low:+.3f} to {difference.high:+.3f}"
            against = Text(f"{difference.difference:+.3f} ({limits})", style)
        table.add_row(
            level_name(level),
            "–" if score is None else f"{score.score:.4f}",
            "–" if stderr is None else f"{stderr:.4f}",
            "–" if score is None else f"{score.low:.3f}–{score.high:.3f}",
            str(counts.n),
            str(counts.no_answer),
            str(counts.truncated),
            str(counts.errors),
            against,
        )
    return table


def _worse(level: LevelResult) -> list[str]:
    """Return that answers are worse than at the first level, where that is more than chance."""
    found = level.accuracy
    one = None if found is None else found.difference
    if one is None or not one.significant or one.difference >= 0:
        return []
    lost = f"{-one.difference:.4f} ({one.worse} questions lost, {one.better} won)"
    return [f"{level_name(level)}: answers are worse than at the first level by {lost}"]


def remarks(run: RunResult) -> list[str]:
    """Return what must be said below the table, a line each."""
    lines = []
    if run.facts["target"].get("kind") == "simulator":
        lines.append("SIMULATOR: these are the figures of the built-in simulated server")
    low = False
    for level in run.levels:
        name = level_name(level)
        lines += [f"{name}: {level.validity.verdict}: {why}" for why in level.validity.reasons]
        lines += [f"{name}: {what}" for what in level.findings]
        lines += _worse(level)
        notes = [note for note in level.notes if "p99 rests" not in note]
        lines += [f"{name}: {note}" for note in notes]
        if level.dropped:
            lines.append(f"{name}: {level.dropped} request(s) dropped at the cap on in-flight")
        low = low or any("p99" in summary.low_confidence for summary in level.metrics.values())
    if low:
        lines.append("~ rests on fewer than 459 requests, too few for a p99 at 99 % confidence")
    estimated = [level_name(level) for level in run.levels if level.itl_kind == "estimated"]
    sources = {
        source for level in run.levels for source in level.tokens.sources if source != "usage"
    }
    if estimated and sources:
        lines.append(
            f"tokens are counted by {', '.join(sorted(sources))}: no usage from the server"
        )
    if run.stopped:
        lines.append(f"no higher level was run: {run.stopped}")
    return lines


def render(run: RunResult, *, color: bool) -> str:
    """Return the whole result as text for a terminal.

    Args:
        run: finished or not.
        color: use ANSI colours.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        width=WIDTH,  # a narrower terminal breaks lines; a narrower table would hide figures
        force_terminal=color,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
    )
    if run.levels:
        console.print(level_table(run.levels))
    else:
        console.print("nothing was measured")
    if any(level.accuracy is not None for level in run.levels):
        console.print()
        console.print(accuracy_table(run.levels))
    found = remarks(run)
    if found:
        console.print()
    for line in found:
        console.print(printable(line), soft_wrap=False)
    text = out.getvalue()
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
