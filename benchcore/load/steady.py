"""Steady state: the part of a window in which the load was what it should be."""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.metrics.scores import student_tail

REACHED = 0.95
"""Closed loop: share of the target that a second's mean in-flight must reach."""
TREND_Z = 2.576
"""Open loop: a trend is one at 99 % confidence …"""
TREND_GROWTH = 1.25
"""… that also makes the last quarter of the window this much fuller than the first, or emptier."""
FEWEST_SECONDS = 8
"""Open loop: fewer seconds than this show no trend either way."""
MOST_BATCHES: Final = 20
FEWEST_BATCHES: Final = 4
"""Open loop: batches of at least one mean e2e that it takes to tell growth from chance."""
FILLED_AFTER: Final = 1.0
"""Open loop: mean e2e after which a server that was idle is as full as it gets."""
GROWTH_Z: Final = 0.75
"""Open loop: growth in standard deviations of the difference of two counts of requests …"""
SLOWER_P: Final = 0.005
"""… and how likely chance alone makes requests take that much longer and longer. In a stable server
the two are hardly related: both happen in fewer than one window in a hundred."""
SLOWER_BY: Final = 1.1
"""Open loop: the last batch's e2e is to be this much longer than the first's, by the trend."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What came and what went in an open loop, in seconds from the level's start.

    Args:
        begin: of the window.
        end: of it.
        arrived: shape (n,), when the requests of the window were planned, in order.
        lasted: shape (n,), from then to their end.
        ended: shape (m,), when those ended that ended inside the window.
    """

    begin: float
    end: float
    arrived: NDArray[np.float64]
    lasted: NDArray[np.float64]
    ended: NDArray[np.float64]


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


def open_steady(means: Sequence[float], first: int = 0, flow: Flow | None = None) -> SteadyState:
    """Find out whether in-flight has a trend over the window of an open loop.

    By what came and went, where that is given; else by Mann and Kendall's test of trend (Kendall,
    1975), and a change that a stable server of unlimited room hardly makes: the requests on their
    way in it are Poisson distributed, so that two counts of N differ by about the root of 2N.

    Args:
        means: mean in-flight of each whole second of the window.
        first: the number of the first of these seconds.
        flow: what came and what went.
    """
    count = len(means)
    if count < FEWEST_SECONDS:
        return SteadyState(None, why=f"{count} s show no trend either way")
    last = first + count - 1
    quarter = max(count // 4, 1)
    early = sum(means[:quarter]) / quarter
    late = sum(means[-quarter:]) / quarter
    if flow is not None:
        grows = _grows(flow)
        if grows is None:
            why = f"the window is shorter than {FEWEST_BATCHES} requests last: no trend either way"
            return SteadyState(None, why=why)
        if grows:
            why = f"in-flight grew from {early:.1f} to {late:.1f}"
            return SteadyState(False, why=why, grows=True)
    z = mann_kendall_z(means)
    less, more = sorted((early, late))
    matters = more > less * TREND_GROWTH and more - less > 3 * math.sqrt(2 * less) + 1
    if matters and z > TREND_Z and flow is None:
        why = f"in-flight grew from {early:.1f} to {late:.1f}"
        return SteadyState(False, why=why, grows=True)
    if matters and z < -TREND_Z:
        return SteadyState(False, why=f"in-flight fell from {early:.1f} to {late:.1f}")
    return SteadyState(True, first, last, f"in-flight {early:.1f} to {late:.1f}, no trend")


def _grows(flow: Flow) -> bool | None:
    """Return whether more comes than goes, and takes longer and longer; `None`: too short.

    Arrivals are held against completions in batches of at least one mean e2e (batch means; Conway
    1963). A server that keeps up has as many of the one as of the other, but for those on their way
    at the two ends, Poisson distributed where it has unlimited room; and there the time that a
    request takes has no trend. Where more comes than goes, each that comes waits for more of those
    before it: the slope of e2e over the batches (least squares, Student's t) tells the two apart
    long before their number does.
    """
    # What the first requests take: later ones may be waiting for a server that does not keep up.
    early = flow.lasted[: max(len(flow.lasted) // 20, 10)]
    if not len(early):
        return None
    e2e = float(np.mean(early))
    begin = max(flow.begin, FILLED_AFTER * e2e)
    length = flow.end - begin
    batches = min(MOST_BATCHES, int(length / e2e)) if e2e > 0 else MOST_BATCHES
    if length <= 0 or batches < FEWEST_BATCHES:
        return None
    edges = np.linspace(begin, flow.end, batches + 1)
    came, _ = np.histogram(flow.arrived, edges)
    went, _ = np.histogram(flow.ended, edges)
    if not came.all():
        return False
    ends = flow.arrived + flow.lasted
    at_begin = int(np.count_nonzero((flow.arrived <= begin) & (ends > begin)))
    at_begin = max(at_begin, int(came.sum() * e2e / length))
    growth = int(came.sum() - went.sum())
    if growth <= GROWTH_Z * math.sqrt(2 * at_begin):
        return False
    lasted, _ = np.histogram(flow.arrived, edges, weights=flow.lasted)
    means = lasted / came
    place = np.arange(batches) - (batches - 1) / 2
    slope = float(place @ means) / float(place @ place)
    residual = means - means.mean() - slope * place
    error = math.sqrt(float(residual @ residual) / (batches - 2) / float(place @ place))
    rise = slope * (batches - 1)
    first = float(means.mean()) - rise / 2
    if slope <= 0 or (first > 0 and first + rise < SLOWER_BY * first):
        return False
    return error == 0 or student_tail(slope / error, batches - 2) < SLOWER_P


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
