"""Breaks of the checks in `smoke`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
