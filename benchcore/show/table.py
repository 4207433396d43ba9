"""Table: a climb as one table that fits the terminal, with what must be said below it."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchcore.base.text import WIDTH, columns, number, percent, printable
from benchcore.config.catalogue import GROUPED, Column, columns_of, title
from benchcore.judge.levels import by_level, mean_level, spread
from benchcore.metrics.groups import Group
from benchcore.runs.run import Level, Run

if TYPE_CHECKING:
    from benchcore.runs.checks import Checks

_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "bold red"}


def milliseconds(level: Level, metric: str, name: str) -> str:
    """Return a percentile of a level in ms, with a `~` where it rests on too few requests."""
    summary = level.metrics.get(metric)
    value = None if summary is None else summary.value(name)
    if summary is None or value is None:
        return "–"
    mark = "~" if name in summary.low_confidence else ""
    return mark + number(value * 1e3)


def unjudged(checks: Checks) -> list[str]:
    """Return what must be said of checks that the server did not let be judged; empty: of none."""
    from benchcore.runs.checks import Verdict

    said = {
        Verdict.UNSETTLED: "unsettled (429 each time)",
        Verdict.ERROR: "not judged (the server had gone)",
    }
    counts = [(checks.count(verdict), words) for verdict, words in said.items()]
    return [f"{count} {words}" for count, words in counts if count]


def figure_cell(level: Level, column: Column) -> str:
    """Return what stands in a column of a level's figures."""
    if column.latency:
        return milliseconds(level, *column.figure.split("."))
    value = level.figure(column.figure)
    return percent(value) if column.share else number(value)


def columns_for(width: int) -> tuple[Column, ...]:
    """Return the figures that fit: all, or those without which the rest says nothing."""
    return columns_of("wide" if width >= WIDTH else "brief")


def level_table(levels: Iterable[Level], width: int = WIDTH) -> Table:
    """Return the table of some levels, a row for each; of repeats it shows the means.

    Args:
        levels: of a run.
        width: columns of the terminal; below 100 some figures are left out.
    """
    columns = columns_for(width)
    table = _table(columns)
    table.add_column("validity", no_wrap=True, vertical="bottom")
    for repeats in by_level(levels):
        level = mean_level(repeats)
        cells = [Text(level.name)]
        for column in columns:
            failed = column.figure == "failure_rate" and level.failure_rate
            cells.append(Text(figure_cell(level, column), "red" if failed else ""))
        verdict = level.verdict or "not judged"
        table.add_row(*cells, Text(verdict, _STYLES.get(verdict, "")))
    return table


def spread_table(levels: Iterable[Level], width: int = WIDTH) -> Table | None:
    """Return how far the repeats of each level lie apart; `None` where there are none.

    In per cent of the mean: the standard deviation between repeats, with divisor n − 1.
    """
    repeated = [repeats for repeats in by_level(levels) if len(repeats) > 1]
    if not repeated:
        return None
    columns = [column for column in columns_for(width) if not column.share]
    table = _table(columns)
    for repeats in repeated:
        cells = [mean_level(repeats).level]
        cells += [percent(spread(repeats, column.figure)) for column in columns]
        table.add_row(*map(Text, cells))
    return table


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("level", no_wrap=True, vertical="bottom")
    for column in columns:
        table.add_column(column.broken, justify="right", no_wrap=True, vertical="bottom")
    return table


def groups_table(levels: Iterable[Level], width: int = WIDTH) -> Table | None:
    """Return the figures by turn and by class; `None` where no level has them."""
    table_rows = rows(levels)
    if not table_rows:
        return None
    shown = range(len(HEADS)) if width >= WIDTH else NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for place in shown:
        justify: Literal["left", "right"] = "left" if place < 2 else "right"
        name, *statistic = HEADS[place].removesuffix(" ms").split()
        head = f"{name} ms\n{statistic[0]}" if statistic else name
        table.add_column(head, justify=justify, vertical="bottom")
    for row in table_rows:
        table.add_row(*(Text(row[place]) for place in shown))
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
        accuracy = level.accuracy
        if accuracy is None:
            continue
        score, stderr, difference = accuracy.score, accuracy.stderr, accuracy.against_first
        against = Text("–")
        if difference is not None:
            falls = difference.significant and difference.difference < 0
            low, high = difference.interval
            text = f"{difference.difference:+.3f} ({low:+.3f} to {high:+.3f})"
            against = Text(text, "bold red" if falls else "")
        table.add_row(
            level.name,
            "–" if score is None else f"{score:.4f}",
            "–" if stderr is None else f"{stderr:.4f}",
            "–" if accuracy.interval is None else "{:.3f}–{:.3f}".format(*accuracy.interval),
            *map(str, (accuracy.n, accuracy.no_answer, accuracy.truncated, accuracy.errors)),
            against,
        )
    return table


def _worse(level: Level) -> list[str]:
    """Return that answers are worse than at the first level, where that is more than chance."""
    difference = None if level.accuracy is None else level.accuracy.against_first
    if difference is None or not difference.significant or difference.difference >= 0:
        return []
    lost = (
        f"{-difference.difference:.4f} ({difference.worse} questions lost, {difference.better} won)"
    )
    return [f"{level.name}: answers are worse than at the first level by {lost}"]


def _repeated(run: Run) -> list[str]:
    """Return which workloads asked the same prompts again, which a prefix cache serves."""
    if run.workload is None:
        return []
    lines = []
    for workload in run.workload.parts or [run.workload]:
        distinct, total = workload.distinct, workload.asked
        if distinct and total and total > distinct:
            lines.append(
                f"{workload.name}: its {distinct} different prompt(s) were asked {total} times, "
                f"{total / distinct:.0f} times each: a server with a prefix cache answers repeated "
                "prompts faster than new ones; give more prompts, or --reset-prefix-cache"
            )
    return lines


def remarks(run: Run) -> list[str]:
    """Return what must be said below the table of a run of `run.json`, a line each."""
    lines = []
    levels = run.levels
    if run.simulated:
        lines.append("SIMULATOR: these are the figures of the built-in simulated server")
    lines += _repeated(run)
    lines += session_lines(levels)
    lines += cost_lines(levels)
    low = False
    for level in levels:
        name = level.name
        lines += [f"{name}: {level.verdict}: {why}" for why in level.reasons]
        lines += [f"{name}: {what}" for what in level.findings]
        lines += _worse(level)
        lines += [f"{name}: {note}" for note in level.notes if "p99 rests" not in note]
        if level.dropped:
            lines.append(f"{name}: {level.dropped} request(s) dropped at the cap on in-flight")
        summaries = level.metrics.values()
        low = low or any("p99" in one.low_confidence for one in summaries if one.count)
    if low:
        lines.append("~ rests on fewer than 459 requests, too few for a p99 at 99 % confidence")
    sources = {
        source
        for level in levels
        for source in level.tokens.token_count_source
        if source != "usage"
    }
    contradicted = any("usage_contradicted" in what for one in levels for what in one.findings)
    if sources and not contradicted and any(level.itl_kind == "estimated" for level in levels):
        lines.append(
            f"tokens are counted by {', '.join(sorted(sources))}: no usage from the server"
        )
    if run.stopped:
        lines.append(f"no higher level was run: {run.stopped}")
    return lines


def report_console(out: TextIO, *, color: bool = False, width: int | None = None) -> Console:
    """Return what prints tables into a text, as wide as the terminal of stdout.

    Args:
        out: where it prints.
        color: use ANSI colours.
        width: columns; `None`: as many as stdout has.
    """
    return Console(
        file=out,
        width=min(width or columns(sys.stdout), WIDTH),
        force_terminal=color,
        no_color=not color,
        highlight=False,
        markup=False,
        emoji=False,
    )


def render(run: Run, *, color: bool, width: int | None = None) -> str:
    """Return the whole result as text for a terminal.

    Args:
        run: finished or not.
        color: use ANSI colours.
        width: columns; `None`: as many as stdout has.
    """
    width = width or columns(sys.stdout)
    out = io.StringIO()
    console = report_console(out, color=color, width=width)
    levels = run.levels
    if levels:
        console.print(level_table(levels, width))
        apart = spread_table(levels, width)
        if apart is not None:
            console.print("\nstandard deviation between repeats, in per cent of the mean")
            console.print(apart)
    else:
        console.print("nothing was measured")
    if any(level.accuracy is not None for level in levels):
        console.print()
        console.print(accuracy_table(levels))
    by_group = groups_table(levels, width)
    if by_group is not None:
        console.print()
        console.print(by_group)
    lines = remarks(run)
    if lines:
        console.print()
    for line in lines:
        console.print(printable(line), soft_wrap=False)
    return without_padding(out.getvalue())


def without_padding(text: str) -> str:
    """Return what a console has printed without the spaces that pad its lines."""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


# Figures by turn and by class, and what the sessions came to, as cells and lines.

_BRIEF: Final = {column.figure for column in columns_of("brief")}
HEADS: Final = (
    *("level", "of", "requests", "failed"),
    *(f"{title(f'{metric}.{name}')} ms" for metric, name in GROUPED),
    *("cached", "good"),
)
"""Of the table by turn and by class."""
NARROW: Final = (
    *range(4),
    *(place for place, shown in enumerate(GROUPED, 4) if ".".join(shown) in _BRIEF),
    HEADS.index("cached"),
)
"""Its columns in a narrow terminal."""


def rows(levels: Iterable[Level]) -> list[list[str]]:
    """Return the cells of the table by turn and by class; none where no level has them."""
    return [
        [level.name, f"{group.by} {group.value}", *_cells(group)]
        for level in levels
        for group in level.groups or ()
    ]


def _cells(group: Group) -> list[str]:
    def ms(metric: str, name: str) -> str:
        summary = group.metrics.get(metric)
        value = None if summary is None else summary.value(name)
        if summary is None or value is None:
            return "–"
        return ("~" if name in summary.low_confidence else "") + number(value * 1e3)

    judged = group.scheduled if group.good is not None else 0
    return [
        str(group.scheduled),
        percent(group.failed / group.scheduled if group.scheduled else None),
        *(ms(metric, name) for metric, name in GROUPED),
        percent(group.cached_share),
        percent((group.good or 0) / judged) if judged else "–",
    ]


def session_lines(levels: Iterable[Level]) -> list[str]:
    """Return what must be said of sessions, prefix caches and replays, a line each."""
    lines: list[str] = []
    for level in levels:
        lines += _cache_and_replay(level)
        sessions = level.sessions
        if (
            sessions is None
            or level.groups is None
            or all(group.by != "turn" for group in level.groups)
        ):
            continue
        parts = [f"{sessions.ended} ended in the window"]
        if sessions.per_hour is not None:
            parts[0] += f" ({number(sessions.per_hour)} an hour)"
        if sessions.e2e is not None:
            p50, p99 = sessions.e2e.value("p50"), sessions.e2e.value("p99")
            parts.append(f"each took {number(p50)} s (p50), {number(p99)} s (p99)")
        if sessions.failed:
            parts.append(
                f"{sessions.failed} failed, and {sessions.unreached} turn(s) were never asked"
            )
        if sessions.left_open:
            parts.append(f"{sessions.left_open} had not ended when the level was over")
        lines.append(f"{level.name}: sessions: {'; '.join(parts)}")
    return lines


def cost_lines(levels: Iterable[Level]) -> list[str]:
    """Return what must be said of GPUs, energy, cost and the server's processes, a line a level."""
    lines = []
    for level in levels:
        parts = list(_costs(level))
        if parts:
            lines.append(f"{level.name}: {'; '.join(parts)}")
    return lines


def _costs(level: Level) -> Iterator[str]:
    gpus = level.gpus
    if gpus is not None:
        devices = gpus.devices
        watts = [device.power_watts_avg for device in devices if device.power_watts_avg is not None]
        busy = [device.utilization_avg for device in devices if device.utilization_avg is not None]
        parts = [f"{len(devices)} GPU(s)"]
        parts += [f"{number(sum(watts))} W"] if len(watts) == len(devices) else []
        parts += [f"{percent(sum(busy) / len(busy))} busy"] if busy else []
        parts += [
            f"{device.memory_bytes_max / 1e9:.1f} of "
            f"{device.memory_total_bytes / 1e9:.0f} GB at most"
            for device in sorted(devices, key=lambda device: -(device.memory_bytes_max or 0.0))[:1]
            if device.memory_bytes_max is not None and device.memory_total_bytes
        ]
        held = sorted({reason for device in devices for reason in device.throttled or ()})
        parts += [f"clocks held down by {', '.join(held)}"] if held else []
        yield ", ".join(parts)
    if level.tokens_per_joule is not None and level.joules_per_request is not None:
        yield (
            f"{number(level.tokens_per_joule)} tokens/J, {number(level.joules_per_request)} J "
            "per request"
        )
    elif gpus is not None and gpus.energy_reasons:
        yield f"energy unknown: {printable(gpus.energy_reasons[0])}"
    if level.cost_per_million_tokens is not None:
        yield f"a million output tokens cost {number(level.cost_per_million_tokens)}"
    taken = level.server_processes
    if taken is not None:
        yield (
            f"the server took {number(taken.cpu_cores)} cores and "
            f"{taken.memory_bytes_max / 1e9:.2f} GB, {taken.memory_bytes_growth / 1e6:+,.1f} MB in "
            "the window"
        )
    for rule in dict.fromkeys(alert.rule for alert in level.alerts or ()):
        times = [alert for alert in level.alerts or () if alert.rule == rule]
        yield f"{printable(rule)} from {times[0].begun_seconds:.1f} s on, {len(times)} time(s)"


def _cache_and_replay(level: Level) -> Iterator[str]:
    cache = level.prefix_cache
    if cache is not None and cache.ideal is not None and (cache.ideal > 0 or cache.reported):
        more = "or more " if cache.lower_bound else ""
        said = "the server does not say what its own held"
        if cache.reported is not None:
            said = f"the server reports {percent(cache.reported)}"
        blocks = f" in whole blocks of {cache.block_tokens} tokens" if cache.block_tokens else ""
        yield (
            f"{level.name}: prefix cache: a perfect one would have held {percent(cache.ideal)} "
            f"{more}of the input{blocks}; {said}"
        )
    answers = level.answers
    if answers is not None:
        worst = sorted(answers.wrong.items(), key=lambda one: -one[1])[:3]
        wrong = "".join(f"; {count} × {what}" for what, count in worst)
        yield (
            f"{level.name}: answers: {percent(answers.good / answers.judged)} of "
            f"{answers.judged} are as they were asked for{wrong}"
        )
    found = level.fidelity
    if found is not None:
        distances = (("input", found.input_tokens), ("output", found.output_tokens))
        parts = [
            f"{name} {'unknown' if one is None else f'{one:.3f}'}"
            for name, one in (*distances, ("gaps", found.gaps))
        ]
        yield f"{level.name}: replay: KS distances to the trace: {', '.join(parts)}"
