"""Prune: old runs are removed, so that a nightly job does not fill a disk."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.errors import ConfigError, ResultsError
from benchcore.report.baselines import run_type_of, scenario_of, unfit
from benchcore.report.run_folder import RunFolder

_FOLDER: Final = re.compile(r"(\d{8}T\d{6}Z)-.+\Z")
_OURS: Final = ("run.json", "result.json", "matrix.json")


@dataclass(frozen=True, slots=True)
class OldRun:
    """A run that is older than what is kept.

    Args:
        path: its folder.
        kept: why it stays all the same; empty: it does not.
    """

    path: Path
    kept: str = ""


def old_runs(results: Path, keep: dt.timedelta, now: dt.datetime) -> list[OldRun]:
    """Return the runs of a folder that are older than `keep`, oldest first.

    Baselines and examples are in folders of their own and are never among them. The newest valid
    run of a scenario stays, one of each run type, since the next one may be held against it: a
    nightly run is held against the last nightly one, however many pull requests came after.

    Args:
        results: the folder.
        keep: what is younger stays.
        now: UTC.
    """
    folders = sorted(_runs(results))
    last = dict(_valid(path for _, path in folders))
    kept = {path: _why(run_type) for (_, run_type), path in last.items()}
    return [OldRun(path, kept.get(path, "")) for began, path in folders if now - began > keep]


def _why(run_type: str) -> str:
    return f"the newest valid {run_type + ' ' if run_type else ''}run of its scenario"


def _runs(results: Path) -> Iterator[tuple[dt.datetime, Path]]:
    for path in results.iterdir():
        stamp = _FOLDER.match(path.name)
        # What is not certainly a run of ours is somebody's, whatever it is called.
        if stamp is None or path.is_symlink() or not any((path / name).is_file() for name in _OURS):
            continue
        try:
            began = dt.datetime.strptime(stamp[1], "%Y%m%dT%H%M%SZ")
        except ValueError:
            continue
        yield began.replace(tzinfo=dt.UTC), path


def _valid(folders: Iterator[Path]) -> Iterator[tuple[tuple[str, str], Path]]:
    for path in folders:
        try:
            run = RunFolder(path)
        except ConfigError:
            continue
        if not unfit(run, simulator=True):
            yield (scenario_of(run), run_type_of(run)), path


def remove_run_folder(path: Path) -> None:
    """Remove the folder of a run.

    Raises:
        ResultsError: it cannot be removed.
    """
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be removed ({error.strerror})") from None
