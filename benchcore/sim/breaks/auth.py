"""Breaks of the checks in `auth`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
