"""Comparison: two runs level by level, figure by figure, and what of it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchcore.metrics.change import (
    Rate,
    batched_rate,
    exceedance_p,
    log_spread,
    lower_p,
    nearest,
    student_tail,
)
from benchcore.metrics.percentiles import QUANTILES
from benchcore.report.run_folder import FIGURES, Floats, RunFolder

Key = tuple[str, str, float]
"""Workload, mode, and concurrency or rate."""
FIGURES_SHOWN: Final = (
    "ttft.p50",
    "ttft.p99",
    "itl.p50",
    "itl.p99",
    "tpot.p50",
    "e2e.p50",
    "e2e.p99",
    "request_throughput",
    "output_token_throughput",
    "goodput",
    "failure_rate",
)
HIGHER_IS_BETTER: Final = frozenset(
    {"request_throughput", "output_token_throughput", "goodput", "goodput_ratio"}
)
SIGNIFICANT: Final = 0.05
_FEWEST_REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of a level in two runs.

    Args:
        figure: such as `ttft.p99`, in seconds, or `request_throughput`, per second.
        first: of the run that is compared with; `None`: it has none.
        second: of the other.
        worse_p: how likely chance alone makes the second so much worse; `None`: nothing tells.
        better_p: so much better.
        how: by what that was judged: `requests`, `repeats`, or nothing.
        spread: standard error of the logarithm of the ratio; `None`: unknown.
        count: requests that the second rests on.
    """

    figure: str
    first: float | None
    second: float | None
    worse_p: float | None = None
    better_p: float | None = None
    how: str = ""
    spread: float | None = None
    count: int = 0

    @property
    def relative(self) -> float | None:
        """The change in shares of the first: 0.1 is a tenth more; `None`: it has no such share."""
        if self.first is None or self.second is None or self.first == 0:
            return None
        return self.second / self.first - 1

    @property
    def worse_by(self) -> float | None:
        """How much worse the second is, in shares of the first; below 0: it is better."""
        change = self.relative
        if change is None:
            return None
        return -change if self.figure in HIGHER_IS_BETTER else change

    @property
    def significant(self) -> bool | None:
        """Whether the change is more than chance, at 95 %; `None`: nothing tells."""
        if self.worse_p is None or self.better_p is None:
            return None
        return 2 * min(self.worse_p, self.better_p) < SIGNIFICANT

    def to_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return {
            "figure": self.figure,
            "first": self.first,
            "second": self.second,
            "relative": self.relative,
            "significant": self.significant,
            "worse_p": self.worse_p,
            "better_p": self.better_p,
            "judged_by": self.how or None,
        }


class Side:
    """One run's levels of one key: one for each repeat.

    Args:
        folder: of the run.
        levels: of the key.
    """

    def __init__(self, folder: RunFolder, levels: Sequence[Mapping[str, Any]]) -> None:
        self._folder = folder
        self.levels = list(levels)

    def value(self, figure: str) -> float | None:
        """Return a figure, the mean over repeats; `None` where one of them has none."""
        values = [_value(level, figure) for level in self.levels]
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(values) else None

    def values(self, figure: str) -> list[float]:
        """Return a figure of each repeat that has it."""
        return [value for one in self.levels if (value := _value(one, figure)) is not None]

    def requests(self, metric: str) -> Floats | None:
        """Return a latency of each request, of all repeats; `None`: the folder does not tell."""
        parts = []
        for level in self.levels:
            rows = self._folder.requests(level["level"], level["repeat"])
            if rows is None or metric not in FIGURES:
                return None
            parts.append(rows.figure(metric))
        found = np.concatenate(parts)
        return found if len(found) else None

    def rate(self) -> Rate | None:
        """Return the rate of `ok` requests in batches, of a single repeat."""
        if len(self.levels) != 1:
            return None
        level = self.levels[0]
        rows = self._folder.requests(level["level"], level["repeat"])
        begin = level.get("warmup_seconds")
        if rows is None or begin is None or not level.get("window_seconds"):
            return None
        return batched_rate(
            rows.seconds["done_seconds"][rows.ok], begin, begin + level["window_seconds"]
        )

    @property
    def count(self) -> int:
        """Requests that ended well."""
        return sum(int(level.get("ok") or 0) for level in self.levels)


def _value(level: Mapping[str, Any], figure: str) -> float | None:
    metric, dot, name = figure.partition(".")
    holder = (level["metrics"].get(metric) or {}) if dot else level
    found = holder.get(name or figure)
    return None if found is None else float(found)


def both_sides(first: RunFolder, second: RunFolder) -> tuple[dict[Key, Side], dict[Key, Side]]:
    """Return the levels of two runs by what they are of.

    Other tools' results name no workload: with such a one, levels are matched by their load alone.
    """
    named = all(level["workload"] for folder in (first, second) for level in folder.levels)
    return sides(first, workloads=named), sides(second, workloads=named)


def sides(folder: RunFolder, *, workloads: bool = True) -> dict[Key, Side]:
    """Return the levels of a run by what they are of.

    Args:
        folder: of the run.
        workloads: tell levels apart by their workload too.
    """
    found: dict[Key, list[Mapping[str, Any]]] = {}
    for level in folder.levels:
        load = level["concurrency"] if level["concurrency"] is not None else level["rate"]
        workload = str(level["workload"]) if workloads else ""
        key = (workload, str(level["mode"]), float(load or 0))
        found.setdefault(key, []).append(level)
    return {key: Side(folder, levels) for key, levels in found.items()}


def key_name(key: Key, keys: Sequence[Key]) -> str:
    """Return what a level is called, with its workload where there are several."""
    name = f"{'c' if key[1] == 'closed' else 'r'}{key[2]:g}"
    return f"{key[0]} {name}" if len({one[0] for one in keys}) > 1 else name


def change(first: Side, second: Side, figure: str) -> Change:
    """Return how a figure differs, and whether by more than chance.

    Gaps between tokens are not judged within one run: requests of a batch share their steps, so
    that a thousand gaps may be one event. With three repeats or more they are judged by these.
    """
    one, other = first.value(figure), second.value(figure)
    if one is None or other is None:
        return Change(figure, one, other, count=second.count)
    metric, dot, name = figure.partition(".")
    judged = _by_repeats(first, second, figure)
    if judged is None and dot and name in QUANTILES:
        judged = _by_requests(first, second, metric, QUANTILES[name])
    elif judged is None and figure == "request_throughput":
        judged = _by_batches(first, second)
    worse, better, how, spread = judged or (None, None, "", None)
    return Change(figure, one, other, worse, better, how, spread, second.count)


_Judged = tuple[float, float, str, float | None]


def _by_repeats(first: Side, second: Side, figure: str) -> _Judged | None:
    """Judge by the spread of repeats, which holds all that differs from run to run (Welch 1947)."""
    one, other = first.values(figure), second.values(figure)
    if min(len(one), len(other)) < _FEWEST_REPEATS:
        return None
    means = np.mean(one), np.mean(other)
    parts = np.var(one, ddof=1) / len(one), np.var(other, ddof=1) / len(other)
    variance = float(parts[0] + parts[1])
    rise = float(means[1] - means[0])
    if figure in HIGHER_IS_BETTER:
        rise = -rise
    if variance == 0:
        worse = 0.0 if rise > 0 else 1.0
        return worse, 0.0 if rise < 0 else 1.0, "repeats", None
    freedom = variance**2 / sum(
        float(part) ** 2 / (len(values) - 1)
        for part, values in zip(parts, (one, other), strict=True)
        if part
    )
    t = rise / math.sqrt(variance)
    return student_tail(t, freedom), student_tail(-t, freedom), "repeats", None


def _by_requests(first: Side, second: Side, metric: str, quantile: float) -> _Judged | None:
    one, other = first.requests(metric), second.requests(metric)
    if one is None or other is None or min(one.min(), other.min()) <= 0:
        return None
    # Percentiles of the rows themselves: with repeats the mean of percentiles is another thing.
    slower = nearest(other, quantile) >= nearest(one, quantile)
    worse, better = exceedance_p(one, other, quantile), exceedance_p(other, one, quantile)
    spread = math.hypot(log_spread(one, quantile), log_spread(other, quantile))
    return worse if slower else 1.0, 1.0 if slower else better, "requests", spread


def _by_batches(first: Side, second: Side) -> _Judged | None:
    one, other = first.rate(), second.rate()
    if one is None or other is None or not one.mean or not other.mean:
        return None
    spread = math.hypot(one.stderr / one.mean, other.stderr / other.mean)
    return lower_p(one, other), lower_p(other, one), "requests", spread
