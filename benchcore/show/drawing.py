"""Drawing: a plot as a file of SVG or PNG, drawn by matplotlib.

A page draws its plots by itself and needs none of this; files for a paper or a slide do.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import ConfigError
from benchcore.show.charts import Axis, Panel, Plot, Series
from benchcore.version import installing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which those who see few colours can tell apart; never colour alone.
_COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
_LINES: Final = ("-", "--", "-.", ":")
_BANDS: Final = {"warmup": (_COLORS[6], 0.25), "steady": (_COLORS[2], 0.12)}
# Not a dictionary of texts to mypy: the names of the settings are literals to matplotlib.
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.grid": True,
    "grid.color": "#d8d8d8",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10.0,
    "legend.frameon": False,
    "savefig.facecolor": "white",
}
_SIZE: Final = (7.2, 3.8)


def draw(plot: Plot) -> dict[str, bytes]:
    """Return a plot as the contents of files, on white, by their suffix: `svg` and `png`.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ConfigError(f"plots need matplotlib; {installing('report')}") from None
    with rc_context({**_STYLE, "svg.hashsalt": plot.name}):
        figure = figure_of(plot)
        return {kind: _file(figure, kind) for kind in ("svg", "png")}


def _file(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(out, format=kind, dpi=144, metadata=metadata)
    return out.getvalue()


def figure_of(plot: Plot) -> Figure:
    """Return a plot as a figure of matplotlib."""
    from matplotlib.figure import Figure

    heights = [panel.height for panel in plot.panels]
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * sum(heights)), layout="constrained")
    rows = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, panel in zip(rows[:, 0], plot.panels, strict=True):
        _draw_panel(axes, panel)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    for series in panel.series:
        _draw_series(axes, series)
    for band in panel.bands:
        color, alpha = _BANDS[band.kind]
        axes.axvspan(band.begin, band.end, color=color, alpha=alpha, linewidth=0)
    for x in panel.rules:
        axes.axvline(x, color="black", linewidth=0.8, linestyle=":")
    for x, y, text in panel.labels:
        axes.annotate(text, (x, y), xytext=(6, 4), textcoords="offset points")
    axes.set(xlabel=panel.x.label, ylabel=panel.y.label)
    axes.label_outer()
    _scale(axes, "x", panel.x)
    _scale(axes, "y", panel.y)
    if len(panel.series) > 1 or panel.series[0].label != panel.y.label:
        axes.legend()


def _draw_series(axes: Axes, series: Series) -> None:
    color = _COLORS[series.place % len(_COLORS)]
    mark = _MARKS[series.place % len(_MARKS)]
    if series.form == "bars":
        axes.bar(series.x, series.y, width=series.width, color=color, alpha=0.7, label=series.label)
        return
    if series.form == "points":
        axes.scatter(
            series.x,
            series.y,
            s=7,
            marker=mark,
            color=color,
            alpha=0.6,
            linewidths=0,
            label=series.label,
        )
        return
    axes.plot(
        series.x,
        series.y,
        color=color,
        linestyle=_LINES[(series.place // len(_COLORS)) % len(_LINES)],
        linewidth=1.6,
        drawstyle="steps-post" if series.form == "step" else "default",
        marker=mark if series.marks else None,
        label=series.label,
    )


def _scale(axes: Axes, name: str, said: Axis) -> None:
    axis = getattr(axes, f"{name}axis")
    if said.scale == "log":
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        getattr(axes, f"set_{name}scale")("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.6g}"))
        axis.set_minor_formatter(NullFormatter())
    elif said.scale == "nines":
        last = math.ceil(getattr(axes, f"get_{name}lim")()[1])
        labels = [f"{100 * (1 - 10.0**-tick):.{max(0, tick - 2)}f} %" for tick in range(last + 1)]
        axis.set_ticks(list(range(last + 1)), labels)
    elif said.scale == "whole":
        axis.get_major_locator().set_params(integer=True)
    if said.from_zero:
        getattr(axes, f"set_{name}lim")(0, None)
