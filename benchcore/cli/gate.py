"""The `benchcore gate` and `benchcore baseline` commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError, VerdictError
from benchcore.cli.terminal import json_option, show_json
from benchcore.cli.values import RESULTS, chosen, read_folder

if TYPE_CHECKING:
    from benchcore.judge.baselines import Baseline

_RUN = click.Path(path_type=Path)


@click.command()
@click.argument("run", required=False, type=_RUN)
@click.option(
    "--baseline",
    metavar="DIR|NAME",
    help="Compare the run with this run or baseline; by default, with the latest earlier "
    "valid run of the same.",
)
@click.option(
    "--rules",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Judge by the rules in this YAML file instead of the usual ones.",
)
@click.option("--anyway", is_flag=True, help="Judge even runs that were asked different things.")
@click.option("--allow-simulator", is_flag=True, help="Judge even runs of the simulator.")
@click.option("--warn-only", is_flag=True, help="Exit with code 0 whatever the verdict is.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown"]),
    default="table",
    show_default=True,
    help="Show the verdict in this form.",
)
@json_option("the same as --format json")
@RESULTS
def gate(run: Path | None, **given: Any) -> int:
    """Judge RUN, or the newest run, against a baseline.

    The gate prints one line for each rule; the exit code is 5 where a rule fails.
    """
    from benchcore.config.document import read_model
    from benchcore.config.limits import DEFAULT, GateFile
    from benchcore.judge.baselines import earlier_like, find_baseline, forbidding
    from benchcore.judge.gate import gate as judge
    from benchcore.show.lines import render_gate

    rules = DEFAULT if given["rules"] is None else read_model(given["rules"], GateFile)
    folder = chosen(run, given["results"])
    baseline = find_baseline(folder, given["results"], given["baseline"])
    if (folder.run.simulated or baseline.run.simulated) and not given["allow_simulator"]:
        raise ConfigError(
            "a run of the simulator says nothing about a server; --allow-simulator judges it all "
            "the same"
        )
    different = forbidding(baseline.run, folder.run)
    if different and not given["anyway"]:
        raise ConfigError(
            f"{folder.name} and {baseline.name} were asked different things: {different[0]}; "
            "--anyway judges all the same"
        )
    nights = earlier_like(folder, given["results"])
    result = judge(folder, baseline, rules, nights)
    result.notes = [str(difference) for difference in different] + result.notes
    if given["form"] == "json" or given["as_json"]:
        verdict = {
            "run": str(folder.path),
            "baseline": str(baseline.path),
            "passed": result.passed,
            "rules": [line.to_json() for line in result.lines],
            "notes": result.notes,
        }
        show_json(verdict)
    else:
        text = render_gate(result, folder.name, baseline.name, markdown=given["form"] == "markdown")
        sys.stdout.write(text)
    sys.stdout.flush()
    if not result.lines:
        raise VerdictError("no rule found anything to judge, which does not count as a pass")
    failed = sum(1 for line in result.lines if not line.passed)
    if failed and not given["warn_only"]:
        raise VerdictError(f"{failed} of {len(result.lines)} rules failed; see above")
    return 0


@click.group()
def baseline() -> None:
    """Keep runs that others are compared with."""


@baseline.command("set")
@click.argument("run", type=_RUN)
@click.option("--name", required=True, help="Give the baseline this name, such as main or v1.2.")
@click.option("--allow-simulator", is_flag=True, help="Keep even a run of the simulator.")
@json_option()
@RESULTS
def set_(run: Path, name: str, results: Path, *, allow_simulator: bool, as_json: bool) -> int:
    """Keep RUN as a baseline of its scenario, replacing any of the same name."""
    from benchcore.judge.baselines import set_baseline

    kept = set_baseline(read_folder(run), results, name, simulator=allow_simulator)
    if as_json:
        show_json(_facts(kept))
    else:
        click.echo(f"{kept.scenario}/{kept.name}: {kept.path}")
    return 0


def _facts(baseline: Baseline) -> dict[str, str]:
    return {"scenario": baseline.scenario, "name": baseline.name, "path": str(baseline.path)}


@baseline.command("list")
@json_option()
@RESULTS
def list_(results: Path, *, as_json: bool) -> int:
    """List the baselines that are kept."""
    from benchcore.judge.baselines import baselines
    from benchcore.runs.reading import RunFolder

    if as_json:
        show_json([_facts(kept) for kept in baselines(results)])
        return 0
    for kept in baselines(results):
        run = RunFolder(kept.path).run
        levels = ", ".join(level.level for level in run.levels)
        click.echo(f"{kept.scenario}/{kept.name}  {run.started_at}  {run.target.model}  {levels}")
    return 0


@baseline.command("show")
@click.argument("name")
@json_option("its run.json")
@RESULTS
def show(name: str, results: Path, *, as_json: bool) -> int:
    """Show the figures of a baseline, SCENARIO/NAME."""
    from benchcore.judge.baselines import baselines
    from benchcore.runs.reading import RunFolder
    from benchcore.show.table import render

    for kept in baselines(results):
        if name in (kept.name, f"{kept.scenario}/{kept.name}"):
            run = RunFolder(kept.path).run
            if as_json:
                show_json(run.whole())
            else:
                sys.stdout.write(render(run, color=False))
            return 0
    known = (
        ", ".join(f"{kept.scenario}/{kept.name}" for kept in baselines(results)) or "there is none"
    )
    raise ConfigError(f"baseline {name!r} is not known: {known}")
