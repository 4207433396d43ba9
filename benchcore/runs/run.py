"""Run: the levels of a climb and everything that is needed to do it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchcore.metrics.accuracy import Status
from benchcore.metrics.level import LevelResult

SCHEMA_VERSION = 1


@dataclass(slots=True)
class RunResult:
    """A climb, finished or not.

    Args:
        run_id: name of its folder.
        started_at: UTC, ISO 8601.
        facts: `command, target, workload, load, seeds, versions, host, labels` of `run.json`.
        levels: one result per level and repeat.
        status: how far it came.
        stopped: why it ended before the last level; empty where it did not.
        folder: where it was written.
    """

    run_id: str
    started_at: str
    facts: dict[str, Any]
    levels: list[LevelResult] = field(default_factory=list)
    status: Status = "running"
    stopped: str = ""
    ended_at: str | None = None
    error: str = ""
    folder: Path | None = None

    @property
    def valid(self) -> bool:
        """Whether no level is invalid."""
        return all(level.validity.verdict != "invalid" for level in self.levels)

    def to_json(self) -> dict[str, Any]:
        """Return it as `run.json`."""
        found: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "status": self.status,
            "stopped": self.stopped or None,
            "error": self.error or None,
            **self.facts,
            "timestamps": {
                "kernel": sum(level.evidence.reads_kernel for level in self.levels),
                "userspace": sum(level.evidence.reads_userspace for level in self.levels),
            },
            "levels": [level.to_json() for level in self.levels],
        }
        return found
