"""Plots: what a run measured, and what several did, as charts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from benchcore.config.catalogue import DRAWN, LATENCIES, title
from benchcore.judge.levels import knee
from benchcore.runs.reading import Floats, RunFolder, Timeline
from benchcore.runs.run import Level
from benchcore.show.charts import Axis, Band, Panel, Plot, Series, floats, points, spaced

_POINTS: Final = 6000
"""Requests that are drawn one by one: a page of 100,000 must stay small."""
_BINS: Final = 20
"""Of a distribution, in each power of ten."""
_BY_NINES: Final = Axis("percentile", "nines")
_MILLISECONDS: Final = Axis("milliseconds", "log")


def plots(folder: RunFolder, gpus: int | None = None) -> list[Plot]:
    """Return the plots of a run, those that there is something to show of.

    Args:
        folder: of a climb.
        gpus: how many the server has; `None`: what the run's label `gpus` says, if anything.
    """
    by_tag = histograms(folder)
    drawn = [
        _capacity(folder),
        _curve(folder),
        _pareto(folder, gpus or _gpus(folder)),
        *(_percentiles(folder, by_tag, metric) for metric in DRAWN),
        *(_distribution(folder, by_tag, metric) for metric in DRAWN),
        _goodput(folder),
        *(_timeline(folder, level) for level in folder.levels),
        _scatter(folder),
    ]
    return [plot for plot in drawn if plot is not None]


def _by_load(folder: RunFolder) -> list[Level]:
    """Return the levels as they were run; those of a search, which goes to and fro, by load."""
    if folder.certificate() is None:
        return folder.levels
    return sorted(folder.levels, key=lambda level: level.rate or level.concurrency or 0)


def _curve(folder: RunFolder) -> Plot | None:
    ordered = _by_load(folder)
    name, unit = "output_token_throughput", "output tokens per second"
    if not any(one.output_token_throughput for one in ordered):
        name, unit = "request_throughput", "requests per second"
    levels = [(one, rate) for one in ordered if (rate := one.figure(name))]
    if not levels:
        return None
    series = []
    for place, figure in enumerate(("ttft.p50", "ttft.p99", "e2e.p99")):
        x, y = points(
            (rate, value * 1e3) for one, rate in levels if (value := one.figure(figure)) is not None
        )
        if len(x):
            series.append(Series(title(figure), x, y, place=place, marks=True))
    if not series:
        return None
    turn = knee(ordered)
    at_knee = turn.level if turn is not None and turn.beyond else None
    labels = tuple(
        (rate, top * 1e3, f"{one.name} (knee)" if one.name == at_knee else one.name)
        for one, rate in levels
        if (top := one.figure("e2e.p99")) is not None
    )
    text = f"Latency against throughput, a point for each of {len(levels)} levels"
    panel = Panel(Axis(unit, from_zero=True), _MILLISECONDS, tuple(series), labels=labels)
    return Plot("curve", "Throughput and latency", text, (panel,))


def _capacity(folder: RunFolder) -> Plot | None:
    found = folder.certificate()
    if found is None:
        return None
    series = []
    for place, objective in enumerate(found.rule.objectives):
        x, y = points(
            (one.level, 100 * share.share)
            for one in found.levels
            if (share := one.shares.get(objective)) is not None and share.share is not None
        )
        if len(x):
            series.append(Series(objective, x, y, place=place, marks=True))
    if not series:
        return None
    unit = "users" if found.mode == "closed" else "requests per second"
    bounds = tuple(bound for bound in (found.at_least, found.refuted) if bound is not None)
    panel = Panel(Axis(unit, "log"), Axis("% within its limit"), tuple(series), rules=bounds)
    text = "What keeps within the limit of each SLO by level; dotted: what is held, and refuted"
    return Plot("capacity", "Capacity", text, (panel,))


def _tag(level: Level, metric: str) -> str:
    name = level.level if level.repeat == 1 else f"{level.level}.{level.repeat}"
    return f"{name}/{metric}"


def _percentiles(folder: RunFolder, by_tag: dict[str, Any], metric: str) -> Plot | None:
    series = [
        Series(level.name, *_tail(hdr), place=place)
        for place, level in enumerate(folder.levels)
        if (hdr := by_tag.get(_tag(level, metric))) is not None
    ]
    if not series:
        return None
    latency = LATENCIES[metric]
    words = f"Percentiles of the {latency.long} by level"
    panel = Panel(_BY_NINES, _MILLISECONDS, tuple(series))
    return Plot(f"percentiles-{metric}", latency.full, words, (panel,), group="nines")


def _tail(hdr: Any) -> tuple[Floats, Floats]:
    """Return the percentiles of a histogram by nines, and their milliseconds.

    The nines are 0, 1, 2 for 0, 90, 99 %, up to where one sample is left.
    """
    last = max(1.0, math.log10(hdr.total_count))
    # One grid for every level, so that a cursor meets all of them.
    nines = np.append(np.arange(0, last, 0.025), last)
    percentiles = (100 * (1 - 10**-nines)).tolist()
    values = hdr.get_percentile_to_value_dict(percentiles)
    return nines, np.array([values[one] / 1e6 for one in percentiles])


def _distribution(folder: RunFolder, by_tag: dict[str, Any], metric: str) -> Plot | None:
    series = []
    for place, level in enumerate(folder.levels):
        hdr = by_tag.get(_tag(level, metric))
        if hdr is not None:
            series.append(Series(level.name, *_shares(hdr), form="step", place=place))
    if not series:
        return None
    latency = LATENCIES[metric]
    what = "tokens" if latency.pooled else "requests"
    panel = Panel(
        Axis("milliseconds", "log"), Axis(f"share of {what}, %", from_zero=True), tuple(series)
    )
    words = (
        f"How the {latency.long} is spread by level: the share of {what} in each of {_BINS} "
        "bins to a power of ten"
    )
    heading = f"Distribution of {latency.short}"
    return Plot(f"distribution-{metric}", heading, words, (panel,))


def _shares(hdr: Any) -> tuple[Floats, Floats]:
    """Return where each bin of a histogram begins, in ms, and its per cent of all."""
    counts = np.ctypeslib.as_array(hdr.counts)
    slots = np.flatnonzero(counts)
    values = np.array([hdr.get_value_from_index(slot) for slot in slots.tolist()], float)
    places = np.floor(_BINS * np.log10(np.maximum(values, 1))).astype(int)
    # With an empty bin at either end, so that the line comes up from 0 and returns to it.
    first, last = int(places.min()) - 1, int(places.max()) + 1
    heights = np.bincount(places - first, counts[slots], last - first + 1)
    return 10 ** (np.arange(first, last + 1) / _BINS) / 1e6, 100 * heights / hdr.total_count


def histograms(folder: RunFolder) -> dict[str, Any]:
    """Return the histograms of a run that hold something by `level/metric`, values in ns."""
    path = folder.path / "histograms.hlog"
    if not path.is_file():
        return {}
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reader = HistogramLogReader(str(path), HdrHistogram(1, 3600 * 10**9, 3))
    by_tag = {}
    while (hdr := reader.get_next_interval_histogram()) is not None:
        if hdr.total_count:
            by_tag[hdr.get_tag()] = hdr
    return by_tag


def _timeline(folder: RunFolder, level: Level) -> Plot | None:
    rows = folder.timeline(level)
    if rows is None or len(rows) < 2:
        return None
    warmup, window = level.warmup_seconds or 0.0, level.window_seconds or 0.0
    bands = tuple(_bands(level, warmup))
    panels = [
        Panel(
            Axis("seconds", from_zero=True),
            Axis(label, from_zero=True),
            tuple(series),
            bands=bands,
            rules=(warmup + window,),
            height=0.47,
        )
        for label, series in _over_time(rows)
    ]
    name = level.name
    what = "In flight, tokens per second and time to first token"
    text = (
        f"{what} of level {name} over time, in seconds from its start; grey: warm-up, green: "
        "steady state, dotted: the end of the window"
    )
    return Plot(
        f"timeline-{name.replace(' #', '-')}", f"{name} second by second", text, tuple(panels)
    )


def _over_time(rows: Timeline) -> Iterator[tuple[str, list[Series]]]:
    """Yield what each panel of a timeline shows, with the label of its axis."""
    seconds = rows.column("second") + 0.5

    def line(label: str, name: str, place: int, scale: float = 1.0) -> Series:
        return Series(label, seconds, rows.column(name) * scale, place=place)

    load = [line("in flight", "in_flight", 0)]
    failed = rows.column("failed")
    if failed.any():
        # First, so that they stand behind the line.
        load.insert(0, Series("failed", seconds, failed, form="bars", place=1, width=0.7))
    yield "requests", load
    yield "tokens/s", [line("tokens/s", "tokens", 2)]
    yield (
        "milliseconds",
        [
            line("TTFT p50", "ttft_p50_seconds", 0, 1e3),
            line("TTFT p99", "ttft_p99_seconds", 1, 1e3),
        ],
    )


def _bands(level: Level, warmup: float) -> Iterator[Band]:
    if warmup:
        yield Band("warmup", 0.0, warmup)
    steady = level.steady_state
    if steady is None or not steady.found:
        return
    if steady.start_seconds is not None and steady.end_seconds is not None:
        yield Band("steady", steady.start_seconds, steady.end_seconds)


def thinned(x: np.ndarray, y: np.ndarray, most: int = _POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return so many points at most: of each stretch of x the highest, and others at random.

    Args:
        x: shape (n,).
        y: shape (n,).
        most: how many are kept.
    """
    if len(x) <= most:
        return x, y
    order = np.argsort(x, kind="stable")
    stretches = np.array_split(order, most // 2)
    highest = np.array([part[np.argmax(y[part])] for part in stretches])
    left = np.ones(len(x), bool)
    left[highest] = False
    others = np.flatnonzero(left)
    drawn = np.random.default_rng(0).choice(others, most - len(highest), replace=False)
    kept = np.sort(np.concatenate([highest, drawn]))
    return x[kept], y[kept]


def _scatter(folder: RunFolder) -> Plot | None:
    series = []
    total = shown = 0
    for place, level in enumerate(folder.levels):
        requests = folder.requests(level.level, level.repeat)
        if requests is None:
            continue
        sent = requests.seconds["sent_seconds"]
        ttft = (requests.seconds["first_token_seconds"] - sent) * 1e3
        known = ~np.isnan(ttft)
        if not known.any():
            continue
        x, y = thinned(sent[known], ttft[known], max(100, _POINTS // len(folder.levels)))
        total, shown = total + int(known.sum()), shown + len(x)
        series.append(Series(level.name, x, y, form="points", place=place))
    if not shown:
        return None
    thin = f"{shown:,} of {total:,} requests, the slowest of each moment kept"
    text = thin if shown < total else f"{total:,} requests"
    panel = Panel(
        Axis("sent, seconds of its level", from_zero=True),
        Axis("TTFT, milliseconds", "log"),
        tuple(series),
    )
    return Plot("requests", "Each request", f"Time to first token of {text}", (panel,))


def _goodput(folder: RunFolder) -> Plot | None:
    series = []
    for place, level in enumerate(folder.levels):
        requests = folder.requests(level.level, level.repeat)
        rate = level.request_throughput
        if requests is None or not rate or not level.ok:
            continue
        ttft = np.sort(requests.figure("ttft")) * 1e3
        if not len(ttft):
            continue
        shares = np.arange(1, len(ttft) + 1) / len(ttft)
        keep = spaced(len(ttft), 150)
        series.append(Series(level.name, ttft[keep], shares[keep] * rate, form="step", place=place))
    if not series:
        return None
    panel = Panel(
        Axis("limit of the TTFT, milliseconds", "log"),
        Axis("requests/s within it", from_zero=True),
        tuple(series),
    )
    text = "Requests per second that meet a limit of the TTFT"
    return Plot("goodput", "Goodput by limit", text, (panel,))


def _gpus(folder: RunFolder) -> int | None:
    said = folder.run.label("gpus")
    return int(said) if said.isdecimal() and int(said) else None


def _pareto(folder: RunFolder, gpus: int | None) -> Plot | None:
    count = gpus or 1
    levels = [
        (level.tokens_per_second_per_user, level.output_token_throughput / count, level.name)
        for level in _by_load(folder)
        if level.tokens_per_second_per_user and level.output_token_throughput
    ]
    if len(levels) < 2:
        return None
    x, y = points((x, y) for x, y, _ in levels)
    panel = Panel(
        Axis("tokens per second per user"),
        Axis("tokens/s", from_zero=True),
        (Series("tokens/s", x, y, marks=True),),
        labels=tuple(levels),
    )
    of_what = f"per GPU ({gpus})" if gpus else "of the server: --gpus N says how many GPUs it has"
    text = f"Tokens per second per user against tokens per second {of_what}"
    return Plot("pareto", "Per user and per GPU", text, (panel,))


def trend(
    name: str, heading: str, text: str, values: Sequence[float], changes: Sequence[int], unit: str
) -> Plot:
    """Return a series of figures, with the places marked at which it changes its level.

    Args:
        name: of the plot.
        heading: above it.
        text: what it shows.
        values: oldest first.
        changes: places.
        unit: of the values.
    """
    panel = Panel(
        Axis("run", "whole"),
        Axis(unit, from_zero=True),
        (Series(unit, np.arange(1.0, len(values) + 1), floats(values), marks=True),),
        rules=tuple(at + 0.5 for at in changes),
        height=0.6,
    )
    return Plot(name, heading, text, (panel,), group="runs")


def overlay(folders: list[RunFolder], metric: str) -> list[Plot]:
    """Return percentile curves of a latency, those of several runs over one another, by level.

    Args:
        folders: of climbs.
        metric: such as `ttft`.
    """
    of_each = [histograms(folder) for folder in folders]
    tags = dict.fromkeys(tag for one in of_each for tag in one if tag.endswith(f"/{metric}"))
    drawn = []
    for tag in tags:
        series = tuple(
            Series(folder.name, *_tail(by_tag[tag]), place=place)
            for place, (folder, by_tag) in enumerate(zip(folders, of_each, strict=True))
            if tag in by_tag
        )
        level = tag.partition("/")[0]
        words = f"Percentiles of {title(metric)} at {level}"
        panel = Panel(_BY_NINES, _MILLISECONDS, series)
        drawn.append(Plot(f"overlay-{metric}-{level}", words, words, (panel,), group="nines"))
    return drawn
