"""Levels: repeats of one as one, and the level beyond which more load brings little."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from benchcore.config.catalogue import RATES
from benchcore.metrics.percentiles import QUANTILES
from benchcore.metrics.summary import Summary
from benchcore.runs.run import Level

_WORST_FIRST: Final = ("invalid", "suspect", None, "valid")


def by_level(levels: Iterable[Level]) -> list[list[Level]]:
    """Return the repeats of each level, levels in the order in which they were first measured."""
    found: dict[tuple[str | None, str], list[Level]] = {}
    for level in levels:
        found.setdefault((level.workload, level.level), []).append(level)
    return list(found.values())


def mean_level(repeats: Sequence[Level]) -> Level:
    """Return a level whose figures are the means over its repeats, and whose verdict is the worst.

    A figure that one of them lacks is unknown. What is no figure is the first's.

    Args:
        repeats: of one level, at least one.
    """
    if len(repeats) == 1:
        return repeats[0]
    first = repeats[0]
    metrics = {}
    for name, summary in first.metrics.items():
        summaries = [one.metrics[name] for one in repeats if name in one.metrics]
        if len(summaries) == len(repeats):
            metrics[name] = _mean_statistics(summary, summaries)
    verdicts = [one.verdict for one in repeats]
    return first.model_copy(
        update={
            "level": f"{first.level} ×{len(repeats)}",
            "metrics": metrics,
            "verdict": next(one for one in _WORST_FIRST if one in verdicts),
            **{name: _mean([one.figure(name) for one in repeats]) for name in RATES},
        }
    )


def _mean_statistics(first: Summary, summaries: Sequence[Summary]) -> Summary:
    return first.model_copy(
        update={
            **{name: _mean([one.value(name) for one in summaries]) for name in QUANTILES},
            "low_confidence": sorted({key for one in summaries for key in one.low_confidence}),
        }
    )


def spread(repeats: Sequence[Level], figure: str) -> float | None:
    """Return the standard deviation of a figure between repeats ÷ its mean (divisor n − 1).

    Args:
        repeats: of one level.
        figure: by its name, such as `ttft.p99`.

    Returns:
        In shares of the mean; `None` where one of them lacks it, or the mean is 0.
    """
    values = [level.figure(figure) for level in repeats]
    mean = _mean(values)
    if len(values) < 2 or not mean:
        return None
    squares = math.fsum((value - mean) ** 2 for value in values if value is not None)
    return math.sqrt(squares / (len(values) - 1)) / abs(mean)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


GAIN: Final = 0.05
"""A level that brings less more throughput than this is beyond the knee."""


@dataclass(frozen=True, slots=True)
class Knee:
    """Where throughput stops to grow.

    Args:
        level: the last level that brought more.
        throughput: of it, per second.
        unit: of the throughput: `tokens` or `requests`.
        beyond: the next level; empty: the climb ended while throughput still grew.
        gain: what that one brought, in shares.
        cost: what it did to the TTFT p99, in shares; `None`: unknown.
    """

    level: str
    throughput: float
    unit: str
    beyond: str = ""
    gain: float = 0.0
    cost: float | None = None

    def __str__(self) -> str:
        """Return it as a sentence."""
        found = f"{self.level} reaches {self.throughput:,.4g} {self.unit}/s"
        if not self.beyond:
            return f"{found}, and throughput still grew: the knee lies beyond what was climbed"
        cost = "" if self.cost is None else f" for {self.cost:+.0%} TTFT p99".replace("%", " %")
        return f"{found}; {self.beyond} brings {self.gain:+.1%}".replace("%", " %") + cost


def knee(levels: Sequence[Level]) -> Knee | None:
    """Return the knee of one climb; `None` where fewer than two levels tell a throughput."""
    climb = [level for level in levels if level.repeat == 1 and level.verdict != "invalid"]
    name, unit = "output_token_throughput", "tokens"
    if any(level.output_token_throughput is None for level in climb):
        name, unit = "request_throughput", "requests"
    rates = [(level, rate) for level in climb if (rate := level.figure(name))]
    if len(rates) < 2:
        return None
    for place, ((one, rate), (other, next_rate)) in enumerate(pairwise(rates)):
        best_after = max(later for _, later in rates[place + 1 :]) / rate - 1
        if best_after < GAIN:
            return Knee(one.level, rate, unit, other.level, next_rate / rate - 1, _cost(one, other))
    last, rate = rates[-1]
    return Knee(last.level, rate, unit)


def _cost(one: Level, other: Level) -> float | None:
    before, after = one.figure("ttft.p99"), other.figure("ttft.p99")
    return after / before - 1 if before and after else None
