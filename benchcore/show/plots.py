"""Plots: what a run measured, and what several did, drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchcore.config.catalogue import DRAWN, LATENCIES, title
from benchcore.runs.reading import Floats, RunFolder
from benchcore.runs.run import Level
from benchcore.show.drawing import (
    COLORS,
    INK,
    MARKS,
    Plot,
    by_nines,
    line_style,
    log_axes,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plots(folder: RunFolder, gpus: int | None = None) -> list[Plot]:
    """Return the plots of a run, those that there is something to show of.

    Args:
        folder: of a climb.
        gpus: how many the server has; `None`: what the run's label `gpus` says, if anything.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with styled():
        found = [
            _curve(folder),
            *(_percentiles(folder, metric) for metric in DRAWN),
            *(_timeline(folder, level) for level in folder.levels),
            _scatter(folder),
            _goodput(folder),
            _pareto(folder, gpus or _gpus(folder)),
        ]
    return [plot for plot in found if plot is not None]


_POINTS: Final = 1500


def _curve(folder: RunFolder) -> Plot | None:
    name, unit = "output_token_throughput", "output tokens per second"
    if not any(one.output_token_throughput for one in folder.levels):
        name, unit = "request_throughput", "requests per second"
    levels = [(one, rate) for one in folder.levels if (rate := one.figure(name))]
    if not levels:
        return None
    figure, axes = new_figure()
    for place, (metric, statistic) in enumerate((("ttft", "p50"), ("ttft", "p99"), ("e2e", "p99"))):
        points = [
            (rate, value * 1e3)
            for one, rate in levels
            if (value := one.figure(f"{metric}.{statistic}")) is not None
        ]
        if points:
            label = title(f"{metric}.{statistic}")
            axes.plot(
                *zip(*points, strict=True), marker=MARKS[place], label=label, **line_style(place)
            )
    for one, rate in levels:
        top = one.figure("e2e.p99")
        if top is not None:
            axes.annotate(
                one.name, (rate, top * 1e3), xytext=(0, 6), textcoords="offset points", ha="center"
            )
    axes.set(xlabel=unit, ylabel="milliseconds")
    log_axes(axes, "y")
    axes.legend()
    text = f"Latency against throughput, a point for each of {len(levels)} levels"
    return Plot("curve", "Throughput and latency", text, figure)


def _percentiles(folder: RunFolder, metric: str) -> Plot | None:
    found = histograms(folder)
    figure, axes = new_figure()
    drawn = 0
    for place, level in enumerate(folder.levels):
        name = level.level if level.repeat == 1 else f"{level.level}.{level.repeat}"
        hdr = found.get(f"{name}/{metric}")
        if hdr is None or not hdr.total_count:
            continue
        axes.plot(*_tail(hdr), label=level.name, **line_style(place))
        drawn += 1
    if not drawn:
        return None
    by_nines(axes)
    found_title = LATENCIES[metric]
    words = f"Percentiles of the {found_title.long} by level"
    return Plot(f"percentiles-{metric}", found_title.full, words, figure)


def _tail(hdr: Any) -> tuple[np.ndarray, list[float]]:
    """Return the percentiles of a histogram by nines, and their milliseconds.

    The nines are 0, 1, 2 for 0, 90, 99 %, up to where one sample is left.
    """
    nines = np.linspace(0, max(1.0, math.log10(hdr.total_count)), 120)
    percentiles = (100 * (1 - 10**-nines)).tolist()
    values = hdr.get_percentile_to_value_dict(percentiles)
    return nines, [values[one] / 1e6 for one in percentiles]


def histograms(folder: RunFolder) -> dict[str, Any]:
    """Return the histograms of a run by `level/metric`, values in ns; none where it left none."""
    path = folder.path / "histograms.hlog"
    if not path.is_file():
        return {}
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    reader = HistogramLogReader(str(path), HdrHistogram(1, 3600 * 10**9, 3))
    found = {}
    while (one := reader.get_next_interval_histogram()) is not None:
        found[one.get_tag()] = one
    return found


def _timeline(folder: RunFolder, level: Level) -> Plot | None:
    rows = folder.timeline(level)
    if rows is None or len(rows) < 2:
        return None
    seconds = rows.column("second") + 0.5

    def column(name: str, scale: float = 1.0) -> Floats:
        return rows.column(name) * scale

    figure, (load, tokens, first) = new_figure(3, 1, height=1.4, sharex=True)
    load.plot(seconds, column("in_flight"), label="in flight", **line_style(0))
    failed = column("failed")
    if failed.any():
        load.bar(seconds, failed, color=COLORS[1], alpha=0.7, label="failed")
    tokens.plot(seconds, column("tokens"), label="tokens/s", **line_style(2))
    first.plot(seconds, column("ttft_p50_seconds", 1e3), label="TTFT p50", **line_style(0))
    first.plot(seconds, column("ttft_p99_seconds", 1e3), label="TTFT p99", **line_style(1))
    warmup, window = level.warmup_seconds or 0.0, level.window_seconds or 0.0
    for axes, name in ((load, "requests"), (tokens, "tokens/s"), (first, "ms")):
        if warmup:
            axes.axvspan(0, warmup, color=COLORS[6], alpha=0.25, linewidth=0)
        _steady(axes, level)
        axes.axvline(warmup + window, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", ncols=2)
    first.set_xlabel("seconds; grey: warm-up, green: steady state, dotted: the window's end")
    name = level.name
    return Plot(
        f"timeline-{name.replace(' #', '-')}",
        f"{name} second by second",
        f"In flight, tokens per second and time to first token of level {name} over time",
        figure,
    )


def _steady(axes: Axes, level: Level) -> None:
    steady = level.steady_state
    if steady is None or not steady.found:
        return
    if steady.start_seconds is not None and steady.end_seconds is not None:
        begin, end = steady.start_seconds, steady.end_seconds
        axes.axvspan(begin, end, color=COLORS[2], alpha=0.12, linewidth=0)


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
    others = np.setdiff1d(order, highest)
    drawn = np.random.default_rng(0).choice(others, most - len(highest), replace=False)
    kept = np.sort(np.concatenate([highest, drawn]))
    return x[kept], y[kept]


def _scatter(folder: RunFolder) -> Plot | None:
    figure, axes = new_figure()
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
        axes.scatter(
            x,
            y,
            s=7,
            marker=MARKS[place % len(MARKS)],
            color=COLORS[place % len(COLORS)],
            alpha=0.6,
            linewidths=0,
            label=level.name,
        )
    if not shown:
        return None
    axes.set(xlabel="sent, seconds of its level", ylabel="TTFT, milliseconds")
    log_axes(axes, "y")
    axes.legend(markerscale=2)
    thin = f"{shown:,} of {total:,} requests, the slowest of each moment kept"
    text = thin if shown < total else f"{total:,} requests"
    return Plot("requests", "Each request", f"Time to first token of {text}", figure)


def _goodput(folder: RunFolder) -> Plot | None:
    figure, axes = new_figure()
    drawn = 0
    for place, level in enumerate(folder.levels):
        requests = folder.requests(level.level, level.repeat)
        rate = level.request_throughput
        if requests is None or not rate or not level.ok:
            continue
        ttft = np.sort(requests.figure("ttft")) * 1e3
        if not len(ttft):
            continue
        shares = np.arange(1, len(ttft) + 1) / len(ttft)
        keep = np.unique(np.linspace(0, len(ttft) - 1, 150).astype(int))
        axes.step(
            ttft[keep], shares[keep] * rate, where="post", label=level.name, **line_style(place)
        )
        drawn += 1
    if not drawn:
        return None
    axes.set(xlabel="limit of the TTFT, milliseconds", ylabel="requests/s within it")
    log_axes(axes, "x")
    axes.set_ylim(bottom=0)
    axes.legend()
    return Plot(
        "goodput", "Goodput by limit", "Requests per second that meet a limit of the TTFT", figure
    )


def _gpus(folder: RunFolder) -> int | None:
    said = folder.run.label("gpus")
    return int(said) if said.isdecimal() and int(said) else None


def _pareto(folder: RunFolder, gpus: int | None) -> Plot | None:
    count = gpus or 1
    points = [
        (level.tokens_per_second_per_user, level.output_token_throughput / count, level.name)
        for level in folder.levels
        if level.tokens_per_second_per_user and level.output_token_throughput
    ]
    if len(points) < 2:
        return None
    figure, axes = new_figure()
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", **line_style(0))
    for x, y, name in points:
        axes.annotate(name, (x, y), xytext=(6, 4), textcoords="offset points")
    of_what = f"per GPU ({gpus})" if gpus else "of the server: --gpus N says how many GPUs it has"
    axes.set(xlabel="tokens per second per user", ylabel="tokens/s")
    axes.set_ylim(bottom=0)
    return Plot(
        "pareto",
        "Per user and per GPU",
        f"Tokens per second per user against tokens per second {of_what}",
        figure,
    )


def trend(values: list[float], changes: list[int], unit: str) -> Figure:
    """Return a series of figures, with the places marked at which it changes its level.

    Args:
        values: oldest first.
        changes: places.
        unit: of the values.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with styled():
        figure, axes = new_figure(height=0.6)
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, **line_style(0))
        for at in changes:
            axes.axvline(at + 0.5, color=COLORS[1], linestyle="--", linewidth=1.2)
        axes.set(xlabel="run", ylabel=unit)
        axes.set_ylim(0, max(values) * 1.1 or 1)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def overlay(folders: list[RunFolder], metric: str) -> list[Plot]:
    """Return percentile curves of a latency, those of several runs over one another, by level.

    Args:
        folders: of climbs.
        metric: such as `ttft`.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    found = [histograms(folder) for folder in folders]
    tags = dict.fromkeys(tag for one in found for tag in one if tag.endswith(f"/{metric}"))
    drawn = []
    with styled():
        for tag in tags:
            figure, axes = new_figure()
            for place, (folder, one) in enumerate(zip(folders, found, strict=True)):
                hdr = one.get(tag)
                if hdr is None or not hdr.total_count:
                    continue
                axes.plot(*_tail(hdr), label=folder.name, **line_style(place))
            by_nines(axes)
            level = tag.partition("/")[0]
            words = f"Percentiles of {title(metric)} at {level}"
            drawn.append(Plot(f"overlay-{metric}-{level}", words, words, figure))
    return drawn
