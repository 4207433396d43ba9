"""Folders: the run folders that a command is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from benchcore.report.run_folder import RunFolder

RESULTS = click.option(
    "--results",
    default="results",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Look for runs and baselines in this folder.",
)


def chosen(run: Path | None, results: Path) -> RunFolder:
    """Read the run that is named, or the newest one.

    Raises:
        ConfigError: there is none.
    """
    from benchcore.report.run_folder import newest

    return read_folder(newest(results) if run is None else run)


def read_folder(path: Path) -> RunFolder:
    """Read the folder of a run; of an unfinished one it is said that it is.

    Raises:
        ConfigError: it holds no run.
    """
    from benchcore.report.run_folder import RunFolder

    folder = RunFolder(path)
    if folder.unfinished:
        click.echo(f"benchcore: {folder.unfinished}", err=True)
    return folder
