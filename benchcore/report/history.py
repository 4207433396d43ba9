"""History: the runs of a folder as series, one for each figure of each level."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchcore.errors import ConfigError
from benchcore.metrics.change_points import change_points
from benchcore.report.baselines import scenario_of
from benchcore.report.comparison import key_name, sides
from benchcore.report.differences import forbidding
from benchcore.report.run_folder import RunFolder
from benchcore.text import harmless

FIGURES: Final = (
    "ttft.p99",
    "e2e.p99",
    "request_throughput",
    "output_token_throughput",
    "failure_rate",
)

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
        if any(level["validity"] == "invalid" for level in side.levels):
            continue
        for figure in FIGURES:
            value = side.value(figure)
            if value is not None:
                found.append((key_name(key, list(by_key)), figure, value))
    checks, score = folder.json("functional.json"), folder.json("accuracy.json")
    if checks is not None and checks["summary"]["pass_ratio"] is not None:
        found.append(("", "functional.pass_ratio", float(checks["summary"]["pass_ratio"])))
    if score is not None and score.get("score") is not None:
        found.append(("", f"accuracy {score['task']}", float(score["score"])))
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
        raise ConfigError(f"{results}: holds no run; measure one: benchcore climb")
    history.folders.sort(key=lambda one: str(one.run.get("started_at")))
    return history


def facts(folder: RunFolder) -> dict[str, Any]:
    """Return what stands of a run in a list of runs."""
    run = folder.run
    verdicts = {level["validity"] for level in folder.levels}
    worst = next((one for one in ("invalid", "suspect", "valid") if one in verdicts), "–")
    best = max(folder.levels, key=lambda one: one["output_token_throughput"] or 0, default=None)
    return {
        "name": folder.name,
        "scenario": scenario_of(folder),
        "model": (run.get("target") or {}).get("model"),
        "status": run["status"],
        "validity": worst,
        "level": None if best is None else best["level"],
        "tokens": None if best is None else best["output_token_throughput"],
    }
