"""Breaks of the checks in `reasoning`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
