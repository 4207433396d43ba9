"""Levels: repeats of one as one, and the level beyond which more load brings little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

Level = Mapping[str, Any]
"""A level as `run.json` has it: a run that is over is read like one that is on."""

_RATES: Final = (
    "request_throughput",
    "output_token_throughput",
    "input_token_throughput",
    "total_token_throughput",
    "tokens_per_second_per_user",
    "goodput",
    "goodput_ratio",
    "failure_rate",
)
_PERCENTILES: Final = ("p50", "p75", "p90", "p95", "p99", "p999")
_WORST_FIRST: Final = ("invalid", "suspect", None, "valid")


def by_level(levels: Iterable[Level]) -> list[list[Level]]:
    """Return the repeats of each level, levels in the order in which they were first measured."""
    found: dict[tuple[str, str], list[Level]] = {}
    for level in levels:
        found.setdefault((str(level.get("workload")), level["level"]), []).append(level)
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
    for name in first["metrics"]:
        summaries = [one["metrics"].get(name) for one in repeats]
        if None in summaries:
            continue
        metrics[name] = {
            **first["metrics"][name],
            **{key: _mean([one.get(key) for one in summaries]) for key in _PERCENTILES},
            "low_confidence": sorted({key for one in summaries for key in one["low_confidence"]}),
        }
    verdicts = [one["validity"] for one in repeats]
    return {
        **first,
        "level": f"{first['level']} ×{len(repeats)}",
        "metrics": metrics,
        "validity": next(one for one in _WORST_FIRST if one in verdicts),
        **{name: _mean([one.get(name) for one in repeats]) for name in _RATES},
    }


def spread(repeats: Sequence[Level], figure: Callable[[Level], float | None]) -> float | None:
    """Return the standard deviation of a figure between repeats ÷ its mean (divisor n − 1).

    Args:
        repeats: of one level.
        figure: takes it out of a level.

    Returns:
        In shares of the mean; `None` where one of them lacks it, or the mean is 0.
    """
    values = [figure(one) for one in repeats]
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


def knee(levels: Sequence[Mapping[str, Any]]) -> Knee | None:
    """Return the knee of one climb; `None` where fewer than two levels tell a throughput."""
    climb = [level for level in levels if level["repeat"] == 1 and level["validity"] != "invalid"]
    name = "output_token_throughput"
    if any(level.get(name) is None for level in climb):
        name = "request_throughput"
    climb = [level for level in climb if level.get(name)]
    if len(climb) < 2:
        return None
    unit = "tokens" if name.startswith("output") else "requests"
    for place, (one, other) in enumerate(pairwise(climb)):
        gain = other[name] / one[name] - 1
        best_after = max(level[name] for level in climb[place + 1 :]) / one[name] - 1
        if best_after < GAIN:
            return Knee(one["level"], one[name], unit, other["level"], gain, _cost(one, other))
    return Knee(climb[-1]["level"], climb[-1][name], unit)


def _cost(one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    before = (one["metrics"].get("ttft") or {}).get("p99")
    after = (other["metrics"].get("ttft") or {}).get("p99")
    return after / before - 1 if before and after else None
