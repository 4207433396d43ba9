"""Breaks of the checks in `sampling`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
