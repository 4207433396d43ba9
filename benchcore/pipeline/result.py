"""Result: what became of a scenario, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

from benchcore.config.json_file import read_json
from benchcore.errors import ConfigError
from benchcore.metrics.status import Status
from benchcore.stages.protocol import StagePart, StageStatus

SCHEMA_VERSION: Final = 1
FILE: Final = "result.json"
Verdict = Literal["passed", "warned", "failed", "interrupted", "planned"]
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

    def to_json(self) -> dict[str, Any]:
        """Return it as `result.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "scenario": self.scenario,
            "run_type": self.run_type,
            "run_id": self.run_id,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "status": self.status,
            "dry_run": self.dry_run,
            "verdict": self.verdict if self.status != "running" else None,
            "exit_code": self.exit_code if self.status != "running" else None,
            **self.facts,
            "stages": [part.to_json() for part in self.parts],
        }

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a folder's `result.json` holds.

        Raises:
            ConfigError: there is none, or it is not whole.
        """
        path = folder / FILE
        found = read_json(path)
        try:
            parts = [
                StagePart(
                    one["name"],
                    StageStatus(one["status"]),
                    one["message"] or "",
                    one["exit_code"],
                    one["started_at"] or "",
                    one["seconds"],
                    one["limit_seconds"],
                    one["facts"],
                    one["notes"],
                )
                for one in found["stages"]
            ]
            code = found["exit_code"] or 0
            return cls(
                found["scenario"],
                found["run_type"],
                found["run_id"],
                found["started_at"],
                {name: found[name] for name in ("file", "command", "labels", "target", "digest")},
                found["status"],
                found["ended_at"],
                found["dry_run"],
                code - 128 if code > 128 else 0,
                parts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: is not whole: {error}") from None
