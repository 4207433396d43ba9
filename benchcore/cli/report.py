"""The `benchcore report` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.folders import RESULTS, read_folder
from benchcore.errors import ConfigError

if TYPE_CHECKING:
    from benchcore.report.run_folder import RunFolder


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
)
@RESULTS
def report(runs: tuple[Path, ...], form: str, results: Path) -> int:
    """Show runs that are over; the newest one where none is named."""
    from benchcore.report.run_folder import newest
    from benchcore.sinks.run_json import dump

    folders = [read_folder(path) for path in runs or (newest(results),)]
    if form == "json":
        found: list[Any] = [folder.run for folder in folders]
        sys.stdout.write(dump(found[0] if len(found) == 1 else found).decode())
        return 0
    show = _markdown if form == "markdown" else _text
    for place, folder in enumerate(folders):
        if place:
            click.echo()
        if form == "table" and (len(folders) > 1 or not runs):
            click.echo(f"{folder.path}")
        sys.stdout.write(show(folder))
    sys.stdout.flush()
    return 0


def _markdown(folder: RunFolder) -> str:
    from benchcore.report.markdown import render_markdown

    return render_markdown(folder.run, folder.json("functional.json"), folder.json("accuracy.json"))


def _text(folder: RunFolder) -> str:
    try:
        return _rendered(folder)
    except ValueError as error:
        raise ConfigError(f"{folder.path}: {error}; is it of an older benchcore?") from None


def _rendered(folder: RunFolder) -> str:
    from benchcore.metrics.accuracy import AccuracyReport
    from benchcore.report.accuracy import render_accuracy
    from benchcore.report.functional import render_functional
    from benchcore.report.table import render
    from benchcore.sinks.accuracy import read_samples

    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    parts = []
    if folder.levels:
        parts.append(render(folder.run, color=color))
    checks = folder.json("functional.json")
    if checks is not None:
        from benchcore.metrics.functional import FunctionalReport

        parts.append(render_functional(FunctionalReport.from_json(checks), color=color))
    accuracy = folder.json("accuracy.json")
    if accuracy is not None and "score" in accuracy:
        found = AccuracyReport.from_json(accuracy, read_samples(folder.path))
        parts.append(render_accuracy(found, color=color))
    if not parts:
        raise ConfigError(f"{folder.path}: nothing was measured")
    return "\n".join(parts)
