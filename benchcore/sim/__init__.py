"""The simulated server: an OpenAI-compatible API over a model of continuous batching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchcore.sim.options import PROFILES, SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess

__all__ = ["PROFILES", "SimOptions", "SimProfile", "SimulatorProcess"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a process is begun before there are models."""
    if name not in __all__:
        raise AttributeError(f"module 'benchcore.sim' has no attribute {name!r}")
    if name == "SimulatorProcess":
        from benchcore.sim import process

        return process.SimulatorProcess
    from benchcore.sim import options

    return getattr(options, name)
