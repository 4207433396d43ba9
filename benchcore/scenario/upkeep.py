"""Upkeep: one run at a time in a folder of results, and the removal of old ones."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.base.errors import ConfigError, LockError, ResultsError
from benchcore.judge.baselines import run_type_of, scenario_of, unfit
from benchcore.runs.reading import RunFolder

FILE = ".lock"


@contextmanager
def lock(results: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder of results; the kernel lets go of it when this process ends.

    Args:
        results: the folder.
        what: what runs, for whoever comes second.

    Raises:
        LockError: another run holds it; says which.
        ConfigError: the folder cannot be written, or its disk is full.
    """
    path = results / FILE
    try:
        results.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a full disk has refused would else be tried again at the close.
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(500).decode(errors="replace").strip() or "another run"
            raise LockError(
                f"{path}: held by {holder}; wait for it, or name another folder with --output"
            ) from None
        try:
            file.truncate(0)
            file.write(f"{what}, process {os.getpid()}\n".encode())
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); make room, or name another folder "
                "with --output"
            ) from None
        try:
            yield
        finally:
            # The file stays: if it went, two that came after could each lock one of their own.
            with suppress(OSError):  # whoever locks it next writes it anew
                file.truncate(0)


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
