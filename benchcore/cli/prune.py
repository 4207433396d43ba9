"""The `benchcore prune` command."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import click

from benchcore.cli.output import json_option, show_json
from benchcore.cli.scenario import OUTPUT
from benchcore.cli.values import Value
from benchcore.errors import ConfigError


def _age(text: str) -> dt.timedelta:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dhw])\s*", text)
    if found is None:
        raise ConfigError(f"{text!r} is not an age such as 30d, 12h or 8w")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[found[2]]
    try:
        return dt.timedelta(**{unit: float(found[1])})
    except OverflowError:
        raise ConfigError(f"{text!r} is longer ago than there are dates") from None


AGE = Value("AGE", _age)


@click.command()
@click.option(
    "--keep", type=AGE, required=True, help="Keep runs that are younger than this, such as 30d."
)
@OUTPUT
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option()
def prune(**given: Any) -> int:
    """Remove old runs.

    Baselines, examples and the newest valid run of each scenario and run type stay.
    """
    from benchcore.pipeline.lock import lock
    from benchcore.pipeline.prune import old_runs, remove_run_folder

    if not given["output"].is_dir():
        raise ConfigError(f"{given['output']}: is no folder; name that of the results by --output")
    now = dt.datetime.now(dt.UTC)
    removed: list[str] = []
    kept: list[dict[str, str]] = []
    tell: Any = (lambda _line: None) if given["as_json"] else click.echo
    with lock(given["output"], "benchcore prune"):
        for run in old_runs(given["output"], given["keep"], now):
            if run.kept:
                kept.append({"path": str(run.path), "why": run.kept})
                tell(f"kept {run.path}: {run.kept}")
                continue
            if not given["dry_run"]:
                remove_run_folder(run.path)
            removed.append(str(run.path))
            tell(f"{'would remove' if given['dry_run'] else 'removed'} {run.path}")
    if given["as_json"]:
        show_json({"dry_run": given["dry_run"], "removed": removed, "kept": kept})
    click.echo(f"{len(removed)} {'run' if len(removed) == 1 else 'runs'}", err=True)
    return 0
