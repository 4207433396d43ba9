"""The `benchcore run` command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli import values
from benchcore.cli.scenario import LOGS, OUTPUT, RUN_TYPE
from benchcore.cli.target import masked

if TYPE_CHECKING:
    from benchcore.pipeline.result import ScenarioResult
    from benchcore.pipeline.scenario_file import LoadedScenario
    from benchcore.pipeline.scenario_run import ScenarioRun


@click.command()
@click.option("--scenario", required=True, metavar="NAME|FILE", help="Run this scenario.")
@RUN_TYPE
@click.option(
    "--stage", "stages", multiple=True, metavar="NAME", help="Run only this stage; repeatable."
)
@click.option(
    "--concurrency", type=values.CONCURRENCY, help="Climb these levels of concurrency instead."
)
@click.option("--rate", type=values.RATE, help="Climb these rates of requests per second instead.")
@click.option("--dry-run", is_flag=True, help="Do everything but touch a target or a cluster.")
@click.option("--allow-simulator", is_flag=True, help="Judge and push a simulator's run too.")
@OUTPUT
@click.option(
    "--lock/--no-lock", default=True, help="Let only one run at a time write into --output."
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of a table.")
@LOGS
@click.option("--no-progress", is_flag=True, help="Draw no live line.")
@click.option(
    "--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), hidden=True
)
@click.option("--with-parent", is_flag=True, hidden=True)
def run(**given: Any) -> int:
    """Run a scenario: start its server, check, load, score and judge it, take it down."""
    from benchcore.cli.logs import QUIET, set_up
    from benchcore.config.matrix import Choice
    from benchcore.pipeline.lock import lock
    from benchcore.pipeline.scenario_file import find_scenario, load_scenario
    from benchcore.report.live import TerminalProgress

    if given["concurrency"] is not None and given["rate"] is not None:
        raise click.UsageError("--concurrency is a closed loop and --rate an open one: give one")
    choice = Choice(
        stages=given["stages"] or None, concurrency=given["concurrency"], rate=given["rate"]
    )
    loaded = load_scenario(find_scenario(given["scenario"]), given["run_type"], choice=choice)
    live = sys.stderr.isatty() and not given["no_progress"] and given["log_format"] == "text"
    progress = TerminalProgress(sys.stderr, live=live and not given["quiet"], interval_seconds=10.0)
    level = QUIET if given["quiet"] else "info"
    set_up(sys.stderr, level, as_json=given["log_format"] == "json", before=progress.clear)
    what = f"benchcore run {loaded.scenario.id} --run-type {given['run_type']}"
    held = lock(given["output"], what) if given["lock"] else nullcontext()
    with held:
        return _run(loaded, given, progress)


def _run(loaded: LoadedScenario, given: dict[str, Any], progress: Any) -> int:
    from benchcore.cli.loop import run_loop
    from benchcore.cli.signals import catch_signals
    from benchcore.clock import stamp_of, utc_now
    from benchcore.logs import LOGGER
    from benchcore.pipeline.scenario_run import ScenarioRun
    from benchcore.sinks.folder import make_folder

    folder = given["folder"]
    if folder is None:
        name = f"{loaded.scenario.id}-dry-run" if given["dry_run"] else loaded.scenario.id
        folder = make_folder(given["output"], stamp_of(utc_now()), name)
    machine = ScenarioRun(
        loaded,
        folder,
        given["output"],
        command=["benchcore", *_repeatable(masked(sys.argv[1:]), given)],
        dry_run=given["dry_run"],
        allow_simulator=given["allow_simulator"],
        tell=lambda line: LOGGER.info("%s", line),
        progress=progress,
    )

    async def go() -> ScenarioResult:
        caught = catch_signals(lambda: machine.interrupt(caught[0]))
        if given["with_parent"]:
            _end_with_parent(machine)
        result = await machine()
        if machine.stuck:
            # The loop would wait for a stage that ignores its cancellation, for ever.
            os._exit(_show(result, folder, loaded, given, progress))
        return result

    return _show(run_loop(go()), folder, loaded, given, progress)


def _show(
    result: ScenarioResult,
    folder: Path,
    loaded: LoadedScenario,
    given: dict[str, Any],
    progress: Any,
) -> int:
    from benchcore.logs import LOGGER, RESULT
    from benchcore.pipeline.lines import render_result
    from benchcore.sinks.run_json import dump

    progress.clear()
    if given["as_json"]:
        sys.stdout.write(dump(result.to_json()).decode())
    else:
        sys.stdout.write(render_result(result))
    sys.stdout.flush()
    LOGGER.log(RESULT, "results are in %s", folder)
    for part in result.parts:
        if part.exit_code and part.exit_code == result.exit_code:
            click.echo(f"benchcore: {loaded.scenario.id}: {part.name}: {part.message}", err=True)
            break
    return result.exit_code


def _repeatable(args: list[str], given: dict[str, Any]) -> list[str]:
    """Return a command line as a user can type it: a matrix adds what is between it and us."""
    if not given["with_parent"]:
        return args
    found = [arg for arg in args if arg not in ("--no-lock", "--with-parent", "--no-progress")]
    place = found.index("--folder")
    return found[:place] + found[place + 2 :]


def _end_with_parent(machine: ScenarioRun) -> None:
    """End as at a SIGTERM when whoever started this process is gone: the kernel closes the pipe."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            machine.interrupt(signal.SIGTERM)

    loop.add_reader(0, gone)
