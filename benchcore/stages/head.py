"""Head: the `run.json` of a run that holds no climb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchcore.clock import utc_now
from benchcore.metrics.run import RunResult
from benchcore.metrics.status import Status
from benchcore.observe.host import host_facts
from benchcore.sinks.folder import replace_file
from benchcore.sinks.run_json import dump
from benchcore.stages.perf.facts import versions


def write_head(
    folder: Path,
    started_at: str,
    status: Status,
    *,
    name: str,
    command: Sequence[str],
    target: Mapping[str, Any],
    labels: Mapping[str, str],
) -> None:
    """Write `run.json` with what is known of every run, and no levels.

    Args:
        folder: of the run.
        started_at: UTC, ISO 8601.
        status: how far it has come.
        name: of the run.
        command: how benchcore was called.
        target: whom it asks, as `target_facts` has it.
        labels: the user's own facts.

    Raises:
        OSError: it cannot be written.
    """
    facts = {
        "name": name,
        "command": list(command),
        "labels": dict(labels),
        "target": dict(target),
        "versions": versions(),
        "host": host_facts(),
    }
    run = RunResult(folder.name, started_at, facts, status=status)
    if status != "running":
        run.ended_at = utc_now()
    replace_file(folder / "run.json", dump(run.to_json()))
