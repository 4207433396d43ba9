"""The `benchcore compare` command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchcore.errors import ConfigError

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("baseline", type=_FOLDER)
@click.argument("run", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def compare(baseline: Path, run: Path, *, as_json: bool) -> int:
    """Compare the eval in RUN with the one in BASELINE, on the questions that both answered."""
    from benchcore.metrics.accuracy import by_question
    from benchcore.metrics.scores import paired_difference
    from benchcore.report.accuracy import render_difference
    from benchcore.sinks.accuracy import read_accuracy, read_samples
    from benchcore.sinks.run_json import dump

    first, second = read_accuracy(baseline), read_accuracy(run)
    if first["task"] != second["task"]:
        raise ConfigError(
            f"{baseline} is of {first['task']} and {run} of {second['task']}: two tasks do not "
            "compare"
        )
    difference = paired_difference(
        by_question(read_samples(baseline)), by_question(read_samples(run))
    )
    for path, facts in ((baseline, first), (run, second)):
        if facts["status"] != "complete":
            click.echo(f"benchcore: {path} is {facts['status']}: not all is in it", err=True)
    if as_json:
        found = None if difference is None else difference.to_json()
        facts = {"baseline": str(baseline), "run": str(run), "paired": found}
        sys.stdout.write(dump(facts).decode())
    else:
        sys.stdout.write(render_difference((str(baseline), str(run)), difference))
    return 0
