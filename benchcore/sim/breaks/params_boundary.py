"""Breaks of the checks in `params_boundary`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
