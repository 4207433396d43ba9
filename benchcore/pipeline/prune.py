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
from benchcore.report.baselines import scenario_of, unfit
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
    run of a scenario stays, since the next one may be held against it.

    Args:
        results: the folder.
        keep: what is younger stays.
        now: UTC.
    """
    folders = sorted(_runs(results))
    last = dict(_valid(path for _, path in folders))
    return [
        OldRun(path, "the newest valid run of its scenario" if path in last.values() else "")
        for began, path in folders
        if now - began > keep
    ]


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


def _valid(folders: Iterator[Path]) -> Iterator[tuple[str, Path]]:
    for path in folders:
        try:
            run = RunFolder(path)
        except ConfigError:
            continue
        if not unfit(run, simulator=True):
            yield scenario_of(run), path


def remove_run_folder(path: Path) -> None:
    """Remove the folder of a run.

    Raises:
        ResultsError: it cannot be removed.
    """
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be removed ({error.strerror})") from None
