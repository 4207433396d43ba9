"""History: the runs of a folder as series, and where a series became another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchcore.base.errors import ConfigError
from benchcore.base.text import harmless
from benchcore.config.catalogue import TRACKED
from benchcore.judge.baselines import forbidding, scenario_of
from benchcore.judge.comparison import key_name, sides
from benchcore.runs.reading import RunFolder

Floats = NDArray[np.float64]

P_VALUE: Final = 0.007
"""Of a series without a change, that its level changes for good …"""
STRETCH_P: Final = 0.002
"""… and for a stretch of nights: together their false alarms stay below one in a hundred."""
FEWEST: Final = 3
"""Nights of a new level: one bad night is none, nor are two."""
FEWEST_BEFORE: Final = 5
"""Nights that say what was usual, on the other side."""
NEAR: Final = 3
_LENGTHS: Final = (3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 60, 90, 130, 180)
_ROUNDING: Final = 1e-9
_CLIP: Final = 4.0
_DRAWS: Final = 2999
_MARGIN: Final = 1.0
_MOST_CARRIED: Final = 0.8
_PLAIN: Final = 0.1
"""Nights that correlate by less are taken as independent."""


def change_points(values: Sequence[float]) -> list[int]:
    """Return the places at which a series changes its level: each the first of its new level.

    Every place is tried as the one where the level changes (the changepoint model of Hawkins and
    Deng 2010, "A nonparametric change-point control chart"), so that a change of the last nights is
    found as well as an old one. How large the largest difference becomes without a change is
    simulated, from the series' own values in random order, with the autocorrelation that it shows;
    values are clipped at four robust standard deviations, so that an outlier is no change. What
    lies before and behind a change is looked at again (binary segmentation).

    Args:
        values: in the order of time.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) and series.min() > 0:
        series = np.log(series)  # what changes by a tenth does so on any scale
    return sorted(_within(series, 0))


def _within(values: Floats, offset: int) -> list[int]:
    place, p = likeliest_change(values)
    found = place is not None and p < P_VALUE
    places = _stretch(values) if place is None or not found else [_settled(values, place)]
    if not places:
        return []
    edges = [0, *places, len(values)]
    parts = [
        at for begin, end in pairwise(edges) for at in _within(values[begin:end], offset + begin)
    ]
    return [*parts, *(offset + at for at in places)]


def _settled(values: Floats, place: int) -> int:
    """Return where near a place the two sides lie closest to their medians.

    A night next to the change that is a little off moves the place that a mean would choose.
    """
    first = _first(len(values))
    near = range(max(place - NEAR, first), min(place + NEAR, len(values) - first) + 1)
    return min(near, key=lambda at: _misfit(values, at))


def _misfit(values: Floats, place: int) -> float:
    sides = values[:place], values[place:]
    return sum(float(np.abs(side - np.median(side)).sum()) for side in sides)


def _stretch(values: Floats) -> list[int]:
    """Return where a level begins that lasts for a stretch and where it ends, if there is one.

    Between two changes of opposite direction neither shows alone: stretches of some lengths are
    held against all other nights (circular binary segmentation; Olshen and others 2004).
    """
    n = len(values)
    lengths = [length for length in _LENGTHS if length <= n - 2 * FEWEST]
    if n < 2 * FEWEST + FEWEST_BEFORE or np.ptp(values) == 0 or not lengths:
        return []
    clipped = _clipped(values)

    def largest(rows: Floats) -> tuple[Floats, NDArray[np.int64]]:
        centred = rows - rows.mean(axis=1, keepdims=True)
        sums = np.pad(np.cumsum(centred, axis=1), ((0, 0), (1, 0)))
        total = (centred**2).sum(axis=1, keepdims=True)
        found = []
        for length in lengths:
            inside = sums[:, length:] - sums[:, :-length]
            inside = inside[:, FEWEST : n - length - FEWEST + 1]
            between = inside**2 * (n / (length * (n - length)))
            found.append(between / np.maximum(total - between, 1e-12 * total + 1e-300))
        every = np.concatenate(found, axis=1)
        return every.max(axis=1), every.argmax(axis=1)

    (seen,), (at,) = largest(clipped[None, :])
    carried = _carried(clipped - clipped.mean())
    null = _shuffled(clipped)
    if carried > 0:
        null = _carried_on(null[:, 1:] - null.mean(), carried)
    drawn, _ = largest(null)
    if (1 + int(np.count_nonzero(drawn >= seen - 1e-12))) / (1 + len(drawn)) >= STRETCH_P:
        return []
    for length in lengths:
        places = n - length - 2 * FEWEST + 1
        if at < places:
            return [FEWEST + int(at), FEWEST + int(at) + length]
        at -= places
    return []


def likeliest_change(values: Floats) -> tuple[int | None, float]:
    """Return where a series most likely changes, and how likely chance alone does that.

    Args:
        values: shape (n,).

    Returns:
        the first place behind the change, `None` where there are too few values or all are alike;
        and the p value.
    """
    n = len(values)
    if n < FEWEST + FEWEST_BEFORE or np.ptp(values) == 0:
        return None, 1.0
    clipped = _clipped(values)
    if np.ptp(clipped) == 0:
        return None, 1.0
    statistics = _statistics(clipped[None, :])[0]
    largest = float(statistics.max()) * (1 - _ROUNDING)
    # Of places that are alike but for rounding the first, whatever unit the values are in.
    place = int(np.argmax(statistics >= largest)) + _first(n)
    residual = np.concatenate([side - side.mean() for side in (clipped[:place], clipped[place:])])
    carried = _carried(residual)
    if carried <= 0:
        null = _shuffled(clipped)
    else:
        # Around the two levels: with the change in it the series would look like one that drifts.
        null = _carried_on(_shuffled(residual[1:] - carried * residual[:-1]), carried)
    drawn = _statistics(null).max(axis=1)
    return place, (1 + int(np.count_nonzero(drawn >= largest))) / (1 + len(drawn))


def _first(n: int) -> int:
    """Return the first place that is tried: a new level of three nights, at either end."""
    return FEWEST if n >= FEWEST + FEWEST_BEFORE else n


def _clipped(values: Floats) -> Floats:
    """Return values within four robust standard deviations of their median, in any order alike."""
    middle = np.median(values)
    scale = 1.4826 * float(np.median(np.abs(values - middle)))
    if scale <= 0:
        return values
    found: Floats = np.clip(values, middle - _CLIP * scale, middle + _CLIP * scale)
    return found


def _statistics(rows: Floats) -> Floats:
    """Return Student's t of every place of every row, shape (rows, places)."""
    n = rows.shape[1]
    places = np.arange(_first(n), n - _first(n) + 1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    sums = np.cumsum(centred, axis=1)[:, places - 1]
    between = sums**2 * (n / (places * (n - places)))
    total = (centred**2).sum(axis=1, keepdims=True)
    within = np.maximum(total - between, 1e-12 * total + 1e-300)
    found: Floats = np.sqrt(between / within * (n - 2))
    return found


def _carried(residual: Floats) -> float:
    """Return how much of a night carries over to the next; 0 where that is little.

    At the upper end of what it may be, where it shows at all: with the bias of a short series taken
    off (Marriott and Pope 1954), and one standard error added.
    """
    n = len(residual)
    squares = float(residual @ residual)
    if squares <= 0:
        return 0.0
    r = float(residual[1:] @ residual[:-1]) / squares
    r += (2 + 3 * r) / n
    if r < _PLAIN:
        return 0.0
    return min(r + _MARGIN * math.sqrt((1 - min(r, 1.0) ** 2) / n), _MOST_CARRIED)


def _shuffled(values: Floats) -> Floats:
    """Return the values in many random orders, the same for the same number of them."""
    draw = np.random.default_rng(len(values))
    order = draw.random((_DRAWS, len(values))).argsort(axis=1)
    return values[order]


def _carried_on(rows: Floats, carried: float) -> Floats:
    """Return autoregressive series of which the rows are what is new each night."""
    found = np.empty((len(rows), rows.shape[1] + 1))
    found[:, 0] = rows[:, 0] / math.sqrt(1 - carried * carried)
    for night in range(rows.shape[1]):
        found[:, night + 1] = carried * found[:, night] + rows[:, night]
    return found


_DIFFERENCES: Final = 3
"""So many are named of what two runs were asked differently."""


@dataclass(slots=True)
class Series:
    """One figure of one level of a scenario, run after run.

    Args:
        scenario: what the runs are of; where runs of it were asked different things, with what.
        level: its name; empty: of the whole run.
        figure: such as `ttft.p99`, in seconds.
        runs: their names, oldest first.
        values: of each.
    """

    scenario: str
    level: str
    figure: str
    runs: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def changes(self) -> list[int]:
        """Places at which it changes its level."""
        return change_points(self.values)


@dataclass(slots=True)
class History:
    """The runs of a folder.

    Args:
        folders: oldest first.
        broken: what could not be read, and why.
    """

    folders: list[RunFolder] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def series(self) -> list[Series]:
        """Return the series of valid, finished runs; those of one series asked the same."""
        found: dict[tuple[str, str, str], Series] = {}
        asked = _Asked()
        for folder in self.folders:
            if folder.unfinished:
                continue
            name = asked.name(folder)
            for level, figure, value in _figures(folder):
                key = (name, level, figure)
                one = found.setdefault(key, Series(*key))
                one.runs.append(folder.name)
                one.values.append(value)
        return list(found.values())


class _Asked:
    """Tells runs of one scenario apart that were asked different things."""

    def __init__(self) -> None:
        self._first: dict[str, list[tuple[str, RunFolder]]] = {}

    def name(self, folder: RunFolder) -> str:
        """Return the scenario, and in what the run differs from the first of it, if in anything."""
        scenario = scenario_of(folder)
        kinds = self._first.setdefault(scenario, [])
        for name, first in kinds:
            if not forbidding(first.run, folder.run):
                return name
        name = scenario
        if kinds:
            differences = forbidding(kinds[0][1].run, folder.run)
            said = ", ".join(f"{one.where} {one.second}" for one in differences[:_DIFFERENCES])
            name = harmless(f"{scenario} ({said})")
        if any(name == other for other, _ in kinds):
            name = f"{name} #{len(kinds) + 1}"
        kinds.append((name, folder))
        return name


def _figures(folder: RunFolder) -> list[tuple[str, str, float]]:
    found: list[tuple[str, str, float]] = []
    by_key = sides(folder)
    for key, side in by_key.items():
        if any(level.verdict == "invalid" for level in side.levels):
            continue
        for figure in TRACKED:
            value = side.value(figure)
            if value is not None:
                found.append((key_name(key, list(by_key)), figure, value))
    checks, score = folder.checks(), folder.eval()
    if checks is not None and checks.summary.pass_ratio is not None:
        found.append(("", "functional.pass_ratio", checks.summary.pass_ratio))
    if score is not None and score.mean is not None:
        found.append(("", f"accuracy {score.task}", score.mean))
    return found


def read_history(results: Path) -> History:
    """Return the runs of a folder, oldest first.

    Raises:
        ConfigError: it holds none.
    """
    history = History()
    for file in sorted(results.glob("*/run.json")):
        try:
            history.folders.append(RunFolder(file.parent))
        except ConfigError as error:
            history.broken.append(str(error))
    if not history.folders:
        raise ConfigError(f"{results}: holds no run; measure one with benchcore climb")
    history.folders.sort(key=lambda one: str(one.run.started_at))
    return history


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands of a run in a list of runs.

    Args:
        name: of its folder.
        scenario: what it is of.
        model: that was asked.
        status: how far it came.
        validity: the worst of its levels.
        level: with the most output tokens.
        tokens: of that level, per second.
    """

    name: str
    scenario: str
    model: str | None
    status: str
    validity: str
    level: str | None
    tokens: float | None


def listed(folder: RunFolder) -> Listed:
    """Return what stands of a run in a list of runs."""
    verdicts = {level.verdict for level in folder.levels}
    worst = next((one for one in ("invalid", "suspect", "valid") if one in verdicts), "–")
    best = max(folder.levels, key=lambda one: one.output_token_throughput or 0, default=None)
    return Listed(
        folder.name,
        scenario_of(folder),
        folder.run.target.model,
        folder.run.status,
        worst,
        None if best is None else best.level,
        None if best is None else best.output_token_throughput,
    )
