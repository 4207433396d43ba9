"""The `benchcore deploy` and `benchcore undeploy` commands."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchcore.base.errors import ConfigError, LockError, ResultsError, TargetError
from benchcore.cli.driver import LOGS, catch_signals, run_loop, start_logs
from benchcore.cli.run import OUTPUT
from benchcore.cli.terminal import json_option, show_json

if TYPE_CHECKING:
    from benchcore.scenario.run import ScenarioRun

_FOLDER: Final = ".deployed"
_FILE: Final = "deployed.json"
_END_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Deployed:
    """What `deployed.json` says.

    Args:
        pid: of the process that takes the server down when it ends; `None`: none does, what is on
            the cluster stays.
        base_url: where the server is; `None`: it is coming up.
        lives: whether that process does.
    """

    pid: int | None
    base_url: str | None
    lives: bool


@click.command()
@click.argument("scenario")
@OUTPUT
@json_option()
@LOGS
def deploy(**given: Any) -> int:
    """Bring up only the server of SCENARIO, and say where it is.

    A local server, the simulator and a port forward live until Ctrl-C or `benchcore undeploy`. A
    server on a cluster that is reached without a port forward stays there until `undeploy`.
    """
    from benchcore.base.logs import LOGGER
    from benchcore.config.scenario import Choice
    from benchcore.scenario.run import ScenarioRun
    from benchcore.scenario.scenario_file import find_scenario, load_scenario
    from benchcore.scenario.upkeep import lock

    loaded = load_scenario(find_scenario(given["scenario"]), "pr", choice=Choice())
    name = loaded.scenario.id
    launch = loaded.scenario.launch
    if launch is None:
        raise ConfigError(f"{loaded.path}: launches nothing; there is nothing to deploy")
    start_logs(given)
    folder = given["output"] / _FOLDER / name
    machine = ScenarioRun(
        loaded, folder, given["output"], tell=lambda line: LOGGER.info("%s", line)
    )
    machine.context.run_id = f"deploy-{name}"
    kubernetes = launch.kubernetes
    stays = kubernetes is not None and kubernetes.address != "port_forward"
    try:
        with lock(folder, f"benchcore deploy {name}"):
            before = _deployed(folder)
            if before is not None and before.pid is None:
                raise _already(name, before)
            return run_loop(_deploy(machine, folder, stays=stays, as_json=given["as_json"]))
    except LockError:
        raise _already(name, _deployed(folder)) from None


def _already(name: str, before: Deployed | None) -> ConfigError:
    if before is None or before.base_url is None:
        return ConfigError(f"{name} is being deployed already; wait for it, or undeploy it")
    return ConfigError(f"{name} is deployed already, {before.base_url}; undeploy it first")


async def _deploy(machine: ScenarioRun, folder: Path, *, stays: bool, as_json: bool = False) -> int:
    """Bring the server up, and take it down when it is asked to, unless it stays.

    Raises:
        TargetError: it did not come up, or something of it is left.
        ResultsError: `deployed.json` cannot be written.
    """
    from benchcore.base.logs import LOGGER
    from benchcore.runs.scenarios import StageStatus

    ended = asyncio.Event()

    def interrupt() -> None:
        ended.set()
        machine.interrupt(caught[0])

    caught = catch_signals(interrupt)
    faults: list[str] = []
    left = ""
    up = False
    with ExitStack() as told:
        try:
            told.enter_context(_told(folder, os.getpid(), None))
            for name in ("launch", "health"):
                part = await machine.stage(name)
                if part.status is not StageStatus.PASSED:
                    faults.append(f"{name}: {part.message}")
                    break
            else:
                base_url = machine.context.base_url
                told.enter_context(_told(folder, None if stays else os.getpid(), base_url))
                up = True
                if as_json:
                    show_json({"base_url": base_url, "stays": stays})
                else:
                    click.echo(base_url)
                if not stays:
                    await ended.wait()
        finally:
            if not (up and stays):
                part = await machine.stage("cleanup")
                if part.status is StageStatus.PASSED:
                    (folder / _FILE).unlink(missing_ok=True)
                else:
                    left = f"cleanup: {part.message}"
    if caught and not up:
        if left:
            LOGGER.error("%s", left)
        return 128 + caught[0]
    if left:
        faults.append(left)
    if faults:
        raise TargetError(f"{machine.context.scenario.id}: {'; '.join(faults)}")
    return 0


@click.command()
@click.argument("scenario")
@OUTPUT
def undeploy(**given: Any) -> int:
    """Take down the server that `benchcore deploy SCENARIO` brought up."""
    from benchcore.config.scenario import Choice
    from benchcore.scenario.scenario_file import find_scenario, load_scenario
    from benchcore.servers.kubernetes.removal import remove_run

    loaded = load_scenario(find_scenario(given["scenario"]), "pr", choice=Choice())
    name, launch = loaded.scenario.id, loaded.scenario.launch
    folder = given["output"] / _FOLDER / name
    before = _deployed(folder)
    if before is not None and before.pid is not None and before.lives:
        _end(folder, before.pid)
    elif launch is not None and launch.kubernetes is not None:
        for line in asyncio.run(
            remove_run(launch.kubernetes, loaded.path.parent, f"deploy-{name}")
        ):
            click.echo(line)
    else:
        # What is told is of a process that is gone: its guard has ended what it had launched.
        (folder / _FILE).unlink(missing_ok=True)
        raise ConfigError(f"{name} is not deployed from {given['output']}")
    (folder / _FILE).unlink(missing_ok=True)
    click.echo(f"{name} is down", err=True)
    return 0


@contextmanager
def _told(folder: Path, pid: int | None, base_url: str | None) -> Iterator[None]:
    """Tell in `deployed.json` who deploys, and hold a lock on that very file meanwhile.

    A process id alone says nothing: once its process has gone, the system gives it to another. The
    file takes its place with the lock on it, so that nobody ever finds an old number under a new
    lock.

    Raises:
        ResultsError: it cannot be written.
    """
    path = folder / _FILE
    new = folder / f".{_FILE}.new"
    with ExitStack() as held:
        try:
            file = held.enter_context(new.open("wb", buffering=0))
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"pid": pid, "base_url": base_url}).encode() + b"\n")
            new.replace(path)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be written ({error.strerror})") from None
        yield


def _deployed(folder: Path) -> Deployed | None:
    """Return what is told of a deployed server; `None`: nothing is.

    Raises:
        ConfigError: the file cannot be read, or is damaged.
    """
    path = folder / _FILE
    try:
        with path.open("rb") as file:
            lives = _is_locked(file.fileno())
            content = json.loads(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        content = {}
    # To `kill`, 0 and what is below are whole groups of processes.
    pid, base_url = content.get("pid", 0), content.get("base_url", 0)
    good = pid is None or (type(pid) is int and pid > 0)
    if not good or not isinstance(base_url, str | None):
        raise ConfigError(f"{path}: is not what `benchcore deploy` writes; remove it")
    return Deployed(pid, base_url, lives)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _end(folder: Path, pid: int) -> None:
    """End the process that deployed, and wait until it has taken everything down.

    Raises:
        TargetError: it does not end, or has left something.
    """
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError:
        raise TargetError(
            f"process {pid} belongs to another user; let that user undeploy it"
        ) from None
    deadline = time.monotonic() + _END_SECONDS
    while (now := _deployed(folder)) is not None and now.pid == pid:
        if not now.lives:
            raise TargetError(f"process {pid} could not take everything down; see its messages")
        if time.monotonic() > deadline:
            raise TargetError(f"process {pid} does not end, although it was sent a SIGTERM")
        time.sleep(_POLL_SECONDS)
