"""The `benchcore check` command."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import SecretStr

from benchcore.base.errors import ResultsError, TargetError
from benchcore.cli import values
from benchcore.cli.target import LABEL, SERVER, Sectioned, masked, read_target, warnings
from benchcore.cli.terminal import show

if TYPE_CHECKING:
    from benchcore.checks.check import Check
    from benchcore.config.checks import FunctionalConfig
    from benchcore.runs.checks import FunctionalReport

_SIM_KEY = "key-of-the-simulator"
_SIM_EXPIRED = "expired-key-of-the-simulator"
_SIM_BURST = 192
"""Several times what the simulator that is started here runs and lets wait."""


@click.command(cls=Sectioned)
@SERVER
@click.option(
    "--suite", "suites", multiple=True, metavar="NAME", help="Run only this suite; repeatable."
)
@click.option(
    "--case",
    "cases",
    multiple=True,
    metavar="ID",
    help="Run only this check, or all of suite.*; repeatable.",
)
@click.option("--smoke", is_flag=True, help="Run only the few checks that any server must pass.")
@click.option(
    "--cases-file",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Run the cases in this YAML file, too; repeatable.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BENCHCORE_FUNCTIONAL_CONFIG",
    help="Leave out or relax what this YAML file names. The variable "
    "BENCHCORE_FUNCTIONAL_CONFIG gives it, too.",
)
@click.option(
    "--strict", is_flag=True, help="Tolerate nothing that engines are known to differ in."
)
@click.option(
    "--engine",
    metavar="NAME",
    help="Treat the server as this engine; without it, benchcore guesses.",
)
@click.option(
    "--reasoning-key", metavar="NAME", help="Look for reasoning in this field of an answer."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=None,
    help="Run so many checks at a time [default: 4].",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Give each check at most so many seconds [default: 60].",
)
@click.option(
    "--burst",
    type=click.IntRange(0, 4096),
    default=None,
    help="Check limits, too, with this many requests at once.",
)
@click.option(
    "--expired-key-env",
    metavar="NAME",
    help="Read a key that has expired from this variable, and check that it is refused.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--list", "list_only", is_flag=True, help="List the checks and run none.")
@click.option("--json", "as_json", is_flag=True, help="Print functional.json instead of a table.")
@click.option(
    "--output",
    default="results",
    show_default=True,
    help="Write the folder of the run into this one.",
)
@click.option(
    "--name", default="check", show_default=True, help="Call the run and its folder this."
)
@LABEL
@click.option("--quiet", is_flag=True, help="Say only what is wrong and where the results are.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Write messages as text or as lines of JSON.",
)
def check(**given: Any) -> int:
    """Check whether a server speaks the API that it claims.

    Aims at --base-url; without one, starts the built-in simulator and says so.
    """
    from benchcore.cli.terminal import QUIET, set_up

    checks, config = _wanted(given)
    if given["list_only"]:
        return _list(checks)
    level = QUIET if given["quiet"] else "info"
    set_up(sys.stderr, level, as_json=given["log_format"] == "json")
    if given["base_url"] and given["simulator"]:
        raise click.UsageError("--sim starts a server of its own: leave --base-url out")
    if given["base_url"]:
        return _on_server(given, checks, config, given["base_url"], "server")
    return _on_simulator(given, checks, config)


def _wanted(given: dict[str, Any]) -> tuple[list[Check], FunctionalConfig]:
    """Return the checks to make, and how."""
    from benchcore.checks.catalogue import chosen_checks, read_config

    over = {
        name: given[name]
        for name in ("engine", "reasoning_key", "concurrency", "seconds", "burst")
        if given[name] is not None
    }
    if given["strict"]:
        over["strict"] = True
    config = read_config(given["config"]).model_copy(update=over)
    checks = chosen_checks(
        config,
        Path() if given["config"] is None else given["config"].parent,
        given["config"],
        suites=given["suites"],
        cases=given["cases"],
        files=given["files"],
        smoke=given["smoke"],
    )
    return checks, config


def _list(checks: list[Check]) -> int:
    for one in checks:
        marks = [
            *(["smoke"] if one.smoke else []),
            *(["tries up to 3 times"] if one.model_dependent else []),
            *([f"needs {', '.join(one.needs)}"] if one.needs else []),
            *([f"with --{one.opt_in.replace('_', '-')}"] if one.opt_in else []),
            *([f"extension {one.extension}"] if one.extension else []),
            *([f"compat: tolerated, {one.tolerance}"] if one.tolerance else []),
        ]
        tail = f" [{'; '.join(marks)}]" if marks else ""
        click.echo(f"{one.case_id:<44} {one.title}{tail}")
    click.echo(f"{len(checks)} checks", err=True)
    return 0


def _on_simulator(given: dict[str, Any], checks: list[Check], config: FunctionalConfig) -> int:
    from benchcore.base.logs import LOGGER
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess

    asked = "" if given["simulator"] else " (no --base-url was given)"
    LOGGER.warning("SIMULATOR: this checks the built-in simulated server%s", asked)
    options = SimOptions(
        profile=SimProfile.named("fast", max_running=16),
        api_key=SecretStr(_SIM_KEY),
        expired_key=SecretStr(_SIM_EXPIRED),
        max_waiting=24,
    )
    config = config.model_copy(update={"burst": config.burst or _SIM_BURST})
    process = SimulatorProcess(options).start()
    try:
        return _on_server(given, checks, config, process.base_url, "simulator")
    finally:
        process.stop()


def _on_server(
    given: dict[str, Any], checks: list[Check], config: FunctionalConfig, base_url: str, kind: str
) -> int:
    from benchcore.base.files import make_folder
    from benchcore.base.logs import LOGGER, RESULT
    from benchcore.base.text import printable
    from benchcore.checks.run import Functional, check_verdicts
    from benchcore.cli.loop import catch_signals, run_loop
    from benchcore.runs.checks import Verdict
    from benchcore.show.text import render_functional, result_line
    from benchcore.version import __version__

    target = read_target(given, base_url)
    expired = _expired_key(given)
    if kind == "simulator":
        target = target.model_copy(update={"api_key": SecretStr(_SIM_KEY)})
        expired = _SIM_EXPIRED
    LOGGER.info(
        "benchcore %s: %s: %d checks, %d at a time",
        __version__,
        target.base_url,
        len(checks),
        config.concurrency,
    )
    for warning in warnings(target):
        LOGGER.warning("%s", warning)
    started = dt.datetime.now(dt.UTC)
    folder = make_folder(Path(given["output"]), started.strftime("%Y%m%dT%H%M%SZ"), given["name"])

    reports: list[FunctionalReport] = []

    async def go() -> tuple[FunctionalReport, list[int]]:
        machine = Functional(
            target,
            checks,
            config,
            kind=kind,
            expired_key=expired,
            expired_variable=given["expired_key_env"] or "EXPIRED_KEY",
            key_variable=given["api_key_env"] or "BENCHCORE_API_KEY",
            fail_fast=given["fail_fast"],
            on_result=lambda result: LOGGER.info("%s", result_line(result)),
            on_note=lambda note: LOGGER.info("%s", printable(note)),
        )
        caught = catch_signals(machine.interrupt)
        try:
            await machine()
        finally:
            _save(folder, machine.report, started, given)
            if any(result.tries for result in machine.report.results):
                reports.append(machine.report)
        return machine.report, caught

    try:
        report, caught = run_loop(go())
    except TargetError:
        if reports:  # the server went in mid-run: what was found before is shown all the same
            show(reports[0], render_functional, as_json=given["as_json"])
            LOGGER.log(RESULT, "results are in %s", folder)
        raise
    show(report, render_functional, as_json=given["as_json"])
    LOGGER.log(RESULT, "results are in %s", folder)
    if caught:
        return 128 + caught[0]
    unsettled = report.count(Verdict.UNSETTLED)
    if unsettled and report.judged:
        LOGGER.warning(
            "%d checks are unsettled: the server put them off with 429 each time; ask it for less "
            "with --concurrency 1, or raise its limit",
            unsettled,
        )
    check_verdicts(report)
    return 0


def _expired_key(given: dict[str, Any]) -> str | None:
    variable = given["expired_key_env"]
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise click.UsageError(f"--expired-key-env: the variable {variable} is not set")
    return key


def _save(
    folder: Path, report: FunctionalReport, started: dt.datetime, given: dict[str, Any]
) -> None:
    """Write the folder of the run.

    Raises:
        ResultsError: it cannot be written.
    """
    from benchcore.publish.junit import write_functional
    from benchcore.runs.run_json import write_head

    try:
        write_functional(folder, report)
        write_head(
            folder,
            started.isoformat(),
            report.status,
            name=given["name"],
            command=["benchcore", *masked(sys.argv[1:])],
            target=report.target,
            labels=values.pairs(given["labels"]),
        )
    except OSError as error:
        raise ResultsError(f"{folder}: cannot be written ({error.strerror})") from None
