"""Charts: what a plot shows, whoever draws it: the script of a page, or matplotlib for files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchcore.runs.reading import Floats

Scale = Literal["linear", "log", "nines", "whole"]
"""`nines`: 0, 1, 2 stand for 0, 90 and 99 %; `whole`: numbers without fractions."""
Form = Literal["line", "step", "points", "bars"]

_DIGITS: Final = 6
"""That a page is told of a figure: more than any screen has pixels."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Args:
        label: along it, with its unit.
        scale: of it.
        from_zero: whether it begins at 0.
    """

    label: str
    scale: Scale = "linear"
    from_zero: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Values that belong to one another.

    Args:
        label: in the legend.
        x: shape (n,); a line goes through them in this order, even where it turns back.
        y: shape (n,); NaN: a gap.
        form: how it is drawn. A step keeps its value up to the next x.
        place: which of the colours, dashes and marks it has.
        marks: whether the points of a line are marked.
        width: of bars, in units of x.
    """

    label: str
    x: Floats
    y: Floats
    form: Form = "line"
    place: int = 0
    marks: bool = False
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of x that is shaded.

    Args:
        kind: `warmup` is grey, `steady` green.
        begin: of it.
        end: of it.
    """

    kind: Literal["warmup", "steady"]
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Args:
        x: its axis; of several panels only the last shows its label.
        y: its axis.
        series: shown in it.
        bands: shaded.
        rules: upright lines, by x; dotted.
        labels: texts beside points, as (x, y, text).
        height: in heights of a usual plot.
    """

    x: Axis
    y: Axis
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()
    rules: tuple[float, ...] = ()
    labels: tuple[tuple[float, float, str], ...] = ()
    height: float = 1.0


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Args:
        name: of its files, and in a page.
        title: above it.
        text: what it shows, for those who cannot see it.
        panels: one below the other, with one x.
        group: plots of one group share the cursor and the zoom; empty: it stands alone.
    """

    name: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    group: str = field(default="", kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """Return it as the script of a page reads it."""
        return {
            "name": self.name,
            "title": self.title,
            "text": self.text,
            "group": self.group or self.name,
            "panels": [_panel(panel) for panel in self.panels],
        }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "x": _axis(panel.x),
        "y": _axis(panel.y),
        "height": panel.height,
        "bands": [[band.kind, band.begin, band.end] for band in panel.bands],
        "rules": list(panel.rules),
        "labels": [list(label) for label in panel.labels],
        "series": [
            {
                "label": series.label,
                "form": series.form,
                "place": series.place,
                "marks": series.marks,
                "width": series.width,
                "x": _rounded(series.x),
                "y": _rounded(series.y),
            }
            for series in panel.series
        ],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    return {"label": axis.label, "scale": axis.scale, "fromZero": axis.from_zero}


def _rounded(values: Floats) -> list[float | None]:
    return [
        float(f"{value:.{_DIGITS}g}") if known else None
        for value, known in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)
    ]


def floats(values: Sequence[float | None]) -> Floats:
    """Return values as an array; NaN for those that are not known."""
    return np.array([np.nan if value is None else value for value in values], float)


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """Return places among `count`, evenly spaced, the first and the last included.

    Args:
        count: of what there is.
        most: places; where there are fewer, all of them.
    """
    kept = min(count, most)
    return np.arange(kept) * (count - 1) // max(kept - 1, 1)


def points(pairs: Iterator[tuple[float, float]]) -> tuple[Floats, Floats]:
    """Return the x and the y of points."""
    both = np.array(list(pairs), float).reshape(-1, 2)
    return both[:, 0], both[:, 1]
