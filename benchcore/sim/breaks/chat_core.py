"""Breaks of the checks in `chat_core`."""

from benchcore.sim.breaks.breakage import Break

BREAKS: dict[str, Break] = {}
