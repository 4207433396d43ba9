"""The `benchcore run-matrix` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.scenario import LOGS, MATRIX, ONLY, OUTPUT, RUN_TYPE, read_matrix
from benchcore.errors import ConfigError

if TYPE_CHECKING:
    from benchcore.pipeline.matrix_file import LoadedMatrix
    from benchcore.pipeline.matrix_result import MatrixEntry, MatrixResult


@click.command("run-matrix")
@MATRIX
@RUN_TYPE
@ONLY
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Run so many scenarios at a time; servers on the same GPUs disturb one another.",
)
@click.option("--dry-run", is_flag=True, help="Do everything but touch a target or a cluster.")
@click.option("--allow-simulator", is_flag=True, help="Judge and push a simulator's runs too.")
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Go on with the matrix in this folder: what is finished and whole is not run again.",
)
@OUTPUT
@click.option("--json", "as_json", is_flag=True, help="Print matrix.json instead of a table.")
@LOGS
def run_matrix(**given: Any) -> int:
    """Run the scenarios of a matrix; one that fails does not stop the others."""
    from benchcore.cli.logs import QUIET, set_up
    from benchcore.pipeline.lock import lock

    if given["resume"] is not None and given["dry_run"]:
        raise click.UsageError("--resume goes on with a run, and --dry-run runs nothing: give one")
    loaded = read_matrix(given)
    level = QUIET if given["quiet"] else "info"
    set_up(sys.stderr, level, as_json=given["log_format"] == "json")
    what = f"benchcore run-matrix {loaded.matrix.name} --run-type {given['run_type']}"
    with lock(given["output"], what):
        return _run(loaded, given)


def _run(loaded: LoadedMatrix, given: dict[str, Any]) -> int:
    from benchcore.cli.loop import run_loop
    from benchcore.cli.signals import catch_signals
    from benchcore.clock import stamp_of, utc_now
    from benchcore.logs import LOGGER, RESULT
    from benchcore.pipeline.lines import render_matrix
    from benchcore.pipeline.matrix_run import MatrixOptions, MatrixRun
    from benchcore.sinks.folder import make_folder
    from benchcore.sinks.run_json import dump

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

    async def go() -> MatrixResult:
        caught = catch_signals(lambda: machine.interrupt(caught[-1]))
        return await machine()

    result = run_loop(go())
    if given["as_json"]:
        sys.stdout.write(dump(result.to_json()).decode())
    else:
        sys.stdout.write(render_matrix(result))
    sys.stdout.flush()
    LOGGER.log(RESULT, "results are in %s", folder)
    return result.exit_code


def _before(folder: Path, loaded: LoadedMatrix, given: dict[str, Any]) -> list[MatrixEntry]:
    """Return what became of the scenarios in an earlier run of the matrix.

    Raises:
        ConfigError: it was of another matrix or run type, or lies elsewhere.
    """
    from benchcore.pipeline.matrix_result import earlier

    name, run_type, entries = earlier(folder)
    asked = (loaded.matrix.name, given["run_type"])
    if (name, run_type) != asked:
        raise ConfigError(
            f"--resume {folder}: is of {name}, {run_type}, and not of {' and '.join(asked)}"
        )
    if folder.resolve().parent != given["output"].resolve():
        raise ConfigError(f"--resume {folder}: is not in {given['output']}; give its --output")
    return entries
