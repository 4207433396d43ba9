"""Breaks of the checks in `usage`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
