"""Steady state: the part of a window in which the load was what it should be."""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass

REACHED = 0.95
"""Closed loop: share of the target that a second's mean in-flight must reach."""
TREND_Z = 2.576
"""Open loop: a trend is one at 99 % confidence …"""
TREND_GROWTH = 1.25
"""… that also makes the last quarter of the window this much fuller than the first, or emptier."""
FEWEST_SECONDS = 8
"""Open loop: fewer seconds than this show no trend either way."""


@dataclass(frozen=True, slots=True)
class SteadyState:
    """Where a steady state lies.

    Args:
        found: whether there is one; `None`: too short to tell.
        first_second: of the level's seconds, the first in it.
        last_second: the last in it.
        why: what was seen, in a few words.
        grows: whether in-flight grows: the server does not keep up.
    """

    found: bool | None
    first_second: int = 0
    last_second: int = 0
    why: str = ""
    grows: bool = False


def closed_steady(means: Sequence[float], target: int, first: int = 0) -> SteadyState:
    """Find the steady state of a closed loop: its longest run of seconds at 95 % or more.

    Args:
        means: mean in-flight of each whole second of the window.
        target: the concurrency.
        first: the number of the first of these seconds.
    """
    if not means:
        return SteadyState(None, why="the window is shorter than a second")
    begin = best = best_length = 0
    for index, mean in enumerate(means):
        if mean < REACHED * target:
            begin = index + 1
        elif index + 1 - begin > best_length:
            best, best_length = begin, index + 1 - begin
    if not best_length:
        return SteadyState(False, why=f"no second reached {REACHED:.0%} of {target} in flight")
    last = best + best_length - 1
    return SteadyState(True, first + best, first + last, f"{best_length} of {len(means)} s")


def open_steady(means: Sequence[float], first: int = 0) -> SteadyState:
    """Find out whether in-flight has a trend over the window of an open loop.

    Mann and Kendall's test of trend (Kendall, 1975), and a change that matters: in-flight is
    correlated from second to second, which makes the test alone cry wolf.

    Args:
        means: mean in-flight of each whole second of the window.
        first: the number of the first of these seconds.
    """
    count = len(means)
    if count < FEWEST_SECONDS:
        return SteadyState(None, why=f"{count} s show no trend either way")
    last = first + count - 1
    z = mann_kendall_z(means)
    quarter = max(count // 4, 1)
    early = sum(means[:quarter]) / quarter
    late = sum(means[-quarter:]) / quarter
    less, more = sorted((early, late))
    # An integer count of few requests jitters by about its square root.
    matters = more > less * TREND_GROWTH and more - less > math.sqrt(less) + 1
    if matters and z > TREND_Z:
        why = f"in-flight grew from {early:.1f} to {late:.1f}"
        return SteadyState(False, why=why, grows=True)
    if matters and z < -TREND_Z:
        return SteadyState(False, why=f"in-flight fell from {early:.1f} to {late:.1f}")
    return SteadyState(True, first, last, f"in-flight {early:.1f} to {late:.1f}, no trend")


def mann_kendall_z(values: Sequence[float]) -> float:
    """Return the normal score of Mann and Kendall's S, corrected for ties."""
    count = len(values)
    s = 0
    before: list[float] = []
    for value in values:
        # Earlier ones that are less, without those that are greater.
        s += bisect_left(before, value) - (len(before) - bisect_right(before, value))
        insort(before, value)
    ties: dict[float, int] = {}
    for value in values:
        ties[value] = ties.get(value, 0) + 1
    variance = count * (count - 1) * (2 * count + 5)
    variance -= sum(t * (t - 1) * (2 * t + 5) for t in ties.values())
    if variance <= 0 or s == 0:
        return 0.0
    return (s - math.copysign(1, s)) / math.sqrt(variance / 18)
