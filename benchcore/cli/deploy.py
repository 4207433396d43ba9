"""The `benchcore deploy` and `benchcore undeploy` commands."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.scenario import LOGS, OUTPUT
from benchcore.errors import ConfigError, TargetError

if TYPE_CHECKING:
    from benchcore.pipeline.scenario_run import ScenarioRun

_FOLDER = ".deployed"
_END_SECONDS = 60.0
_POLL_SECONDS = 0.1


@click.command()
@click.argument("scenario")
@OUTPUT
@LOGS
def deploy(**given: Any) -> int:
    """Bring up the server of SCENARIO alone, and say where it is.

    A local server, the simulator and a port forward live until Ctrl-C or `benchcore undeploy`; what
    is reached on a cluster without one stays there until `undeploy`.
    """
    from benchcore.cli.logs import set_up
    from benchcore.cli.loop import run_loop
    from benchcore.config.matrix import Choice
    from benchcore.pipeline.scenario_file import find_scenario, load_scenario
    from benchcore.pipeline.scenario_run import ScenarioRun
    from benchcore.report.live import LOGGER

    loaded = load_scenario(find_scenario(given["scenario"]), "pr", choice=Choice())
    name = loaded.scenario.id
    launch = loaded.scenario.launch
    if launch is None:
        raise ConfigError(f"{loaded.path}: launches nothing; there is nothing to deploy")
    level = "warning" if given["quiet"] else "info"
    set_up(sys.stderr, level, as_json=given["log_format"] == "json")
    folder = given["output"] / _FOLDER / name
    before = _deployed(folder)
    if before is not None and _is_there(before):
        raise ConfigError(f"{name} is deployed already, {before['base_url']}; undeploy it first")
    machine = ScenarioRun(
        loaded, folder, given["output"], tell=lambda line: LOGGER.info("%s", line)
    )
    machine.context.run_id = f"deploy-{name}"
    kubernetes = launch.kubernetes
    folder.mkdir(parents=True, exist_ok=True)
    stays = kubernetes is not None and kubernetes.address != "port_forward"
    return run_loop(_deploy(machine, folder, stays=stays))


async def _deploy(machine: ScenarioRun, folder: Path, *, stays: bool) -> int:
    from benchcore.cli.signals import catch_signals
    from benchcore.stages.protocol import StageStatus

    ended = asyncio.Event()

    def interrupt() -> None:
        ended.set()
        machine.interrupt(caught[0])

    caught = catch_signals(interrupt)
    up = False
    try:
        for name in ("launch", "health"):
            part = await machine.stage(name)
            if part.status is not StageStatus.PASSED:
                raise TargetError(f"{machine.context.scenario.id}: {name}: {part.message}")
        up = True
        found = {"pid": None if stays else os.getpid(), "base_url": machine.context.base_url}
        (folder / "deployed.json").write_text(json.dumps(found) + "\n")
        click.echo(machine.context.base_url)
        if not stays:
            await ended.wait()
    finally:
        if not (up and stays):
            await machine.stage("cleanup")
            (folder / "deployed.json").unlink(missing_ok=True)
    return 0


@click.command()
@click.argument("scenario")
@OUTPUT
def undeploy(**given: Any) -> int:
    """Take down the server that `benchcore deploy SCENARIO` brought up."""
    from benchcore.config.matrix import Choice
    from benchcore.pipeline.leftovers import remove_run
    from benchcore.pipeline.scenario_file import find_scenario, load_scenario

    loaded = load_scenario(find_scenario(given["scenario"]), "pr", choice=Choice())
    name, launch = loaded.scenario.id, loaded.scenario.launch
    folder = given["output"] / _FOLDER / name
    before = _deployed(folder)
    if before is not None and before["pid"] is not None and _is_there(before):
        os.kill(before["pid"], signal.SIGTERM)
        _wait(folder / "deployed.json", before["pid"])
    elif launch is not None and launch.kubernetes is not None:
        for line in asyncio.run(
            remove_run(launch.kubernetes, loaded.path.parent, f"deploy-{name}")
        ):
            click.echo(line)
    else:
        raise ConfigError(f"{name} is not deployed from {given['output']}")
    (folder / "deployed.json").unlink(missing_ok=True)
    click.echo(f"{name} is down", err=True)
    return 0


def _deployed(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "deployed.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ConfigError(f"{folder / 'deployed.json'}: is no JSON; remove it") from None
    return found


def _is_there(deployed: dict[str, Any]) -> bool:
    pid = deployed["pid"]
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _wait(file: Path, pid: int) -> None:
    """Wait until the process that deployed has taken everything down: then it removes its file."""
    deadline = time.monotonic() + _END_SECONDS
    while file.exists():
        if time.monotonic() > deadline:
            raise TargetError(f"process {pid} does not end; it was sent a SIGTERM")
        time.sleep(_POLL_SECONDS)
