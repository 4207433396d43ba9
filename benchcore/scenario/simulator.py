"""Simulator: the built-in simulated server as something that a scenario or a command launches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import nearest
from benchcore.config.scenario import StageSettings
from benchcore.config.servers import SimulatorLaunch
from benchcore.scenario.stage import BaseStage, StageContext, StagePhase, StagePlan
from benchcore.servers.health import Served
from benchcore.sim.options import PROFILES, SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess


class SimulatorServer:
    """The built-in simulator, in a process of its own.

    Args:
        config: what the scenario says of it, or the process that is to be started.

    Raises:
        ConfigError: there is no such profile or setting.
    """

    def __init__(self, config: SimulatorLaunch | SimulatorProcess) -> None:
        if isinstance(config, SimulatorLaunch):
            config = SimulatorProcess(_options(config))
        self._process = config

    def kept(self) -> Mapping[str, bytes]:
        """Return the profile with all its settings."""
        profile = self._process.options.profile.model_dump(mode="json")
        return {"launch.json": json.dumps({"simulator": profile}, indent=2).encode() + b"\n"}

    async def start(self) -> Served:
        """Start it.

        Raises:
            TargetError: it did not come up.
        """
        await asyncio.to_thread(self._process.start)
        facts: dict[str, Any] = {"pid": self._process.pid}
        return Served(self._process.base_url, facts)

    def ended(self) -> str | None:
        """Return nothing: whoever asks it next finds out."""
        return None

    def last_lines(self, count: int = 20) -> list[str]:  # noqa: ARG002
        """Return nothing: it keeps no log."""
        return []

    async def stop(self) -> list[str]:
        """End it."""
        await asyncio.to_thread(self._process.stop)
        return []


def _options(config: SimulatorLaunch) -> SimOptions:
    _require(config.profile, PROFILES, "launch.simulator.profile")
    for name in config.settings:
        _require(name, SimProfile.model_fields, "launch.simulator.settings")
    try:
        return SimOptions(profile=SimProfile.named(config.profile, **config.settings))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        ]
        raise ConfigError(f"launch.simulator.settings: {'; '.join(faults)}") from None


def _require(name: str, known: Iterable[str], where: str) -> None:
    names = list(known)
    if name in names:
        return
    raise ConfigError(f"{where}: {name!r} is not known; {nearest(name, names)}")


class SimulatorStage(BaseStage[StageSettings]):
    """Starts the simulator for a command that was given no server; leaves no file of it."""

    name = "launch"
    phase = StagePhase.LAUNCH
    essential = True

    def __init__(self, process: SimulatorProcess) -> None:
        super().__init__(StageSettings())
        self._process = process

    def plan(self, context: StageContext) -> StagePlan:  # noqa: ARG002
        """Return that it would be started."""
        return StagePlan(["the simulator is started"])

    async def run(self, context: StageContext) -> None:
        """Start it.

        Raises:
            TargetError: it did not come up.
        """
        key = self._process.options.api_key
        context.launched_key = None if key is None else key.get_secret_value()
        context.launcher = launcher = SimulatorServer(self._process)
        served = await launcher.start()
        context.base_url, context.launched_pid = served.base_url, served.facts.get("pid")
