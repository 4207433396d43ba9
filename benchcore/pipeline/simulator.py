"""Simulator: the built-in simulated server as something that a scenario launches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from benchcore.config.launch import SimulatorLaunch
from benchcore.errors import ConfigError
from benchcore.launch.protocol import Served
from benchcore.sim.options import PROFILES, SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess


class SimulatorServer:
    """The built-in simulator, in a process of its own.

    Args:
        config: what the scenario says of it.

    Raises:
        ConfigError: there is no such profile or setting.
    """

    def __init__(self, config: SimulatorLaunch) -> None:
        self._config = config
        _require(config.profile, PROFILES, "launch.simulator.profile")
        for name in config.settings:
            _require(name, SimProfile.model_fields, "launch.simulator.settings")
        try:
            self._options = SimOptions(profile=SimProfile.named(config.profile, **config.settings))
        except ValidationError as error:
            faults = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
                for fault in error.errors(include_url=False)
            ]
            raise ConfigError(f"launch.simulator.settings: {'; '.join(faults)}") from None
        self._process: SimulatorProcess | None = None

    def kept(self) -> Mapping[str, bytes]:
        """Return the profile with all its settings."""
        profile = self._options.profile.model_dump(mode="json")
        return {"launch.json": json.dumps({"simulator": profile}, indent=2).encode() + b"\n"}

    async def start(self) -> Served:
        """Start it.

        Raises:
            TargetError: it did not come up.
        """
        self._process = SimulatorProcess(self._options)
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
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)
        return []


def _require(name: str, known: Iterable[str], where: str) -> None:
    names = list(known)
    if name in names:
        return
    close = get_close_matches(name, names)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}"
    raise ConfigError(f"{where}: {name!r} is not known; {hint}")
