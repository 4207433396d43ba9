"""Comparison: two runs level by level, figure by figure, and what of it is more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchcore.config.catalogue import SPANS, higher_is_better
from benchcore.judge.significance import (
    Dependence,
    Rate,
    Sample,
    batched_rate,
    dependence,
    farthest,
    lower_p,
    nearest,
    rate_spread,
    runs_differ,
    runs_p,
    sample,
    sample_spread,
    tail_p,
)
from benchcore.metrics.batches import unit
from benchcore.metrics.percentiles import QUANTILES
from benchcore.runs.reading import Floats, RunFolder
from benchcore.runs.run import REPLAYED, SHAPED, Level

Key = tuple[str, str, float]
"""Workload, mode, and concurrency or rate."""
SIGNIFICANT: Final = 0.05
FEWEST_NIGHTS: Final = 5
"""Earlier runs that tell what differs from run to run where nothing has changed."""
_FEWEST_REPEATS: Final = 3
_SHOWN_WITH: Final = {"p999": ("p99", "p90"), "p99": ("p90",), "p95": ("p90",)}
"""Percentiles nearer to the middle, which more requests tell of: a tail that has moved moves there
too."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of a level in two runs.

    Args:
        figure: such as `ttft.p99`, in seconds, or `request_throughput`, per second.
        first: of the run that is compared with, or the geometric mean of the earlier runs that it
            is one of; `None`: it has none.
        second: of the other.
        worse_p: how likely chance alone makes the second so much worse; `None`: nothing tells.
        better_p: so much better.
        how: by what that was judged: `requests`, `repeats`, `nights`, or nothing.
        spread: standard error of the logarithm of the ratio; `None`: unknown.
        count: requests that the second rests on.
        reach: how far what happens reaches in the two runs.
        nights: earlier runs that it was judged by; 0: none.
    """

    figure: str
    first: float | None
    second: float | None
    worse_p: float | None = None
    better_p: float | None = None
    how: str = ""
    spread: float | None = None
    count: int = 0
    reach: Dependence | None = None
    nights: int = 0

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
        return -change if higher_is_better(self.figure) else change

    @property
    def blind(self) -> bool:
        """Whether the requests were judged and what happens among them reaches too far for that."""
        if self.how != "requests" or self.reach is None:
            return False
        return not self.reach.batches or self.reach.far

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

    def __init__(self, folder: RunFolder, levels: Sequence[Level]) -> None:
        self._folder = folder
        self.levels = list(levels)
        self._samples: dict[str, list[Sample] | None] = {}

    def value(self, figure: str) -> float | None:
        """Return a figure, the mean over repeats; `None` where one of them has none."""
        values = [level.figure(figure) for level in self.levels]
        known = [value for value in values if value is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(values) else None

    def values(self, figure: str) -> list[float]:
        """Return a figure of each repeat that has it."""
        return [value for one in self.levels if (value := one.figure(figure)) is not None]

    def samples(self, metric: str) -> list[Sample] | None:
        """Return a latency of each request, for each repeat; `None`: the folder does not tell."""
        if metric not in self._samples:
            self._samples[metric] = self._read_samples(metric)
        return self._samples[metric]

    def _read_samples(self, metric: str) -> list[Sample] | None:
        found = []
        for level in self.levels:
            rows = self._folder.requests(level.level, level.repeat)
            if rows is None or metric not in SPANS:
                return None
            values, at = rows.timed_figure(metric)
            if not len(values):
                return None
            found.append(sample(values, at, _mean(rows.figure("e2e"))))
        return found

    def rates(self) -> list[Rate] | None:
        """Return the rate of `ok` requests in batches, of each repeat."""
        found = []
        for level in self.levels:
            rows = self._folder.requests(level.level, level.repeat)
            begin, seconds = level.warmup_seconds, level.window_seconds
            if rows is None or begin is None or not seconds:
                return None
            done = rows.seconds["done_seconds"][rows.ok]
            end = begin + seconds
            rate = batched_rate(done, begin, end, _mean(rows.figure("e2e")))
            if rate is None or not rate.mean:
                return None
            found.append(rate)
        return found

    @property
    def count(self) -> int:
        """Requests that ended well."""
        return sum(level.ok or 0 for level in self.levels)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def both_sides(first: RunFolder, second: RunFolder) -> tuple[dict[Key, Side], dict[Key, Side]]:
    """Return the levels of two runs by what they are of.

    Other tools' results name no workload: with such a one, levels are matched by their load alone.
    """
    named = all(level.workload for folder in (first, second) for level in folder.levels)
    return sides(first, workloads=named), sides(second, workloads=named)


def sides(folder: RunFolder, *, workloads: bool = True) -> dict[Key, Side]:
    """Return the levels of a run by what they are of.

    Args:
        folder: of the run.
        workloads: tell levels apart by their workload too.
    """
    found: dict[Key, list[Level]] = {}
    for level in folder.levels:
        workload = str(level.workload) if workloads else ""
        key = (workload, *_load_of(level))
        found.setdefault(key, []).append(level)
    return {key: Side(folder, levels) for key, levels in found.items()}


def _load_of(level: Level) -> tuple[str, float]:
    """Return what load a level had: its mode and how much, or what else it was.

    A replay and a shape are no load of a number: they are the same where the speed, or the shape,
    is.
    """
    name = level.level.rpartition("-")[2]
    if name in SHAPED:
        return f"{name} {level.arrival or level.concurrency}", 0.0
    if level.arrival is not None and level.arrival.startswith(REPLAYED):
        return name, 0.0
    load = level.concurrency if level.concurrency is not None else level.rate
    return str(level.mode), float(load or 0)


def key_name(key: Key, keys: Sequence[Key]) -> str:
    """Return what a level is called, with its workload where there are several."""
    letter = {"closed": "c", "open": "r"}.get(key[1])
    name = key[1].partition(" ")[0] if letter is None else f"{letter}{key[2]:g}"
    return f"{key[0]} {name}" if len({one[0] for one in keys}) > 1 else name


def change(first: Side, second: Side, figure: str, nights: Sequence[Side] = ()) -> Change:
    """Return how a figure differs, and whether by more than chance.

    Judged by what differs between earlier runs, where there are five; else by the requests of the
    two runs, and by their repeats where these differ by more than their requests explain. Gaps
    between tokens are not judged within one run.

    Args:
        first: that is compared with.
        second: that is compared.
        figure: such as `ttft.p99`.
        nights: earlier runs of the same, oldest first. Where `first` is one of them, `second` is
            held against them all.
    """
    one, other = first.value(figure), second.value(figure)
    if one is None or other is None:
        return Change(figure, one, other, count=second.count)
    common = _reach(first, second, figure)
    judged = _by_nights(first, second, figure, nights)
    if judged is not None and any(night is first for night in nights):
        known = [value for night in nights if (value := night.value(figure)) is not None]
        one = math.exp(math.fsum(map(math.log, known)) / len(known))
    if judged is None:
        judged = _by_runs(first, second, figure, common)
    worse, better, how, spread = judged or (None, None, "", None)
    return Change(
        figure,
        one,
        other,
        worse,
        better,
        how,
        spread,
        second.count,
        common,
        len(nights) if how == "nights" else 0,
    )


_Judged = tuple[float, float, str, float | None]


def _reach(first: Side, second: Side, figure: str) -> Dependence:
    """Return how far what happens reaches in two runs: by the figure, or e2e where it is none.

    What lasts shows in e2e, too, and more clearly in both together: of the two the farther counts.
    """
    metric = figure.partition(".")[0]
    courses: dict[str, list[Floats]] = {}
    for name in dict.fromkeys((metric, "e2e")):
        sides = first.samples(name), second.samples(name)
        samples = [one for side in sides for one in side or () if one.values.min() > 0]
        courses[name] = [one.course for one in samples]
    own, whole = courses[metric], courses["e2e"]
    if not own or own is whole:
        return dependence(whole)
    both = [a + b for a, b in zip(own, whole, strict=False) if len(a) == len(b) > 0]
    return farthest(dependence(own), dependence([unit(one) for one in both]))


def _logs(values: Sequence[float]) -> list[float] | None:
    """Return logarithms; `None`: not all have one."""
    return [math.log(value) for value in values] if min(values, default=0.0) > 0 else None


def _by_nights(first: Side, second: Side, figure: str, nights: Sequence[Side]) -> _Judged | None:
    """Judge by what differs between earlier runs, in which nothing changed."""
    values = [value for one in nights if (value := one.value(figure)) is not None]
    if len(values) < FEWEST_NIGHTS:
        return None
    one, other = first.value(figure), second.value(figure)
    logs = _logs([*values, one or 0.0, other or 0.0])
    if logs is None:
        return None
    *known, base, new = logs
    alone = not any(night is first for night in nights)
    if alone:
        # The named one alone is held against; the nights say how far two runs lie apart.
        middle = math.fsum(known) / len(known)
        known = [base + (log - middle) for log in known]
    if higher_is_better(figure):
        known, new = [-log for log in known], -new
    worse = runs_p(known, [new], alone=alone)
    better = runs_p([-log for log in known], [-new], alone=alone)
    return worse, better, "nights", None


def _by_runs(first: Side, second: Side, figure: str, common: Dependence) -> _Judged | None:
    """Judge by the requests of two runs, or by repeats that differ by more than these explain."""
    metric, dot, name = figure.partition(".")
    judged: _Judged | None = None
    within: float | None = None
    if dot and name in QUANTILES:
        judged = _by_requests(first, second, metric, name, common)
    elif figure == "request_throughput":
        judged = _by_batches(first, second, common)
    if judged is not None and judged[3] is not None:
        # The spread is of the difference of two means over repeats; `within` is of one repeat.
        counts = len(first.levels), len(second.levels)
        within = judged[3] ** 2 / (1 / counts[0] + 1 / counts[1])
    logs = [_logs(side.values(figure)) for side in (first, second)]
    ours, theirs = logs
    if ours is None or theirs is None:
        return judged
    if judged is not None and (within is None or not runs_differ([ours, theirs], within)):
        return judged
    if judged is None and min(len(ours), len(theirs)) < _FEWEST_REPEATS:
        return None
    if higher_is_better(figure):
        ours, theirs = [-log for log in ours], [-log for log in theirs]
    found = runs_p(ours, theirs), runs_p(theirs, ours)
    spread = None if judged is None else judged[3]
    return found[0], found[1], "repeats", spread


def _by_requests(
    first: Side, second: Side, metric: str, name: str, common: Dependence
) -> _Judged | None:
    one, other = first.samples(metric), second.samples(metric)
    if one is None or other is None:
        return None
    if min(part.values.min() for part in (*one, *other)) <= 0:
        return None
    quantile = QUANTILES[name]
    # Percentiles of the rows themselves: with repeats the mean of percentiles is another thing.
    ours, theirs = (np.concatenate([part.values for part in side]) for side in (one, other))
    slower = nearest(theirs, quantile) >= nearest(ours, quantile)
    looked_at = [quantile, *(QUANTILES[near] for near in _SHOWN_WITH.get(name, ()))]
    worse, better = (
        min(1.0, len(looked_at) * min(tail_p(*sides, level, common) for level in looked_at))
        for sides in ((one, other), (other, one))
    )
    spread = math.hypot(*(sample_spread(side, quantile) for side in (one, other)))
    return worse if slower else 1.0, 1.0 if slower else better, "requests", spread


def _by_batches(first: Side, second: Side, common: Dependence) -> _Judged | None:
    one, other = first.rates(), second.rates()
    if one is None or other is None:
        return None
    spread = math.hypot(rate_spread(one), rate_spread(other))
    carried = common.carried
    return lower_p(one, other, carried), lower_p(other, one, carried), "requests", spread
