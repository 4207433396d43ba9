"""Repeats: a level that was measured several times as one, with the spread between the times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
