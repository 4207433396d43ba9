"""The simulated server: an OpenAI-compatible API over a model of continuous batching."""

from benchcore.sim.options import PROFILES, SimOptions, SimProfile
from benchcore.sim.process import SimulatorProcess

__all__ = ["PROFILES", "SimOptions", "SimProfile", "SimulatorProcess"]
