"""Change points: where a series of figures, night after night, became another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

P_VALUE: Final = 0.01
FEWEST: Final = 4
"""Values on either side of a change."""


def change_points(values: Sequence[float]) -> list[int]:
    """Return the places at which a series changes its level: each the first of its new level.

    Pettitt's test (1979), which asks for no distribution and minds no outlier, applied again to
    what lies before and behind a change that it finds (binary segmentation).

    Args:
        values: in the order of time.
    """
    return sorted(_within(np.asarray(values, dtype=np.float64), 0))


def _within(values: np.ndarray, offset: int) -> list[int]:
    place, p = pettitt(values)
    if place is None or p >= P_VALUE:
        return []
    # Ranks say that there is a change; a night next to it that is a little off moves their place.
    place = min(range(FEWEST, len(values) - FEWEST + 1), key=lambda at: _misfit(values, at))
    return [
        offset + place,
        *_within(values[:place], offset),
        *_within(values[place:], offset + place),
    ]


def _misfit(values: np.ndarray, place: int) -> float:
    """Return how far values lie from the medians of the two sides of a place."""
    sides = values[:place], values[place:]
    return sum(float(np.abs(side - np.median(side)).sum()) for side in sides)


def pettitt(values: np.ndarray) -> tuple[int | None, float]:
    """Return where a series most likely changes, and how likely chance alone does that.

    Args:
        values: shape (n,).

    Returns:
        the first place behind the change, `None` where there are too few values; the p value
        2·exp(-6K²/(n³+n²)).
    """
    n = len(values)
    if n < 2 * FEWEST:
        return None, 1.0
    signs = np.sign(values[:, None] - values[None, :])
    best, place = 0.0, None
    for at in range(FEWEST, n - FEWEST + 1):
        statistic = abs(float(signs[:at, at:].sum()))
        if statistic > best:
            best, place = statistic, at
    return place, min(1.0, 2 * math.exp(-6 * best * best / (n**3 + n**2)))
