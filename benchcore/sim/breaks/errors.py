"""Breaks of the checks in `errors`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
