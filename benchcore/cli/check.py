"""The `benchcore check` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import SecretStr

from benchcore.base.errors import TargetError, VerdictError
from benchcore.cli.driver import (
    LOGS,
    RESULTS,
    drive,
    is_simulated,
    one_stage,
    start_logs,
    tell_where,
)
from benchcore.cli.target import LABEL, SERVER, Sectioned
from benchcore.cli.terminal import show

if TYPE_CHECKING:
    from benchcore.checks.check import Check
    from benchcore.config.checks import FunctionalConfig
    from benchcore.runs.checks import Checks
    from benchcore.scenario.run import OneStageRun
    from benchcore.sim.process import SimulatorProcess

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
    help="Run only this check, or with suite.* all checks of a suite; repeatable.",
)
@click.option("--smoke", is_flag=True, help="Run only the few checks that any server must pass.")
@click.option(
    "--cases-file",
    "files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also run the cases in this YAML file; repeatable.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BENCHCORE_FUNCTIONAL_CONFIG",
    help="Leave out or relax the checks that this YAML file names. It can also be given "
    "in the variable BENCHCORE_FUNCTIONAL_CONFIG.",
)
@click.option(
    "--strict", is_flag=True, help="Tolerate nothing in which engines are known to differ."
)
@click.option(
    "--engine",
    metavar="NAME",
    help="Treat the server as this engine; by default benchcore guesses which it is.",
)
@click.option(
    "--reasoning-key", metavar="NAME", help="Look for reasoning in this field of an answer."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=None,
    help="Run this many checks at a time [default: 4].",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Give each check at most this many seconds [default: 60].",
)
@click.option(
    "--burst",
    type=click.IntRange(0, 4096),
    default=None,
    help="Also check limits, with this many requests at once.",
)
@click.option(
    "--expired-key-env",
    metavar="NAME",
    help="Read an expired key from this variable, and check that it is refused.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--list", "list_only", is_flag=True, help="List the checks and run none.")
@click.option("--json", "as_json", is_flag=True, help="Print functional.json instead of a table.")
@RESULTS
@click.option(
    "--name", default="check", show_default=True, help="Give the run and its folder this name."
)
@LABEL
@LOGS
def check(**given: Any) -> int:
    """Check whether a server speaks the API that it claims to speak.

    The checks go to --base-url; without it, the built-in simulator is started, with a notice.
    """
    checks, config = _wanted(given)
    if given["list_only"]:
        return _list(checks)
    start_logs(given)
    return _check(checks, config, given)


def _check(checks: list[Check], config: FunctionalConfig, given: dict[str, Any]) -> int:
    """Make the checks, and return the exit code."""
    from benchcore.config.scenario import FunctionalSettings
    from benchcore.scenario.quality_stages import FunctionalStage
    from benchcore.version import __version__

    simulator = None
    if is_simulated(given, "this checks"):
        simulator = _simulator()
        config = config.model_copy(update={"burst": config.burst or _SIM_BURST})
    stage = FunctionalStage(
        FunctionalSettings(
            expired_key_env=_expired_key_variable(given), fail_fast=given["fail_fast"]
        ),
        chosen=(checks, config),
        expired_key=None if simulator is None else _SIM_EXPIRED,
    )
    machine = one_stage(
        given,
        stage,
        lambda target: (
            f"benchcore {__version__}: {target.base_url}: {len(checks)} checks, "
            f"{config.concurrency} at a time"
        ),
        name=given["name"],
        simulator=simulator,
    )
    drive(machine.interrupt, machine)
    return _show(machine, stage.report, given)


def _show(machine: OneStageRun, report: Checks | None, given: dict[str, Any]) -> int:
    """Show what was found, and return the exit code."""
    from benchcore.base.logs import LOGGER
    from benchcore.runs.checks import Verdict
    from benchcore.show.text import render_functional

    error = machine.error
    judged = error is None or isinstance(error, VerdictError)
    # The server may have gone in mid-run: what was found before is shown all the same.
    tried = (
        isinstance(error, TargetError) and report and any(result.tries for result in report.results)
    )
    if report is not None and machine.folder is not None and (judged or tried):
        show(report, render_functional, as_json=given["as_json"])
        tell_where(machine.folder)
        unsettled = report.count(Verdict.UNSETTLED)
        if unsettled and report.judged and judged and not machine.signal:
            LOGGER.warning(
                "%d checks are unsettled: the server put them off with 429 each time; ask it for "
                "less with --concurrency 1, or raise its limit",
                unsettled,
            )
    return machine.end()


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
    for check in checks:
        marks = [
            *(["smoke"] if check.smoke else []),
            *(["tries up to 3 times"] if check.model_dependent else []),
            *([f"needs {', '.join(check.needs)}"] if check.needs else []),
            *([f"with --{check.opt_in.replace('_', '-')}"] if check.opt_in else []),
            *([f"extension {check.extension}"] if check.extension else []),
            *([f"compat: tolerated, {check.tolerance}"] if check.tolerance else []),
        ]
        tail = f" [{'; '.join(marks)}]" if marks else ""
        click.echo(f"{check.case_id:<44} {check.title}{tail}")
    click.echo(f"{len(checks)} checks", err=True)
    return 0


def _simulator() -> SimulatorProcess:
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess

    options = SimOptions(
        profile=SimProfile.named("fast", max_running=16),
        api_key=SecretStr(_SIM_KEY),
        expired_key=SecretStr(_SIM_EXPIRED),
        max_waiting=24,
    )
    return SimulatorProcess(options)


def _expired_key_variable(given: dict[str, Any]) -> str | None:
    variable: str | None = given["expired_key_env"]
    if variable is not None and not os.environ.get(variable):
        raise click.UsageError(f"--expired-key-env: the variable {variable} is not set")
    return variable
