"""Result: what became of a scenario, stage by stage, and of those of a matrix."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from benchcore.base.errors import ConfigError
from benchcore.metrics.accuracy import Status
from benchcore.runs.reading import RunFolder, read_result
from benchcore.runs.scenarios import Matrix, MatrixScenario, Scenario, Verdict
from benchcore.scenario.stage import StagePart, StageStatus

RESULT_SCHEMA_VERSION: Final = 1
RESULT_FILE: Final = "result.json"
_FIRST: Final = (1, 3, 4, 5)
"""Of several exit codes the first of these counts (contract, section 6)."""


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several: the first of 1, 3, 4, 5 that there is, else another."""
    found = sorted({code for code in codes if code})
    for code in _FIRST:
        if code in found:
            return code
    return found[0] if found else 0


@dataclass(slots=True)
class ScenarioResult:
    """What became of a scenario.

    Args:
        scenario: its id.
        run_type: `pr` or `daily`.
        run_id: name of its folder.
        facts: `file, command, labels, target, digest` of `result.json`.
        status: how far it came.
        dry_run: whether nothing was touched.
        signal: that interrupted it; 0: none.
    """

    scenario: str
    run_type: str
    run_id: str
    started_at: str
    facts: dict[str, Any] = field(default_factory=dict)
    status: Status = "running"
    ended_at: str | None = None
    dry_run: bool = False
    signal: int = 0
    parts: list[StagePart] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """What it comes to."""
        statuses = {part.status for part in self.parts}
        if self.status == "interrupted":
            return "interrupted"
        if self.dry_run:
            return "planned" if StageStatus.FAILED not in statuses else "failed"
        if StageStatus.FAILED in statuses or self.status == "failed":
            return "failed"
        return "warned" if StageStatus.WARNED in statuses else "passed"

    @property
    def exit_code(self) -> int:
        """What a command exits with after it."""
        if self.signal:
            return 128 + self.signal
        found = worst(part.exit_code for part in self.parts)
        return found or (1 if self.status == "failed" else 0)

    def stored(self) -> Scenario:
        """Return it as `result.json` holds it."""
        over = self.status != "running"
        return Scenario.model_validate(
            {
                "schema_version": RESULT_SCHEMA_VERSION,
                "scenario": self.scenario,
                "run_type": self.run_type,
                "run_id": self.run_id,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                "status": self.status,
                "dry_run": self.dry_run,
                "verdict": self.verdict if over else None,
                "exit_code": self.exit_code if over else None,
                **self.facts,
                "stages": [part.to_json() for part in self.parts],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as `result.json`."""
        return self.stored().to_json()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a folder's `result.json` holds.

        Raises:
            ConfigError: there is none, or it is not whole.
        """
        found = read_result(folder / RESULT_FILE, Scenario)
        parts = [
            StagePart(
                one.name,
                StageStatus(one.status),
                one.message or "",
                one.exit_code,
                one.started_at or "",
                one.seconds,
                one.limit_seconds,
                dict(one.facts),
                one.notes,
            )
            for one in found.stages
        ]
        code = found.exit_code or 0
        whole = found.to_json()
        return cls(
            found.scenario,
            found.run_type,
            found.run_id,
            found.started_at,
            {name: whole.get(name) for name in ("file", "command", "labels", "target", "digest")},
            found.status,
            found.ended_at,
            found.dry_run,
            code - 128 if code > 128 else 0,
            parts,
        )


MATRIX_SCHEMA_VERSION: Final = 1
MATRIX_FILE: Final = "matrix.json"
_OF_THE_MACHINE: Final = (1, 2, 3)
"""Exit codes of what may go well another time: the server or a file was not there."""
_HELD: Final = {"perf": "run.json", "functional": "functional.json", "accuracy": "accuracy.json"}


@dataclass(slots=True)
class MatrixEntry:
    """A scenario of a matrix, and what became of it.

    Args:
        scenario: its id.
        file: of it.
        folder: of its run, beside that of the matrix; empty: it did not run.
        result: what became of it; `None`: it has not run, or left nothing that can be read.
        exit_code: of its process.
        message: what must be known of it besides.
        skipped: why it was left out; empty: it was not.
        interrupted: whether a signal ended it before it had begun.
    """

    scenario: str
    file: str
    folder: str = ""
    result: ScenarioResult | None = None
    exit_code: int = 0
    message: str = ""
    skipped: str = ""
    interrupted: bool = False

    @property
    def verdict(self) -> str:
        """What it comes to: that of its result; without one, why there is none."""
        if self.skipped:
            return "skipped"
        if self.result is not None:
            return self.result.verdict
        if self.interrupted:
            return "interrupted"
        if self.exit_code:
            return "failed"
        return "running" if self.folder else "waiting"

    def stored(self) -> MatrixScenario:
        """Return it as `matrix.json` holds it."""
        parts = [] if self.result is None else self.result.parts
        return MatrixScenario.model_validate(
            {
                "scenario": self.scenario,
                "file": self.file,
                "folder": self.folder or None,
                "verdict": self.verdict,
                "exit_code": self.exit_code,
                "message": self.message or self.skipped or None,
                "stages": [
                    {
                        "name": part.name,
                        "status": str(part.status),
                        "seconds": round(part.seconds, 3),
                        "message": part.message or None,
                    }
                    for part in parts
                ],
            }
        )


@dataclass(slots=True)
class MatrixResult:
    """What became of a matrix.

    Args:
        name: of it.
        file: of it.
        run_type: `pr` or `daily`.
        started_at: UTC, ISO 8601.
        dry_run: whether nothing was touched.
        entries: in the order in which they run, then those that were left out.
        status: how far it came.
        signal: that interrupted it; 0: none.
    """

    name: str
    file: str
    run_type: str
    started_at: str
    dry_run: bool = False
    entries: list[MatrixEntry] = field(default_factory=list)
    status: Status = "running"
    ended_at: str | None = None
    signal: int = 0

    @property
    def exit_code(self) -> int:
        """The first of 1, 3, 4, 5 that any scenario had; the signal's where there was one."""
        if self.signal:
            return 128 + self.signal
        return worst(entry.exit_code for entry in self.entries)

    @property
    def verdict(self) -> str:
        """The worst of its scenarios."""
        if self.signal:
            return "interrupted"
        found = {entry.verdict for entry in self.entries}
        for verdict in ("failed", "interrupted", "warned", "planned"):
            if verdict in found:
                return verdict
        return "passed"

    def stored(self) -> Matrix:
        """Return it as `matrix.json` holds it."""
        over = self.status != "running"
        return Matrix.model_validate(
            {
                "schema_version": MATRIX_SCHEMA_VERSION,
                "name": self.name,
                "file": self.file,
                "run_type": self.run_type,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                "status": self.status,
                "dry_run": self.dry_run,
                "verdict": self.verdict if over else None,
                "exit_code": self.exit_code if over else None,
                "scenarios": [entry.stored() for entry in self.entries],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as `matrix.json`."""
        return self.stored().to_json()


def earlier(folder: Path) -> tuple[str, str, list[MatrixEntry]]:
    """Return the name, the run type and the scenarios of an earlier run of a matrix.

    Raises:
        ConfigError: the folder holds none, or it is damaged.
    """
    path = folder / MATRIX_FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: has no {MATRIX_FILE}; name the folder of a matrix")
    found = read_result(path, Matrix)
    entries = [
        MatrixEntry(
            one.scenario,
            one.file,
            one.folder or "",
            exit_code=one.exit_code,
            message=one.message or "",
        )
        for one in found.scenarios
    ]
    for entry in entries:
        if entry.folder:
            with suppress(ConfigError):  # a run that left nothing to read has failed
                entry.result = ScenarioResult.read(folder.parent / entry.folder)
        else:
            entry.skipped, entry.message = entry.message or "did not run", ""
    return found.name, found.run_type, entries


def whole(folder: Path, digest: str = "") -> ScenarioResult:
    """Return the result of a scenario that is finished, with every file that it speaks of.

    Args:
        folder: of its run.
        digest: of the scenario as it is now; empty: whatever it was.

    Raises:
        ConfigError: it is not finished, or was of something else; says why.
    """
    result = ScenarioResult.read(folder)
    if result.status != "complete" or result.dry_run:
        raise ConfigError(f"{folder}: is {'a dry run' if result.dry_run else result.status}")
    if result.exit_code in _OF_THE_MACHINE:
        raise ConfigError(f"{folder}: ended with {result.exit_code}, which may be different now")
    if digest and result.facts["digest"] != digest:
        raise ConfigError(f"{folder}: belongs to a scenario that said something else then")
    for part in result.parts:
        file = _HELD.get(part.name)
        if file is None or part.status not in (StageStatus.PASSED, StageStatus.WARNED):
            continue
        run = RunFolder(folder)
        if part.name == "perf":
            _check_climb(run)
        elif (run.checks() if part.name == "functional" else run.eval()) is None:
            raise ConfigError(f"{folder / file}: does not exist")
    return result


def _check_climb(run: RunFolder) -> None:
    if run.unfinished:
        raise ConfigError(f"{run.path / 'run.json'}: is not complete")
    for name in ("summary.csv", "timeline.csv", "histograms.hlog"):
        if not (run.path / name).is_file():
            raise ConfigError(f"{run.path / name}: does not exist")
    for level in run.levels:
        rows = run.requests(level.level, level.repeat)
        if rows is None or int(rows.measured.sum()) != level.scheduled:
            raise ConfigError(f"{run.path / 'requests.csv'}: does not have every request")
