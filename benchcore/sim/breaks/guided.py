"""Breaks of the checks in `guided`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
