"""Results: those of scenarios and matrices that ran before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from benchcore.base.errors import ConfigError
from benchcore.runs.reading import RunFolder, read_result
from benchcore.runs.scenarios import MatrixResult, ScenarioResult, StageStatus

RESULT_FILE: Final = "result.json"
MATRIX_FILE: Final = "matrix.json"
_OF_THE_MACHINE: Final = (1, 2, 3)
"""Exit codes of what may go well another time: the server or a file was not there."""
_HELD: Final = {"perf": "run.json", "functional": "functional.json", "accuracy": "accuracy.json"}


def read_scenario(folder: Path) -> ScenarioResult:
    """Return what a folder's `result.json` holds.

    Raises:
        ConfigError: there is none, or it is not whole.
    """
    return read_result(folder / RESULT_FILE, ScenarioResult)


def earlier(folder: Path) -> MatrixResult:
    """Return an earlier run of a matrix, each scenario with what its own folder says of it.

    Raises:
        ConfigError: the folder holds none, or it is damaged.
    """
    path = folder / MATRIX_FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: has no {MATRIX_FILE}; name the folder of a matrix")
    found = read_result(path, MatrixResult)
    for entry in found.scenarios:
        if not entry.folder:
            entry.leave_out(entry.message or "did not run")
            continue
        with suppress(ConfigError):  # a run that left nothing to read has failed
            result = read_scenario(folder.parent / entry.folder)
            entry.end(entry.exit_code, result, entry.message)
    return found


def whole(folder: Path, digest: str = "") -> ScenarioResult:
    """Return the result of a scenario that is finished, with every file that it speaks of.

    Args:
        folder: of its run.
        digest: of the scenario as it is now; empty: whatever it was.

    Raises:
        ConfigError: it is not finished, or was of something else; says why.
    """
    result = read_scenario(folder)
    if result.status != "complete" or result.dry_run:
        raise ConfigError(f"{folder}: is {'a dry run' if result.dry_run else result.status}")
    if result.exit_code in _OF_THE_MACHINE:
        raise ConfigError(f"{folder}: ended with {result.exit_code}, which may be different now")
    if digest and result.digest != digest:
        raise ConfigError(f"{folder}: belongs to a scenario that said something else then")
    for stage in result.stages:
        file = _HELD.get(stage.name)
        if file is None or stage.status not in (StageStatus.PASSED, StageStatus.WARNED):
            continue
        run = RunFolder(folder)
        if stage.name == "perf":
            _check_climb(run)
        elif (run.checks() if stage.name == "functional" else run.eval()) is None:
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
