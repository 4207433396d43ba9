"""Change: whether a figure of one run differs from that of another by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.metrics.batches import (
    LongRun,
    batch_count,
    batch_of,
    course,
    long_run,
    reach,
    share_long_run,
)
from benchcore.metrics.percentiles import rank
from benchcore.metrics.scores import student_tail

Floats = NDArray[np.float64]

_DRAWS: Final = 1000
_POWER_Z: Final = 1.6448536269514722
"""One-sided 95 %."""
_MOST_DECAY: Final = 0.9
_MARGIN: Final = 1.5
_FAR: Final = 2.0
"""Chance alone exceeds it in three pairs of runs in a hundred, looked for in three ways; of more
runs more is asked, as it is there to be seen."""
_FEWEST_SHARE: Final = 0.4
"""Of the batches: fewer independent stretches of time tell too little of themselves."""
_SPREAD_P: Final = 0.01
_NORMAL: Final = NormalDist()


def nearest(values: Floats, quantile: float) -> float:
    """Return a percentile by nearest rank, of values in any order, at least one."""
    place = rank(quantile, len(values)) - 1
    return float(np.partition(values, place)[place])


@dataclass(frozen=True, slots=True)
class Sample:
    """A figure of the requests of one run of a level, in the order in which they were scheduled.

    Args:
        values: shape (n,), above 0.
        number: shape (n,), the batch of each; all 0 where too few batches fit.
        batches: how many; 0: too few fit, and requests are taken as independent.
    """

    values: Floats
    number: NDArray[np.int64]
    batches: int

    def counts(self, marks: NDArray[np.bool_]) -> Floats:
        """Return how many requests of each batch are marked."""
        weights = marks.astype(np.float64)
        found = np.bincount(self.number, weights=weights, minlength=self.batches)
        return found.astype(np.float64)

    @property
    def sizes(self) -> Floats:
        """How many requests each batch has."""
        return np.bincount(self.number, minlength=self.batches).astype(np.float64)

    @property
    def course(self) -> Floats:
        """How the mean logarithm goes from batch to batch; shape (B,), mean 0, squares 1."""
        if not self.batches:
            return np.empty(0)
        return course(np.log(self.values), self.number, self.batches)


def sample(values: Floats, at: Floats | None = None, request: float = 0.0) -> Sample:
    """Return a sample cut into batches: by time, or else by order.

    Args:
        values: shape (n,), in the order in which they were scheduled.
        at: shape (n,), when each was scheduled; `None`: as if at equal distances.
        request: mean end-to-end latency, in the same unit; 0: unknown.
    """
    count = len(values)
    if at is not None and count:
        begin, end = float(at.min()), float(at.max())
        batches = batch_count(count, end - begin, request)
        if batches:
            return Sample(values, batch_of(at, begin, end, batches), batches)
    batches = batch_count(count, count, 0.0)
    number = np.arange(count) * max(batches, 1) // max(count, 1)
    return Sample(values, number, batches)


@dataclass(frozen=True, slots=True)
class Dependence:
    """How far what happens reaches, in some runs of a level taken together.

    Args:
        carried: correlation of neighbouring batches, the mean over all.
        batches: of all; 0: too few fit.
        score: of the correlations with the next three batches together; standard normal where
            batches are independent.
        runs: how many.
    """

    carried: float
    batches: int
    score: float = 0.0
    runs: int = 2

    @property
    def far(self) -> bool:
        """Whether what happens reaches so far that the runs cannot tell how far."""
        far = _FAR * math.sqrt(self.runs / 2)
        return self.score > far or self.stretches < _FEWEST_SHARE * self.batches

    @property
    def margin(self) -> float:
        """How much more may be carried than the batches show: one and a half standard errors."""
        return _MARGIN / math.sqrt(self.batches) if self.batches else 0.0

    @property
    def stretches(self) -> float:
        """How many independent stretches of time the batches come to."""
        carried = min(max(self.carried, 0.0), _MOST_DECAY)
        return self.batches * (1 - carried) / (1 + carried)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of a variance that rests on the batches, two or more."""
        if not self.batches:
            return math.inf
        carried = min(max(self.carried, 0.0) + self.margin, _MOST_DECAY)
        return max(self.batches * (1 - carried) / (1 + carried) - self.runs, 2.0)

    def inflation(self, own: float) -> float:
        """Return how much more a sum may vary than its batches say.

        A figure may show little of what is carried, and carry that little just as far: its
        autocorrelation is r at the first lag and then falls by the common factor c, so that the sum
        varies 1 + 2r/(1 - c) times as much (autoregressive with noise; Box and Jenkins, section
        3.4). Both are taken at the upper end of what they may be.

        Args:
            own: correlation of neighbouring batches of the figure itself.
        """
        own = min(max(own, 0.0) + self.margin, _MOST_DECAY)
        common = min(max(own, self.carried + self.margin), _MOST_DECAY)
        return 1 + 2 * own / (1 - common)


def dependence(courses: Sequence[Floats]) -> Dependence:
    """Return how far what happens reaches in some runs, taken together.

    Args:
        courses: `Sample.course` of each run.
    """
    found = reach(courses)
    runs = sum(1 for one in courses if len(one))
    return Dependence(found.carried, found.batches, found.score, runs)


def farthest(*found: Dependence) -> Dependence:
    """Return the one that reaches farthest, of several figures of the same runs."""
    return max(found, key=lambda one: (one.batches > 0, one.score))


def tail_p(
    first: Sequence[Sample], second: Sequence[Sample], quantile: float, common: Dependence
) -> float:
    """Return how likely chance alone lifts the second side so far above a percentile of the first.

    The exceedance test (Epstein 1954; Gibbons and Chakraborti, Nonparametric Statistical Inference,
    section 6.6): of m values how many lie above the r-th of n is beta-binomial (m, n-r+1, r) where
    both are of one distribution, whatever that is. Requests that follow one another resemble one
    another, so counts are those of as many independent ones, by batches; what is lost by estimating
    their number is given back by Student's t in place of the normal distribution.

    Args:
        first: of the side that is compared with, a sample for each of its runs.
        second: of the other.
        quantile: between 0 and 1.
        common: how far what happens reaches.

    Returns:
        one-sided: small where the second side is slower.
    """
    ours, theirs = (np.concatenate([one.values for one in side]) for side in (first, second))
    limit = nearest(ours, quantile)
    n, m = (max(1, round(_effective(side, limit, common, quantile))) for side in (first, second))
    above = int(np.count_nonzero(theirs > limit))
    # Equal values are no evidence of anything: they count as below.
    count = round(above * m / len(theirs))
    p = beta_binomial_tail(count, m, n - rank(quantile, n) + 1, rank(quantile, n))
    return _by_student(p, common.freedom)


def _effective(
    side: Sequence[Sample], limit: float, common: Dependence | None, quantile: float
) -> float:
    """Return as many independent requests as tell as much of the share below a limit.

    `None` for what is carried: as the batches themselves show it, and not at its upper end.
    """
    total = float(sum(len(one.values) for one in side))
    known = [one for one in side if one.batches]
    if len(known) < len(side):
        return total
    sizes = np.concatenate([one.sizes for one in known])
    below = np.concatenate([one.counts(one.values <= limit) for one in known])
    share = float(below.sum()) / total
    # Where all lie on one side the batches tell nothing: those of the other side do.
    if share in (0.0, 1.0):
        share = quantile
    found = share_long_run(below, sizes)
    variance = found.variance
    if common is not None:
        variance *= common.inflation(found.carried) / found.inflation
    return total if variance <= 0 else min(total, total * total * share * (1 - share) / variance)


def _by_student(p: float, freedom: float) -> float:
    """Return a p value whose normal score is taken as Student's t."""
    if math.isinf(freedom) or not 0 < p < 1:
        return p
    if p < 1e-300:
        return p
    return student_tail(-_NORMAL.inv_cdf(p), freedom)


def exceedance_p(first: Floats, second: Floats, quantile: float) -> float:
    """Return `tail_p` of two runs whose requests lie at equal distances."""
    one, other = sample(first), sample(second)
    return tail_p([one], [other], quantile, dependence([one.course, other.course]))


def beta_binomial_tail(count: int, trials: int, a: int, b: int) -> float:
    """Return P(X ≥ count) of the beta-binomial distribution (trials, a, b), all of them whole."""
    if count <= 0:
        return 1.0
    # lgamma of whole numbers: the sums of logarithms.
    lgamma = np.concatenate(([0.0, 0.0], np.cumsum(np.log(np.arange(1, trials + a + b)))))
    k = np.arange(count, trials + 1)
    logs = (
        lgamma[trials + 1]
        - lgamma[k + 1]
        - lgamma[trials - k + 1]
        + lgamma[k + a]
        + lgamma[trials - k + b]
        - lgamma[trials + a + b]
        + lgamma[a + b]
        - lgamma[a]
        - lgamma[b]
    )
    return float(min(1.0, np.exp(logs).sum()))


def log_spread(values: Floats, quantile: float) -> float:
    """Return `sample_spread` of a run whose requests lie at equal distances."""
    return sample_spread([sample(values)], quantile)


def sample_spread(side: Sequence[Sample], quantile: float) -> float:
    """Return the standard error of the logarithm of a percentile.

    The rank of a resampled percentile is beta distributed (the bootstrap of Efron 1979, its
    resampling done in one step; Hutson and Ernst 2000).

    Args:
        side: its runs; values above 0.
        quantile: between 0 and 1.
    """
    ordered = np.sort(np.concatenate([one.values for one in side]))
    limit = ordered[rank(quantile, len(ordered)) - 1]
    n = max(2.0, _effective(side, float(limit), None, quantile))
    draws = np.random.default_rng(0).beta(quantile * n + 0.5, (1 - quantile) * n + 0.5, _DRAWS)
    places = np.minimum((draws * len(ordered)).astype(np.int64), len(ordered) - 1)
    return float(np.log(ordered[places]).std())


def requests_needed(count: int, spread: float, change: float, limit: float) -> int | None:
    """Return how many requests a level needs for a change beyond a limit to be told 19 times in 20.

    Args:
        count: how many each run has now.
        spread: standard error of the logarithm of the ratio with so many.
        change: to be told, such as 0.12.
        limit: such as 0.1.

    Returns:
        `None` where nothing can be said.
    """
    room = math.log1p(change) - math.log1p(limit)
    if spread <= 0 or room <= 0:
        return None
    return math.ceil(count * (spread * _POWER_Z / room) ** 2)


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate in batches of equal length.

    Args:
        mean: per second.
        stderr: of the mean; 0 where the batches are alike.
        batches: how many.
        carried: correlation of neighbouring batches.
    """

    mean: float
    stderr: float
    batches: int
    carried: float = 0.0


def batched_rate(done: Floats, begin: float, end: float, request: float = 0.0) -> Rate | None:
    """Return a rate with its standard error by batch means (Conway 1963), as if independent.

    Args:
        done: when each request ended, in seconds.
        begin: of the window, in seconds.
        end: of it.
        request: mean end-to-end latency, in seconds; 0: unknown.

    Returns:
        `None` where the window is too short for batches of ten requests each.
    """
    inside = done[(done > begin) & (done <= end)]
    batches = batch_count(len(inside), end - begin, request)
    if not batches:
        # Batches of less than some requests' time hide nothing: they only vary by more.
        batches = batch_count(len(inside), end - begin, 0.0)
    if not batches:
        return None
    counts = np.bincount(batch_of(inside, begin, end, batches), minlength=batches)
    found = long_run(counts - counts.mean())
    seconds = end - begin
    stderr = math.sqrt(found.variance / found.inflation) / seconds
    return Rate(len(inside) / seconds, stderr, batches, found.carried)


def lower_p(first: Sequence[Rate], second: Sequence[Rate], carried: float = 0.0) -> float:
    """Return how likely chance alone makes the second side's rate so much lower (Welch 1947).

    Args:
        first: a rate for each run of the side that is compared with, above 0.
        second: of the other.
        carried: what is carried from batch to batch in other figures of these runs.
    """
    rates = [*first, *second]
    batches = sum(one.batches for one in rates)
    own = sum(one.carried * one.batches for one in rates) / batches
    common = Dependence(max(own, carried), batches, runs=len(rates))
    inflation = common.inflation(own)
    parts = [_log_rate(side, inflation) for side in (first, second)]
    drop = parts[0][0] - parts[1][0]
    variance = parts[0][1] + parts[1][1]
    if variance == 0:
        return 0.0 if drop > 0 else 1.0
    return student_tail(drop / math.sqrt(variance), common.freedom)


def _log_rate(side: Sequence[Rate], inflation: float) -> tuple[float, float]:
    """Return the mean logarithm of the rates of some runs, and its variance."""
    logs = [math.log(one.mean) for one in side]
    parts = [inflation * (one.stderr / one.mean) ** 2 for one in side]
    return sum(logs) / len(side), sum(parts) / len(side) ** 2


def rate_spread(side: Sequence[Rate]) -> float:
    """Return the standard error of the logarithm of the rate of some runs."""
    batches = sum(one.batches for one in side)
    own = sum(one.carried * one.batches for one in side) / batches
    return math.sqrt(_log_rate(side, LongRun(0.0, own, batches).inflation)[1])


def runs_differ(groups: Sequence[Sequence[float]], within: float) -> bool:
    """Return whether runs differ by more than the requests within them explain.

    Args:
        groups: the logarithms of a figure, of the runs of each side.
        within: the variance of one such logarithm, from within the runs.
    """
    freedom = sum(len(one) - 1 for one in groups)
    if freedom < 1:
        return False
    squares = sum(float(np.var(one)) * len(one) for one in groups)
    if within <= 0:
        return squares > 0
    # Chi-squared by the cube root of Wilson and Hilferty (1931).
    scale = 2 / (9 * freedom)
    z = ((squares / freedom / within) ** (1 / 3) - (1 - scale)) / math.sqrt(scale)
    return 1 - _NORMAL.cdf(z) < _SPREAD_P


def runs_p(first: Sequence[float], second: Sequence[float], *, alone: bool = False) -> float:
    """Return how likely what differs between runs lifts the second mean so far above the first.

    Student's t with the variance between runs, pooled over both sides, which are served by the same
    machines (Kalibera and Jones 2013, "Rigorous benchmarking in reasonable time", section 9).

    Args:
        first: logarithms of a figure, one of each run.
        second: likewise; together at least three.
        alone: the mean of the first is that of a single run, whose neighbours tell the variance.
    """
    freedom = len(first) + len(second) - 2
    squares = sum(float(np.var(one)) * len(one) for one in (first, second))
    rise = float(np.mean(second) - np.mean(first))
    if squares <= 0:
        return 0.0 if rise > 0 else 1.0
    of_first = 1.0 if alone else 1 / len(first)
    error = math.sqrt(squares / freedom * (of_first + 1 / len(second)))
    return student_tail(rise / error, freedom)
