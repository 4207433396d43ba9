"""Breaks of the checks in `limits`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
