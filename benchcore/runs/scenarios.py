"""Scenarios: what a scenario and a matrix leave, `result.json` and `matrix.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchcore.base.stored import Count, Facts, Flag, Number, Stored
from benchcore.metrics.accuracy import Status
from benchcore.runs.run import TargetFacts

StageVerdict = Literal["passed", "warned", "failed", "skipped", "interrupted", "planned"]
Verdict = Literal["passed", "warned", "failed", "interrupted", "planned"]


class Stage(Stored):
    """What became of a stage of a scenario."""

    name: str
    status: StageVerdict
    message: str | None = None
    exit_code: Count
    started_at: str | None = None
    seconds: Number
    limit_seconds: Number | None = None
    facts: Facts = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)


class Scenario(Stored):
    """What became of a scenario, stage by stage: `result.json`."""

    schema_version: Count
    scenario: str
    run_type: str
    run_id: str
    started_at: str
    ended_at: str | None = None
    status: Status
    dry_run: Flag
    verdict: Verdict | None = None
    exit_code: Count | None = None
    file: str | None = None
    command: list[str] | None = None
    labels: dict[str, str] | None = None
    target: TargetFacts | None = None
    digest: str | None = None
    stages: list[Stage]


class MatrixStage(Stored):
    """What a matrix says of a stage of one of its scenarios."""

    name: str
    status: StageVerdict
    seconds: Number
    message: str | None = None


class MatrixScenario(Stored):
    """What became of one scenario of a matrix; `folder` lies beside that of the matrix."""

    scenario: str
    file: str
    folder: str | None = None
    verdict: Verdict | Literal["skipped", "running", "waiting"]
    exit_code: int
    message: str | None = None
    stages: list[MatrixStage] = Field(default_factory=list)


class Matrix(Stored):
    """What became of a matrix, scenario by scenario: `matrix.json`."""

    schema_version: Count
    name: str
    file: str
    run_type: str
    started_at: str
    ended_at: str | None = None
    status: Status
    dry_run: Flag
    verdict: Verdict | None = None
    exit_code: Count | None = None
    scenarios: list[MatrixScenario]
