"""Breaks of the checks in `function_call`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
