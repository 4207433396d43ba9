"""Table: a climb as one table of 100 columns, with what must be said below it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchcore.metrics.summary import Summary
from benchcore.text import printable

Level = Mapping[str, Any]
"""A level as `run.json` has it: a run that is over is read like one that is on."""

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


def milliseconds(summary: Summary | None, name: str) -> str:
    """Return a percentile in ms, with a `~` where it rests on too few requests."""
    if summary is None:
        return "–"
    mark = "~" if name in summary.low_confidence else ""
    return mark + number(summary.percentiles[name] * 1e3)


def summary_milliseconds(level: Level, metric: str, name: str) -> str:
    """Return a percentile of a level of `run.json` in ms, with a `~` as above."""
    summary = level["metrics"].get(metric)
    if summary is None or summary.get(name) is None:
        return "–"
    mark = "~" if name in summary.get("low_confidence", ()) else ""
    return mark + number(summary[name] * 1e3)


def percent(value: float | None) -> str:
    """Return a share in per cent; `–` where it is unknown."""
    if value is None:
        return "–"
    if value == 0:
        return "0 %"
    return f"{value:.1%}".replace("%", " %")


def level_name(level: str, repeat: int) -> str:
    """Return what a level is called, with its repeat where it is not the first."""
    return level if repeat == 1 else f"{level} #{repeat}"


def _name(level: Level) -> str:
    return level_name(level["level"], level["repeat"])


_COLUMNS: tuple[tuple[str, Callable[[Level], str]], ...] = (
    ("level", _name),
    ("req/s", lambda level: number(level["request_throughput"])),
    ("tok/s", lambda level: number(level["output_token_throughput"])),
    ("tok/s\nper user", lambda level: number(level["tokens_per_second_per_user"])),
    ("TTFT ms\np50", lambda level: summary_milliseconds(level, "ttft", "p50")),
    ("TTFT ms\np99", lambda level: summary_milliseconds(level, "ttft", "p99")),
    ("ITL ms\np50", lambda level: summary_milliseconds(level, "itl", "p50")),
    ("ITL ms\np99", lambda level: summary_milliseconds(level, "itl", "p99")),
    ("e2e ms\np99", lambda level: summary_milliseconds(level, "e2e", "p99")),
    ("failed", lambda level: percent(level["failure_rate"])),
    ("goodput\nreq/s", lambda level: number(level["goodput"])),
    ("validity", lambda level: level["validity"] or "not judged"),
)


def level_table(levels: Iterable[Level]) -> Table:
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
        cells[-1].stylize(_STYLES.get(level["validity"], ""))
        if level["failure_rate"]:
            cells[-3].stylize("red")
        table.add_row(*cells)
    return table


def accuracy_table(levels: Iterable[Level]) -> Table:
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
        found = level.get("accuracy")
        if found is None:
            continue
        score, stderr, difference = found["score"], found.get("stderr"), found["against_first"]
        against = Text("–")
        if difference is not None:
            falls = difference["significant"] and difference["difference"] < 0
            low, high = difference["interval"]
            text = f"{difference['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
            against = Text(text, "bold red" if falls else "")
        table.add_row(
            _name(level),
            "–" if score is None else f"{score:.4f}",
            "–" if stderr is None else f"{stderr:.4f}",
            "–" if score is None else "{:.3f}–{:.3f}".format(*found["interval"]),
            *(str(found[name]) for name in ("n", "no_answer", "truncated", "errors")),
            against,
        )
    return table


def _worse(level: Level) -> list[str]:
    """Return that answers are worse than at the first level, where that is more than chance."""
    one = (level.get("accuracy") or {}).get("against_first")
    if one is None or not one["significant"] or one["difference"] >= 0:
        return []
    lost = f"{-one['difference']:.4f} ({one['worse']} questions lost, {one['better']} won)"
    return [f"{_name(level)}: answers are worse than at the first level by {lost}"]


def remarks(run: Mapping[str, Any]) -> list[str]:
    """Return what must be said below the table of a run of `run.json`, a line each."""
    lines = []
    levels = run["levels"]
    if run["target"].get("kind") == "simulator":
        lines.append("SIMULATOR: these are the figures of the built-in simulated server")
    low = False
    for level in levels:
        name = _name(level)
        lines += [f"{name}: {level['validity']}: {why}" for why in level["reasons"]]
        lines += [f"{name}: {what}" for what in level["findings"]]
        lines += _worse(level)
        lines += [f"{name}: {note}" for note in level["notes"] if "p99 rests" not in note]
        if level["dropped"]:
            lines.append(f"{name}: {level['dropped']} request(s) dropped at the cap on in-flight")
        summaries = level["metrics"].values()
        low = low or any("p99" in one["low_confidence"] for one in summaries if one["count"])
    if low:
        lines.append("~ rests on fewer than 459 requests, too few for a p99 at 99 % confidence")
    sources = {
        source
        for level in levels
        for source in level["tokens"]["token_count_source"]
        if source != "usage"
    }
    if sources and any(level["itl"] == "estimated" for level in levels):
        lines.append(
            f"tokens are counted by {', '.join(sorted(sources))}: no usage from the server"
        )
    if run["stopped"]:
        lines.append(f"no higher level was run: {run['stopped']}")
    return lines


def render(run: Mapping[str, Any], *, color: bool) -> str:
    """Return the whole result as text for a terminal.

    Args:
        run: what `run.json` holds, finished or not.
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
    levels = run["levels"]
    if levels:
        console.print(level_table(levels))
    else:
        console.print("nothing was measured")
    if any(level.get("accuracy") is not None for level in levels):
        console.print()
        console.print(accuracy_table(levels))
    found = remarks(run)
    if found:
        console.print()
    for line in found:
        console.print(printable(line), soft_wrap=False)
    text = out.getvalue()
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
