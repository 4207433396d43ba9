"""Plan: what a scenario would do, and how long that took the last time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchcore.errors import BenchcoreError, ConfigError
from benchcore.pipeline.result import FILE, ScenarioResult
from benchcore.pipeline.scenario_file import LoadedScenario
from benchcore.pipeline.scenario_run import ScenarioRun
from benchcore.pipeline.stage_run import plan_stage
from benchcore.stages.protocol import StageStatus


@dataclass(slots=True)
class PlannedStage:
    """What a stage would do.

    Args:
        name: of the stage.
        lines: for people.
        at_most: seconds; `None`: not known.
        last_time: seconds that it took in the last complete run; `None`: there is none.
        fault: why it could not be done; empty where it could.
    """

    name: str
    lines: list[str]
    at_most: float | None
    last_time: float | None
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as an object of JSON."""
        return {
            "name": self.name,
            "does": self.lines,
            "at_most_seconds": self.at_most,
            "last_time_seconds": self.last_time,
            "fault": self.fault or None,
        }


def plan_scenario(loaded: LoadedScenario, results: Path) -> list[PlannedStage]:
    """Return what each stage would do; nothing is touched.

    Args:
        loaded: the scenario.
        results: where earlier runs are.
    """
    context = ScenarioRun(loaded, results / "planned", results).context
    before = _last_time(loaded.scenario.id, loaded.run_type.name, results)
    found = []
    for stage in loaded.stages:
        took = before.get(stage.name)
        try:
            plan = plan_stage(stage, context)
        except BenchcoreError as error:
            found.append(PlannedStage(stage.name, [], None, took, str(error)))
        else:
            found.append(PlannedStage(stage.name, plan.lines, plan.seconds, took))
    return found


def _last_time(scenario: str, run_type: str, results: Path) -> dict[str, float]:
    """Return the seconds of each stage that passed in the newest complete run of the same."""
    for file in sorted(results.glob(f"*/{FILE}"), reverse=True):
        try:
            result = ScenarioResult.read(file.parent)
        except ConfigError:
            continue  # a broken neighbour only costs an estimate
        same = (result.scenario, result.run_type) == (scenario, run_type)
        if same and result.status == "complete" and not result.dry_run:
            over = (StageStatus.PASSED, StageStatus.WARNED)
            return {part.name: part.seconds for part in result.parts if part.status in over}
    return {}
