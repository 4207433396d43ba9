"""Scores: a mean of scores with what it is worth, and the difference of two of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Final

from pydantic import PrivateAttr

from benchcore.base.stored import Count, Flag, Number, Stored

CONFIDENCE: Final = 0.95
_NORMAL: Final = NormalDist()


class Estimate(Stored):
    """A mean score and how well it is known."""

    score: Number
    """The mean, 0 to 1."""
    stderr: Number | None = None
    """Its standard error; `None`: of fewer than two questions there is none."""
    interval: tuple[Number, Number]
    """The 95 % interval."""
    n: Count
    """Scores."""
    questions: Count
    """Questions that they are of: fewer where there are repeats."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.interval[1]


def estimate(scores: Sequence[float], questions: Sequence[Hashable]) -> Estimate | None:
    """Return the mean of scores with its standard error and 95 % interval.

    Answers to one question resemble one another, so the standard error is clustered by question:
    sqrt(G/(G-1) · Σ_g (Σ_i (s_gi - mean))²) / n over G questions (Cameron and Miller 2015, section
    II; Miller 2024, "Adding error bars to evals", section 2.2). The interval is Wilson's (1927) for
    the effective number of answers n/deff, as Korn and Graubard (1998) do it for surveys: it stays
    within 0 and 1 and keeps its promise near them, where mean ± 1.96 · stderr does not.

    Args:
        scores: each from 0 to 1.
        questions: what each is an answer to, hashable, as many.

    Returns:
        `None` where there are no scores.
    """
    n = len(scores)
    if not n:
        return None
    mean = math.fsum(scores) / n
    residuals: dict[Hashable, float] = defaultdict(float)
    for score, question in zip(scores, questions, strict=True):
        residuals[question] += score - mean
    groups = len(residuals)
    stderr = None
    if groups > 1:
        squares = math.fsum(residual * residual for residual in residuals.values())
        stderr = math.sqrt(groups / (groups - 1) * squares) / n
    quantile = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
    if groups < n and groups > 1:
        # The variance between questions is itself estimated, from so many of them.
        quantile = student_t((1 + CONFIDENCE) / 2, groups - 1)
    interval = _wilson(mean, _effective(mean, stderr, n, groups), quantile)
    return Estimate(score=mean, stderr=stderr, interval=interval, n=n, questions=groups)


def _effective(mean: float, stderr: float | None, n: int, groups: int) -> float:
    """Return how many independent answers tell as much."""
    spread = mean * (1 - mean)
    if stderr is None or spread <= 0 or stderr <= 0:
        # All alike: nothing tells whether repeats would have differed.
        return float(groups)
    independent = spread / (n - 1)
    return n * independent / (stderr * stderr)


def _wilson(mean: float, n: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    middle = (mean + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * math.sqrt(mean * (1 - mean) / n + square / (4 * n * n))
    # At the ends the exact bound is 0 or 1; rounding must not put the mean outside.
    return min(max(middle - half, 0.0), mean), max(min(middle + half, 1.0), mean)


def student_t(probability: float, freedom: int) -> float:
    """Return a quantile of Student's t distribution.

    Exact for one and two degrees of freedom, else the expansion 26.7.5 of Abramowitz and Stegun
    (1964), whose error at 0.975 is below 0.02 from three degrees on and 0.001 from five.

    Args:
        probability: between 0 and 1.
        freedom: degrees of freedom, 1 or more.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        return (2 * probability - 1) / math.sqrt(2 * probability * (1 - probability))
    z = _NORMAL.inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + math.fsum(term / freedom**power for power, term in enumerate(terms, 1))


def student_tail(t: float, freedom: float) -> float:
    """Return P(T ≥ t) of Student's t distribution, exactly, by the incomplete beta function.

    Args:
        t: of any sign.
        freedom: degrees of freedom, above 0; not necessarily whole.
    """
    if math.isinf(freedom):
        return _NORMAL.cdf(-t)
    tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)
    return tail if t >= 0 else 1 - tail


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)) / a
    # Lentz's method, with the coefficients of DLMF 8.17.23.
    tiny = 1e-300
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    c, fraction = 1.0, d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * fraction


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


class PairedDifference(Stored):
    """How much better one run is than another, on the questions that both answered."""

    difference: Number
    """Mean of the second minus mean of the first, -1 to 1."""
    interval: tuple[Number, Number]
    """The 95 % interval."""
    questions: Count | None = None
    """Questions that both answered."""
    left_out: Count | None = None
    """Questions that only one of them answered."""
    better: Count | None = None
    """Questions on which the second is better."""
    worse: Count | None = None
    """Questions on which the first is better."""
    mcnemar_p: Number | None = None
    """Of McNemar's exact test; `None` where a question has several answers or part scores."""
    significant: Flag
    """Whether the difference is more than chance, at 95 %: by McNemar where there is one."""
    _worse_p: float = PrivateAttr(math.nan)

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Its upper end."""
        return self.interval[1]

    @property
    def worse_p(self) -> float:
        """How likely chance alone makes the second run so much worse; NaN: read from a file."""
        return self._worse_p


def paired_difference(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]
) -> PairedDifference | None:
    """Compare two runs question by question.

    The interval is that of Agresti and Min (2005) for paired proportions, half an answer added to
    each of the four cells, written for means of repeats as well; single right-or-wrong answers are
    tested by McNemar's exact test besides.

    Args:
        first: scores of one run, by question.
        second: those of the other.

    Returns:
        `None` where no question is in both.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    gains = [_mean(second[name]) - _mean(first[name]) for name in shared]
    n = len(shared)
    total, squares = math.fsum(gains), math.fsum(gain * gain for gain in gains)
    middle = total / (n + 2)
    stderr = math.sqrt(max((squares + 1) / (n + 2) - middle * middle, 0.0) / (n + 2))
    quantile = student_t((1 + CONFIDENCE) / 2, n + 1)
    better = sum(1 for gain in gains if gain > 0)
    worse = sum(1 for gain in gains if gain < 0)
    single = all(
        len(run[name]) == 1 and run[name][0] in (0.0, 1.0)
        for run in (first, second)
        for name in shared
    )
    mean = total / n
    low = max(min(middle - quantile * stderr, mean), -1.0)
    high = min(max(middle + quantile * stderr, mean), 1.0)
    p = mcnemar(worse, better) if single else None
    difference = PairedDifference(
        difference=mean,
        interval=(low, high),
        questions=n,
        left_out=len(first.keys() ^ second.keys()),
        better=better,
        worse=worse,
        mcnemar_p=p,
        significant=low > 0 or high < 0 if p is None else p < 1 - CONFIDENCE,
    )
    if p is None:
        difference._worse_p = student_tail(-middle / stderr, n + 1)
    else:
        difference._worse_p = p / 2 if worse > better else 1.0
    return difference


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p value of McNemar's exact test (McNemar 1947, binomial form).

    Args:
        only_first: questions that only the first run has right.
        only_second: questions that only the second has right.
    """
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0
