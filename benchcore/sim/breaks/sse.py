"""Breaks of the checks in `sse`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
