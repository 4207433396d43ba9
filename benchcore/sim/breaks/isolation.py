"""Breaks of the checks in `isolation`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
