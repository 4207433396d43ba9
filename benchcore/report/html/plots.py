"""Plots: what a run measured, drawn.

matplotlib draws them: it makes SVG that stands in a page without a script, prints, and weighs some
ten kilobytes a plot, and the same figures as PNG; a library of JavaScript would weigh more than the
page may (Plotly's is 4.5 MB) or could not write files.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchcore.errors import ConfigError
from benchcore.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which those who see few colours can tell apart; never colour alone.
_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_LINES: Final = ("-", "--", "-.", ":")
INK: Final = "#010101"
RULE: Final = "#020202"
"""Stand for the page's own colours, which change with light and dark."""
# Not a dictionary of texts to mypy: the names of the settings are literals to matplotlib.
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchcore",
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
    "axes.grid": True,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10.0,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}
_POINTS: Final = 1500
_SIZE: Final = (7.2, 3.8)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Args:
        name: of its files.
        title: above it.
        text: what it shows, for those who cannot see it.
        figure: of matplotlib.
    """

    name: str
    title: str
    text: str
    figure: Figure

    def svg(self) -> str:
        """Return it as SVG to stand in a page, in the page's colours."""
        out = io.StringIO()
        with _styled(**{"svg.hashsalt": self.name}):
            self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        text = out.getvalue()
        text = text[text.index("<svg") :]
        return text.replace(INK, "var(--ink)").replace(RULE, "var(--line)")

    def data(self, kind: str) -> bytes:
        """Return it as a file of its own, `svg` or `png`, on white."""
        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        with _styled():
            self.figure.savefig(out, format=kind, dpi=144, facecolor="white", metadata=metadata)
        return out.getvalue()


def _styled(**own: str) -> AbstractContextManager[None]:
    """Return the settings of all plots, as a context.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ConfigError("plots need matplotlib; pip install 'benchcore[report]'") from None
    settings: Any = {**_STYLE, **own}
    return rc_context(settings)


def plots(folder: RunFolder, gpus: int | None = None) -> list[Plot]:
    """Return the plots of a run, those that there is something to show of.

    Args:
        folder: of a climb.
        gpus: how many the server has, where that is known.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with _styled():
        found = [
            _curve(folder),
            *(_percentiles(folder, metric, name) for metric, name in _LATENCIES),
            *(_timeline(folder, level) for level in folder.levels),
            _scatter(folder),
            _goodput(folder),
            _pareto(folder, gpus),
        ]
    return [plot for plot in found if plot is not None]


_LATENCIES: Final = (
    ("ttft", "time to first token"),
    ("itl", "inter-token latency"),
    ("e2e", "end-to-end latency"),
)


def _new(*shape: int, height: float = 1.0, **given: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * height), layout="constrained")
    return figure, figure.subplots(*(shape or (1, 1)), **given)


def _log(axes: Axes, *which: str) -> None:
    """Make axes logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.6g}"))
        axis.set_minor_formatter(NullFormatter())


def _name(level: Mapping[str, Any]) -> str:
    return str(level["level"]) if level["repeat"] == 1 else f"{level['level']} #{level['repeat']}"


def _style(place: int) -> dict[str, Any]:
    return {
        "color": _COLORS[place % len(_COLORS)],
        "linestyle": _LINES[(place // len(_COLORS)) % len(_LINES)],
        "linewidth": 1.6,
    }


def _curve(folder: RunFolder) -> Plot | None:
    levels = [one for one in folder.levels if one.get("output_token_throughput")]
    name, unit = "output_token_throughput", "output tokens per second"
    if not levels:
        levels = [one for one in folder.levels if one.get("request_throughput")]
        name, unit = "request_throughput", "requests per second"
    if not levels:
        return None
    figure, axes = _new()
    for place, (metric, statistic) in enumerate((("ttft", "p50"), ("ttft", "p99"), ("e2e", "p99"))):
        points = [
            (one[name], value * 1e3)
            for one in levels
            if (value := (one["metrics"].get(metric) or {}).get(statistic)) is not None
        ]
        if points:
            label = f"{metric.upper() if metric == 'ttft' else metric} {statistic}"
            axes.plot(
                *zip(*points, strict=True), marker=_MARKS[place], label=label, **_style(place)
            )
    top = [(one[name], (one["metrics"].get("e2e") or {}).get("p99")) for one in levels]
    for one, (x, y) in zip(levels, top, strict=True):
        if y is not None:
            axes.annotate(
                _name(one), (x, y * 1e3), xytext=(0, 6), textcoords="offset points", ha="center"
            )
    axes.set(xlabel=unit, ylabel="milliseconds")
    _log(axes, "y")
    axes.legend()
    text = f"Latency against throughput, a point for each of {len(levels)} levels"
    return Plot("curve", "Throughput and latency", text, figure)


def _percentiles(folder: RunFolder, metric: str, words: str) -> Plot | None:
    found = histograms(folder)
    figure, axes = _new()
    drawn = 0
    for place, level in enumerate(folder.levels):
        name = level["level"] if level["repeat"] == 1 else f"{level['level']}.{level['repeat']}"
        hdr = found.get(f"{name}/{metric}")
        if hdr is None or not hdr.total_count:
            continue
        # The tail by nines: 0, 90, 99, 99.9 %, up to where one sample is left.
        most = max(1.0, math.log10(hdr.total_count))
        nines = np.linspace(0, most, 120)
        values = [hdr.get_value_at_percentile(100 * (1 - 10**-nine)) / 1e6 for nine in nines]
        axes.plot(nines, values, label=_name(level), **_style(place))
        drawn += 1
    if not drawn:
        return None
    _by_nines(axes)
    title = words[0].upper() + words[1:]
    return Plot(f"percentiles-{metric}", title, f"Percentiles of the {words} by level", figure)


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


def _timeline(folder: RunFolder, level: Mapping[str, Any]) -> Plot | None:
    rows = _seconds(folder, level)
    if len(rows) < 2:
        return None
    seconds = [float(row["second"]) + 0.5 for row in rows]

    def column(name: str, scale: float = 1.0) -> list[float]:
        return [float(row[name]) * scale if row.get(name) else math.nan for row in rows]

    figure, (load, tokens, first) = _new(3, 1, height=1.4, sharex=True)
    load.plot(seconds, column("in_flight"), label="in flight", **_style(0))
    failed = column("failed")
    if any(failed):
        load.bar(seconds, failed, color=_COLORS[1], alpha=0.7, label="failed")
    tokens.plot(seconds, column("tokens"), label="tokens/s", **_style(2))
    first.plot(seconds, column("ttft_p50_seconds", 1e3), label="TTFT p50", **_style(0))
    first.plot(seconds, column("ttft_p99_seconds", 1e3), label="TTFT p99", **_style(1))
    warmup, window = level.get("warmup_seconds") or 0.0, level.get("window_seconds") or 0.0
    for axes, name in ((load, "requests"), (tokens, "tokens/s"), (first, "ms")):
        if warmup:
            axes.axvspan(0, warmup, color=_COLORS[6], alpha=0.25, linewidth=0)
        _steady(axes, level)
        axes.axvline(warmup + window, color=INK, linewidth=0.8, linestyle=":")
        axes.set_ylabel(name)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", ncols=2)
    first.set_xlabel("seconds; grey: warm-up, green: steady state, dotted: the window's end")
    name = _name(level)
    return Plot(
        f"timeline-{name.replace(' #', '-')}",
        f"{name} second by second",
        f"In flight, tokens per second and time to first token of level {name} over time",
        figure,
    )


def _steady(axes: Axes, level: Mapping[str, Any]) -> None:
    steady = level.get("steady_state") or {}
    first, last = steady.get("first_second"), steady.get("last_second")
    if steady.get("found") and first is not None and last is not None:
        axes.axvspan(first, last + 1, color=_COLORS[2], alpha=0.12, linewidth=0)


def _seconds(folder: RunFolder, level: Mapping[str, Any]) -> list[dict[str, str]]:
    path = folder.path / "timeline.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            row
            for row in csv.DictReader(file)
            if row["level"] == level["level"]
            and row["repeat"] == str(level["repeat"])
            and None not in row.values()
        ]


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
    figure, axes = _new()
    total = shown = 0
    for place, level in enumerate(folder.levels):
        requests = folder.requests(level["level"], level["repeat"])
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
            marker=_MARKS[place % len(_MARKS)],
            color=_COLORS[place % len(_COLORS)],
            alpha=0.6,
            linewidths=0,
            label=_name(level),
        )
    if not shown:
        return None
    axes.set(xlabel="sent, seconds of its level", ylabel="TTFT, milliseconds")
    _log(axes, "y")
    axes.legend(markerscale=2)
    thin = f"{shown:,} of {total:,} requests, the slowest of each moment kept"
    text = thin if shown < total else f"{total:,} requests"
    return Plot("requests", "Each request", f"Time to first token of {text}", figure)


def _goodput(folder: RunFolder) -> Plot | None:
    figure, axes = _new()
    drawn = 0
    for place, level in enumerate(folder.levels):
        requests = folder.requests(level["level"], level["repeat"])
        rate = level.get("request_throughput")
        if requests is None or not rate or not level.get("ok"):
            continue
        ttft = np.sort(requests.figure("ttft")) * 1e3
        if not len(ttft):
            continue
        shares = np.arange(1, len(ttft) + 1) / len(ttft)
        keep = np.unique(np.linspace(0, len(ttft) - 1, 150).astype(int))
        axes.step(
            ttft[keep], shares[keep] * rate, where="post", label=_name(level), **_style(place)
        )
        drawn += 1
    if not drawn:
        return None
    axes.set(xlabel="limit of the TTFT, milliseconds", ylabel="requests/s within it")
    _log(axes, "x")
    axes.set_ylim(bottom=0)
    axes.legend()
    return Plot(
        "goodput", "Goodput by limit", "Requests per second that meet a limit of the TTFT", figure
    )


def _pareto(folder: RunFolder, gpus: int | None) -> Plot | None:
    count = gpus or 1
    points = [
        (
            level["tokens_per_second_per_user"],
            level["output_token_throughput"] / count,
            _name(level),
        )
        for level in folder.levels
        if level.get("tokens_per_second_per_user") and level.get("output_token_throughput")
    ]
    if len(points) < 2:
        return None
    figure, axes = _new()
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], marker="o", **_style(0))
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
    with _styled():
        figure, axes = _new(height=0.6)
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, **_style(0))
        for at in changes:
            axes.axvline(at + 0.5, color=_COLORS[1], linestyle="--", linewidth=1.2)
        axes.set(xlabel="run", ylabel=unit)
        axes.set_ylim(bottom=0)
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
    with _styled():
        for tag in tags:
            figure, axes = _new()
            for place, (folder, one) in enumerate(zip(folders, found, strict=True)):
                hdr = one.get(tag)
                if hdr is None or not hdr.total_count:
                    continue
                nines = np.linspace(0, max(1.0, math.log10(hdr.total_count)), 120)
                values = [hdr.get_value_at_percentile(100 * (1 - 10**-nine)) for nine in nines]
                milliseconds = [value / 1e6 for value in values]
                axes.plot(nines, milliseconds, label=folder.name, **_style(place))
            _by_nines(axes)
            level = tag.partition("/")[0]
            words = f"Percentiles of {metric.upper() if metric != 'e2e' else metric} at {level}"
            drawn.append(Plot(f"overlay-{metric}-{level}", words, words, figure))
    return drawn


def _by_nines(axes: Axes) -> None:
    """Label an axis of nines, and draw the legend."""
    last = math.ceil(axes.get_xlim()[1])
    labels = [f"{100 * (1 - 10.0**-tick):.{max(0, tick - 2)}f} %" for tick in range(1, last + 1)]
    axes.set_xticks(list(range(last + 1)), ["0 %", *labels])
    axes.set(xlabel="percentile", ylabel="milliseconds")
    _log(axes, "y")
    axes.legend()
