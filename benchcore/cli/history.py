"""The `benchcore history` command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchcore.cli.output import json_option
from benchcore.errors import ConfigError


@click.command()
@click.argument(
    "results", default="results", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "html"]),
    default="table",
    show_default=True,
    help="Show it in this form.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write html to this file [default: index.html in the folder].",
)
@json_option("the same as --format json")
def history(results: Path, form: str, output: Path | None, *, as_json: bool) -> int:
    """List the runs in RESULTS, and where their figures changed by more than chance."""
    from benchcore.report.history import facts, read_history
    from benchcore.report.history_lines import render_history
    from benchcore.sinks.folder import replace_file
    from benchcore.sinks.run_json import dump

    found = read_history(results)
    if form == "json" or as_json:
        series = [
            {
                "scenario": one.scenario,
                "level": one.level or None,
                "figure": one.figure,
                "runs": one.runs,
                "values": one.values,
                "changes": one.changes,
            }
            for one in found.series()
        ]
        runs = [facts(folder) for folder in found.folders]
        sys.stdout.write(dump({"runs": runs, "series": series, "broken": found.broken}).decode())
        return 0
    if form == "table":
        sys.stdout.write(render_history(found))
        return 0
    from benchcore.report.html.history_page import history_page

    path = output or results / "index.html"
    try:
        replace_file(path, history_page(found).encode())
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror})") from None
    click.echo(str(path))
    return 0
