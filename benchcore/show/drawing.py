"""Drawing: how a plot looks, and how it becomes SVG or PNG.

matplotlib draws: it makes SVG that stands in a page without a script, prints, and weighs some ten
kilobytes a plot, and the same as PNG; a library of JavaScript would weigh more than the page may
(Plotly's is 4.5 MB) or could not write files.
"""

from __future__ import annotations

import importlib.util
import io
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import ConfigError
from benchcore.version import installing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which those who see few colours can tell apart; never colour alone.
COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MARKS: Final = ("o", "s", "^", "D", "v", "P", "X")
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
        with styled(**{"svg.hashsalt": self.name}):
            self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        text = out.getvalue()
        text = text[text.index("<svg") :]
        return text.replace(INK, "var(--ink)").replace(RULE, "var(--line)")

    def data(self, kind: str) -> bytes:
        """Return it as a file of its own, `svg` or `png`, on white."""
        out = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        with styled():
            self.figure.savefig(out, format=kind, dpi=144, facecolor="white", metadata=metadata)
        return out.getvalue()


def can_draw() -> bool:
    """Return whether matplotlib is installed, without importing it (0.6 s)."""
    return importlib.util.find_spec("matplotlib") is not None


def styled(**own: str) -> AbstractContextManager[None]:
    """Return the settings of all plots, as a context.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ConfigError(f"plots need matplotlib; {installing('report')}") from None
    settings: Any = {**_STYLE, **own}
    return rc_context(settings)


def new_figure(*shape: int, height: float = 1.0, **given: Any) -> tuple[Figure, Any]:
    """Return a figure and its axes; to be called within `styled`.

    Args:
        *shape: rows and columns of axes; one without.
        height: in heights of a usual plot.
        **given: for matplotlib's `subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * height), layout="constrained")
    return figure, figure.subplots(*(shape or (1, 1)), **given)


def log_axes(axes: Axes, *which: str) -> None:
    """Make axes logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        getattr(axes, f"set_{name}scale")("log")
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.6g}"))
        axis.set_minor_formatter(NullFormatter())


def line_style(place: int) -> dict[str, Any]:
    """Return how the line at a place looks: never told apart by colour alone for long."""
    return {
        "color": COLORS[place % len(COLORS)],
        "linestyle": _LINES[(place // len(COLORS)) % len(_LINES)],
        "linewidth": 1.6,
    }


def by_nines(axes: Axes) -> None:
    """Label an axis of nines, and draw the legend."""
    last = math.ceil(axes.get_xlim()[1])
    labels = [f"{100 * (1 - 10.0**-tick):.{max(0, tick - 2)}f} %" for tick in range(1, last + 1)]
    axes.set_xticks(list(range(last + 1)), ["0 %", *labels])
    axes.set(xlabel="percentile", ylabel="milliseconds")
    log_axes(axes, "y")
    axes.legend()
