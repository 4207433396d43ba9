"""The simulated server: an OpenAI-compatible API over a model of continuous batching."""

from benchcore.sim.options import SimOptions
from benchcore.sim.process import SimulatorProcess
from benchcore.sim.profile import PROFILES, SimProfile

__all__ = ["PROFILES", "SimOptions", "SimProfile", "SimulatorProcess"]
