"""Matrix result: what became of the scenarios of a matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchcore.config.json_file import read_json
from benchcore.errors import ConfigError
from benchcore.metrics.status import Status
from benchcore.pipeline.result import ScenarioResult, worst
from benchcore.report.run_folder import RunFolder
from benchcore.stages.protocol import StageStatus

SCHEMA_VERSION: Final = 1
FILE: Final = "matrix.json"
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
    """

    scenario: str
    file: str
    folder: str = ""
    result: ScenarioResult | None = None
    exit_code: int = 0
    message: str = ""
    skipped: str = ""

    @property
    def verdict(self) -> str:
        """What it comes to: that of its result, `failed` without one, or `skipped`."""
        if self.skipped:
            return "skipped"
        return "failed" if self.result is None else self.result.verdict

    def to_json(self) -> dict[str, Any]:
        """Return it as an entry of `matrix.json`."""
        parts = [] if self.result is None else self.result.parts
        return {
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

    def to_json(self) -> dict[str, Any]:
        """Return it as `matrix.json`."""
        over = self.status != "running"
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "file": self.file,
            "run_type": self.run_type,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "status": self.status,
            "dry_run": self.dry_run,
            "verdict": self.verdict if over else None,
            "exit_code": self.exit_code if over else None,
            "scenarios": [entry.to_json() for entry in self.entries],
        }


def earlier(folder: Path) -> dict[str, Any]:
    """Return what a folder's `matrix.json` holds.

    Raises:
        ConfigError: there is none, or it is not one.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: has no {FILE}; name the folder of a matrix")
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("scenarios"), list):
        raise ConfigError(f"{path}: is not of a matrix")
    return found


def whole(folder: Path) -> ScenarioResult:
    """Return the result of a scenario that is finished, with every file that it speaks of.

    Raises:
        ConfigError: it is not; says why.
    """
    result = ScenarioResult.read(folder)
    if result.status != "complete" or result.dry_run:
        raise ConfigError(f"{folder}: is {'a dry run' if result.dry_run else result.status}")
    for part in result.parts:
        file = _HELD.get(part.name)
        if file is None or part.status not in (StageStatus.PASSED, StageStatus.WARNED):
            continue
        if part.name == "perf":
            if RunFolder(folder).unfinished:
                raise ConfigError(f"{folder / file}: is not complete")
        elif not isinstance(read_json(folder / file), dict):
            raise ConfigError(f"{folder / file}: is not whole")
    return result
