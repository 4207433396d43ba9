"""Overlays: curves of several runs over one another, and of one figure over many runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from benchcore.config.titles import title
from benchcore.report.html.drawing import (
    COLORS,
    Plot,
    by_nines,
    line_style,
    new_figure,
    styled,
)
from benchcore.report.html.plots import histograms
from benchcore.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
                nines = np.linspace(0, max(1.0, math.log10(hdr.total_count)), 120)
                values = [hdr.get_value_at_percentile(100 * (1 - 10**-nine)) for nine in nines]
                milliseconds = [value / 1e6 for value in values]
                axes.plot(nines, milliseconds, label=folder.name, **line_style(place))
            by_nines(axes)
            level = tag.partition("/")[0]
            words = f"Percentiles of {title(metric)} at {level}"
            drawn.append(Plot(f"overlay-{metric}-{level}", words, words, figure))
    return drawn
