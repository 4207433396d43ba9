"""The `benchcore plan` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from benchcore.cli.scenario import ONLY, OUTPUT, RUN_TYPE, read_matrix
from benchcore.errors import ConfigError


@click.command()
@click.option("--scenario", metavar="NAME|FILE", help="Plan this scenario.")
@click.option(
    "--matrix",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Plan the scenarios of this matrix [default: scenarios/matrix.yaml].",
)
@RUN_TYPE
@ONLY
@OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(**given: Any) -> int:
    """Say what would run, in what order, and how long it takes; nothing is touched."""
    from benchcore.pipeline.lines import render_plan
    from benchcore.pipeline.plan import plan_scenario
    from benchcore.pipeline.scenario_file import find_scenario, load_scenario
    from benchcore.sinks.run_json import dump

    if given["scenario"] and (given["matrix"] or given["only"]):
        raise click.UsageError("--scenario is one, --matrix and --only are of several: give one")
    skipped: dict[str, str] = {}
    broken: dict[str, str] = {}
    if given["scenario"]:
        loaded = [load_scenario(find_scenario(given["scenario"]), given["run_type"])]
    else:
        given["matrix"] = given["matrix"] or Path("scenarios/matrix.yaml")
        matrix = read_matrix(given)
        loaded = [entry.loaded for entry in matrix.entries]
        skipped, broken = matrix.skipped, matrix.broken
    plans = [(one, plan_scenario(one, given["output"])) for one in loaded]
    if given["as_json"]:
        found = [
            {
                "scenario": one.scenario.id,
                "run_type": given["run_type"],
                "file": str(one.path),
                "stages": [stage.to_json() for stage in stages],
            }
            for one, stages in plans
        ]
        sys.stdout.write(dump(found).decode())
    else:
        sys.stdout.write("\n".join(render_plan(one, stages) for one, stages in plans))
        for name, why in skipped.items():
            click.echo(f"\n{name}: left out: {why}")
    sys.stdout.flush()
    faults = [
        f"{one.path}: stages.{stage.name}: {stage.fault}"
        for one, stages in plans
        for stage in stages
        if stage.fault
    ]
    if faults or broken:
        raise ConfigError("\n".join([*broken.values(), *faults]))
    return 0
