"""The `benchcore plan`, `run` and `run-matrix` commands."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError
from benchcore.base.secrets import masked_arguments
from benchcore.cli import values
from benchcore.cli.driver import LOGS, drive, start_logs, start_progress, tell_where

if TYPE_CHECKING:
    from benchcore.runs.scenarios import MatrixEntry, ScenarioResult
    from benchcore.scenario.matrix import LoadedMatrix
    from benchcore.scenario.run import ScenarioRun
    from benchcore.scenario.stages import LoadedScenario


RUN_TYPE = click.option(
    "--run-type",
    type=click.Choice(["pr", "daily"]),
    default="pr",
    show_default=True,
    help="Make a short run, which any failure fails (pr), or a full run, which only the "
    "checks fail (daily).",
)
OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Write the folders of runs into this folder.",
)
ONLY = click.option("--only", metavar="ID,…", help="Take only these scenarios of the matrix.")
MATRIX = click.option(
    "--matrix",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("scenarios/matrix.yaml"),
    show_default=True,
    help="Read the matrix from this file.",
)


def read_matrix(given: dict[str, Any]) -> LoadedMatrix:
    """Return the matrix that the options name.

    Raises:
        ConfigError: it, or a scenario of it, is wrong.
    """
    from benchcore.scenario.matrix import load_matrix

    if not given["matrix"].is_file():
        raise ConfigError(
            f"{given['matrix']}: does not exist; name a matrix with --matrix, or begin one: "
            "benchcore new matrix NAME"
        )
    only = [name.strip() for name in (given["only"] or "").split(",") if name.strip()]
    return load_matrix(given["matrix"], given["run_type"], only=only, environ=os.environ)


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
    """Say what would run, in what order, and how long it would take; nothing is touched."""
    from benchcore.runs.run_json import dump
    from benchcore.scenario.run import plan_scenario
    from benchcore.scenario.scenario_file import find_scenario, load_scenario
    from benchcore.scenario.summary import render_plan

    if given["scenario"] and (given["matrix"] or given["only"]):
        raise click.UsageError(
            "--scenario plans one scenario, --matrix and --only several: give one or the other"
        )
    skipped: dict[str, str] = {}
    broken: dict[str, str] = {}
    if given["scenario"]:
        loaded = [load_scenario(find_scenario(given["scenario"]), given["run_type"])]
    else:
        given["matrix"] = given["matrix"] or Path("scenarios/matrix.yaml")
        matrix = read_matrix(given)
        loaded = [entry.loaded for entry in matrix.entries]
        skipped, broken = matrix.skipped, matrix.broken
    plans = [(file, plan_scenario(file, given["output"])) for file in loaded]
    if given["as_json"]:
        planned = [
            {
                "scenario": file.scenario.id,
                "run_type": given["run_type"],
                "file": str(file.path),
                "stages": [stage.to_json() for stage in stages],
            }
            for file, stages in plans
        ]
        sys.stdout.write(dump(planned).decode())
    else:
        sys.stdout.write("\n".join(render_plan(file, stages) for file, stages in plans))
        for name, why in skipped.items():
            click.echo(f"\n{name}: left out: {why}")
    sys.stdout.flush()
    faults = [
        f"{file.path}: stages.{stage.name}: {stage.fault}"
        for file, stages in plans
        for stage in stages
        if stage.fault
    ]
    if faults or broken:
        raise ConfigError("\n".join([*broken.values(), *faults]))
    return 0


@click.command("run-matrix")
@MATRIX
@RUN_TYPE
@ONLY
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Run this many scenarios at a time; servers on the same GPUs disturb one another.",
)
@click.option("--dry-run", is_flag=True, help="Do everything except touch a target or a cluster.")
@click.option("--allow-simulator", is_flag=True, help="Judge and push even runs of the simulator.")
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Continue the matrix in this folder; what is finished and whole is not run again.",
)
@OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print matrix.json instead of a table.")
@LOGS
def run_matrix(**given: Any) -> int:
    """Run the scenarios of a matrix; one that fails does not stop the others."""
    from benchcore.scenario.upkeep import lock

    if given["resume"] is not None and given["dry_run"]:
        raise click.UsageError(
            "--resume continues a run, and --dry-run runs nothing: give one of them"
        )
    loaded = read_matrix(given)
    start_logs(given)
    what = f"benchcore run-matrix {loaded.matrix.name} --run-type {given['run_type']}"
    with lock(given["output"], what):
        return _run_matrix(loaded, given)


def _run_matrix(loaded: LoadedMatrix, given: dict[str, Any]) -> int:
    from benchcore.base.clock import stamp_of, utc_now
    from benchcore.base.files import make_folder
    from benchcore.base.logs import LOGGER
    from benchcore.runs.run_json import dump
    from benchcore.scenario.matrix import MatrixOptions, MatrixRun
    from benchcore.scenario.summary import render_matrix

    folder = given["resume"]
    before = [] if folder is None else _before(folder, loaded, given)
    if folder is None:
        name = f"matrix-{loaded.matrix.name}" + ("-dry-run" if given["dry_run"] else "")
        folder = make_folder(given["output"], stamp_of(utc_now()), name)
    machine = MatrixRun(
        loaded,
        given["run_type"],
        folder,
        MatrixOptions(
            given["output"], given["jobs"], given["dry_run"], given["allow_simulator"], before
        ),
        tell=lambda line: LOGGER.info("%s", line),
    )
    result = drive(machine.interrupt, machine)
    if given["as_json"]:
        sys.stdout.write(dump(result.to_json()).decode())
    else:
        sys.stdout.write(render_matrix(result))
    sys.stdout.flush()
    tell_where(folder)
    return result.exit_code or 0


def _before(folder: Path, loaded: LoadedMatrix, given: dict[str, Any]) -> list[MatrixEntry]:
    """Return what became of the scenarios in an earlier run of the matrix.

    Raises:
        ConfigError: it was of another matrix or run type, or lies elsewhere.
    """
    from benchcore.runs.reading import earlier

    found = earlier(folder)
    asked = (loaded.matrix.name, given["run_type"])
    if (found.name, found.run_type) != asked:
        raise ConfigError(
            f"--resume {folder}: is of {found.name}, {found.run_type}, "
            f"and not of {' and '.join(asked)}"
        )
    if folder.resolve().parent != given["output"].resolve():
        raise ConfigError(f"--resume {folder}: is not in {given['output']}; give its --output")
    return found.scenarios


@click.command()
@click.option("--scenario", required=True, metavar="NAME|FILE", help="Run this scenario.")
@RUN_TYPE
@click.option(
    "--stage", "stages", multiple=True, metavar="NAME", help="Run only this stage; repeatable."
)
@click.option(
    "--concurrency",
    type=values.CONCURRENCY,
    help="Climb these levels of concurrency instead of the scenario's.",
)
@click.option(
    "--rate",
    type=values.RATE,
    help="Climb these rates of requests per second instead of the scenario's.",
)
@click.option("--dry-run", is_flag=True, help="Do everything except touch a target or a cluster.")
@click.option("--allow-simulator", is_flag=True, help="Judge and push even a run of the simulator.")
@OUTPUT
@click.option(
    "--lock/--no-lock", default=True, help="Let only one run at a time write into --output."
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of a table.")
@LOGS
@click.option("--no-progress", is_flag=True, help="Do not draw how the run goes.")
@click.option("--plain", is_flag=True, help="Draw one line instead of a panel.")
@click.option(
    "--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), hidden=True
)
@click.option("--with-parent", is_flag=True, hidden=True)
def run(**given: Any) -> int:
    """Run a scenario: start its server, check, load, score and judge it, and take it down."""
    from benchcore.config.scenario import Choice
    from benchcore.scenario.scenario_file import find_scenario, load_scenario
    from benchcore.scenario.upkeep import lock

    if given["concurrency"] is not None and given["rate"] is not None:
        raise click.UsageError(
            "--concurrency is a closed loop and --rate an open one: give one of them"
        )
    choice = Choice(
        stages=given["stages"] or None, concurrency=given["concurrency"], rate=given["rate"]
    )
    loaded = load_scenario(find_scenario(given["scenario"]), given["run_type"], choice=choice)
    progress = start_progress(given)
    what = f"benchcore run {loaded.scenario.id} --run-type {given['run_type']}"
    held = lock(given["output"], what) if given["lock"] else nullcontext()
    with held:
        return _run(loaded, given, progress)


def _run(loaded: LoadedScenario, given: dict[str, Any], progress: Any) -> int:
    from benchcore.base.clock import stamp_of, utc_now
    from benchcore.base.files import make_folder
    from benchcore.base.logs import LOGGER
    from benchcore.scenario.run import ScenarioRun

    folder = given["folder"]
    if folder is None:
        name = f"{loaded.scenario.id}-dry-run" if given["dry_run"] else loaded.scenario.id
        folder = make_folder(given["output"], stamp_of(utc_now()), name)
    machine = ScenarioRun(
        loaded,
        folder,
        given["output"],
        command=["benchcore", *_repeatable(masked_arguments(sys.argv[1:]), given)],
        dry_run=given["dry_run"],
        allow_simulator=given["allow_simulator"],
        tell=lambda line: LOGGER.info("%s", line),
        progress=progress,
    )

    async def go() -> int:
        if given["with_parent"]:
            _end_with_parent(machine)
        code = _show(await machine(), folder, loaded, given, progress)
        if machine.stuck:
            # The loop would wait for a stage that ignores its cancellation, for ever.
            os._exit(code)
        return code

    return drive(machine.interrupt, go)


def _show(
    result: ScenarioResult,
    folder: Path,
    loaded: LoadedScenario,
    given: dict[str, Any],
    progress: Any,
) -> int:
    from benchcore.runs.run_json import dump
    from benchcore.scenario.summary import render_result

    progress.clear()
    if given["as_json"]:
        sys.stdout.write(dump(result.to_json()).decode())
    else:
        sys.stdout.write(render_result(result))
    sys.stdout.flush()
    tell_where(folder)
    for part in result.stages:
        if part.exit_code and part.exit_code == result.exit_code:
            click.echo(f"benchcore: {loaded.scenario.id}: {part.name}: {part.message}", err=True)
            break
    return result.exit_code or 0


def _repeatable(args: list[str], given: dict[str, Any]) -> list[str]:
    """Return a command line as a user can type it: a matrix adds what is between it and us."""
    if not given["with_parent"]:
        return args
    kept = [arg for arg in args if arg not in ("--no-lock", "--with-parent", "--no-progress")]
    place = kept.index("--folder")
    return kept[:place] + kept[place + 2 :]


def _end_with_parent(machine: ScenarioRun) -> None:
    """End as at a SIGTERM when whoever started this process is gone: the kernel closes the pipe."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            machine.interrupt(signal.SIGTERM)

    loop.add_reader(0, gone)
