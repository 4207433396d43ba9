"""Steady state: the part of a window in which the load was what it should be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

REACHED = 0.95
"""Closed loop: share of the target that a second's mean in-flight must reach."""
TREND_Z = 2.576
"""Open loop: a trend is one at 99 % confidence …"""
TREND_GROWTH = 1.25
"""… that also makes the last quarter of the window this much fuller than the first."""
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
    """

    found: bool | None
    first_second: int = 0
    last_second: int = 0
    why: str = ""


def closed_steady(means: Sequence[float], target: int, first: int = 0) -> SteadyState:
    """Find the steady state of a closed loop: from the first to the last second at 95 % or more.

    Args:
        means: mean in-flight of each whole second of the window.
        target: the concurrency.
        first: the number of the first of these seconds.
    """
    if not means:
        return SteadyState(None, why="the window is shorter than a second")
    full = [index for index, mean in enumerate(means) if mean >= REACHED * target]
    if not full:
        return SteadyState(False, why=f"no second reached {REACHED:.0%} of {target} in flight")
    return SteadyState(True, first + full[0], first + full[-1], f"{len(full)} of {len(means)} s")


def open_steady(means: Sequence[float], first: int = 0) -> SteadyState:
    """Find out whether in-flight grows over the window of an open loop.

    Mann and Kendall's test of trend (Kendall, 1975), and a growth that matters: in-flight is
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
    # An integer count of few requests jitters by about its square root.
    if z > TREND_Z and late > early * TREND_GROWTH and late - early > math.sqrt(early) + 1:
        return SteadyState(False, why=f"in-flight grew from {early:.1f} to {late:.1f}")
    return SteadyState(True, first, last, f"in-flight {early:.1f} to {late:.1f}, no trend")


def mann_kendall_z(values: Sequence[float]) -> float:
    """Return the normal score of Mann and Kendall's S, corrected for ties."""
    count = len(values)
    s = sum(
        (values[later] > values[earlier]) - (values[later] < values[earlier])
        for earlier in range(count)
        for later in range(earlier + 1, count)
    )
    ties: dict[float, int] = {}
    for value in values:
        ties[value] = ties.get(value, 0) + 1
    variance = count * (count - 1) * (2 * count + 5)
    variance -= sum(t * (t - 1) * (2 * t + 5) for t in ties.values())
    if variance <= 0 or s == 0:
        return 0.0
    return (s - math.copysign(1, s)) / math.sqrt(variance / 18)
