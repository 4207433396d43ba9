"""Guided: output that must follow a schema, a pattern or a grammar."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("guided", "output that must follow a schema, a pattern or a grammar")
