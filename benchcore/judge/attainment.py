"""Attainment: what the requests of one level tell of its objectives, and of drift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchcore.judge.shares import Share
from benchcore.load.steady import mann_kendall_z
from benchcore.metrics.batches import FEWEST, Ints, batch_count, batch_of, effective_size, long_run
from benchcore.metrics.scores import student_tail
from benchcore.runs.reading import Floats

DRIFT_SHARE: Final = 0.05
"""A server has drifted that is this much slower or faster at the same load …"""
DRIFT_P: Final = 0.005
"""… by more than chance, on either side."""
_MILD: Final = 0.9
"""The share by which it is told how far requests resemble their neighbours, where the target is
beyond it: in the far tail there are too few values for that."""
_GROWTH_Z: Final = 3.0
_GROWTH: Final = 1.5
"""Requests take longer and longer where their trend is that clear and the last quarter of the
window takes so many times as long as the first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the requests of a visit were: the mean logarithm of their seconds.

    Args:
        mean: of the logarithms.
        stderr: of that mean, by batches.
        freedom: degrees of freedom of `stderr`.
    """

    mean: float
    stderr: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Visit:
    """One run of a level.

    Args:
        level: users, or requests per second.
        valid: whether it measured the server; what is not valid never votes.
        shares: by objective.
        grows: whether requests took longer and longer, to the end of the window.
        pace: of its requests; `None`: unknown.
        requests: that it sent.
        seconds: that it took.
    """

    level: float
    valid: bool
    shares: Mapping[str, Share]
    grows: bool = False
    pace: Pace | None = None
    requests: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Drift:
    """How the first level was when it came again.

    Args:
        level: it.
        ratio: of its latencies, then to before.
        p: how likely chance alone makes such a difference, either way.
    """

    level: float
    ratio: float
    p: float

    @property
    def noticed(self) -> bool:
        """Whether the server was not the same."""
        return self.p < 2 * DRIFT_P and abs(self.ratio - 1) > DRIFT_SHARE


def share_of(
    values: Floats,
    at: Floats,
    limit: float,
    target: float,
    request: float = 0.0,
) -> Share:
    """Return how many values keep within a limit, and how many independent ones tell as much.

    Args:
        values: shape (n,), one of each request; infinite: it never came.
        at: shape (n,), when each request was scheduled, in seconds.
        limit: of the values.
        target: share of them that should keep within it.
        request: mean end-to-end latency, in seconds; 0: unknown.
    """
    within = values <= limit
    count, kept = len(values), int(within.sum())
    batches = _batches(at, request)
    if not batches:
        return Share(count, kept, float(count))
    number = batch_of(at, float(at.min()), float(at.max()), batches)
    sizes = _sums(number, np.ones(count), batches)

    def effective(marks: NDArray[np.bool_]) -> float:
        below = _sums(number, marks, batches)
        return min(effective_size(below, sizes)[0], float(count))

    # Where nearly all lie on one side of the limit, that says little of how far requests resemble
    # one another; what lies beyond a milder one of their own does.
    mild = float(np.quantile(values, min(target, _MILD), method="inverted_cdf"))
    found = min(effective(within), effective(values <= mild))
    return Share(count, kept, found, float(batches - 1))


def share_of_gaps(
    gaps: NDArray[np.int64],
    within: NDArray[np.int64],
    at: Floats,
    request: float = 0.0,
) -> Share:
    """Return how many gaps between tokens keep within a limit; see `share_of`.

    The gaps of a request are one cluster, so that where all are within, they tell no more than as
    many values as there are requests.

    Args:
        gaps: shape (n,), how many each request has.
        within: shape (n,), how many of them keep within the limit.
        at: shape (n,), when each request was scheduled, in seconds.
        request: mean end-to-end latency, in seconds; 0: unknown.
    """
    count, kept = int(gaps.sum()), int(within.sum())
    if not count:
        return Share(0, 0, 0.0)
    batches = _batches(at, request)
    number = (
        batch_of(at, float(at.min()), float(at.max()), batches) if batches else np.arange(len(gaps))
    )
    pieces = batches or len(gaps)
    sizes = _sums(number, gaps, pieces)
    below = _sums(number, within, pieces)
    if kept in (0, count) or pieces < FEWEST:
        return Share(count, kept, float(len(gaps)), float(max(pieces - 1, 1)))
    found = min(effective_size(below, sizes)[0], float(count))
    return Share(count, kept, found, float(pieces - 1))


def grows(values: Floats, at: Floats, request: float = 0.0) -> bool:
    """Return whether requests take longer and longer, up to the end of the window.

    Mann and Kendall's test of trend over the means of batches, and a change that matters.

    Args:
        values: shape (n,), seconds of each request that ended.
        at: shape (n,), when it was scheduled.
        request: mean end-to-end latency, in seconds; 0: unknown.
    """
    batches = _batches(at, request) or _batches(at, 0.0)
    if not batches:
        return False
    number = batch_of(at, float(at.min()), float(at.max()), batches)
    sizes = np.maximum(np.bincount(number, minlength=batches), 1)
    means = np.bincount(number, weights=values, minlength=batches) / sizes
    quarter = max(batches // 4, 1)
    early, late = float(means[:quarter].mean()), float(means[-quarter:].mean())
    return late > _GROWTH * early and mann_kendall_z(means.tolist()) > _GROWTH_Z


def pace_of(values: Floats, at: Floats, request: float = 0.0) -> Pace | None:
    """Return how fast requests were; `None`: too few tell.

    Args:
        values: shape (n,), seconds of each request that ended, above 0.
        at: shape (n,), when it was scheduled.
        request: mean end-to-end latency, in seconds; 0: unknown.
    """
    batches = _batches(at, request)
    if not batches:
        return None
    logs = np.log(values)
    number = batch_of(at, float(at.min()), float(at.max()), batches)
    mean = float(logs.mean())
    found = long_run(_sums(number, logs - mean, batches))
    return Pace(mean, math.sqrt(found.variance) / len(logs), float(batches - 1))


def _sums(number: Ints, values: NDArray[Any], batches: int) -> Floats:
    """Return the sum of the values of each batch."""
    return np.bincount(number, weights=values, minlength=batches).astype(np.float64)


def _batches(at: Floats, request: float) -> int:
    return batch_count(len(at), float(at.max() - at.min()), request) if len(at) else 0


def drift_of(first: Visit, again: Visit) -> Drift | None:
    """Return how a level came again, by Welch's test (1947); `None`: its pace is not known."""
    one, other = first.pace, again.pace
    if one is None or other is None:
        return None
    variance = one.stderr**2 + other.stderr**2
    rise = other.mean - one.mean
    if variance <= 0:
        return Drift(first.level, math.exp(rise), 1.0 if rise == 0 else 0.0)
    parts = (one.stderr**4 / one.freedom, other.stderr**4 / other.freedom)
    freedom = variance**2 / sum(parts) if sum(parts) > 0 else math.inf
    return Drift(
        first.level,
        math.exp(rise),
        min(1.0, 2 * student_tail(abs(rise) / math.sqrt(variance), freedom)),
    )
