"""Breaks of the checks in `completions_core`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
