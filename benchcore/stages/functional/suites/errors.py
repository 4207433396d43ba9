"""Errors: what errors look like."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("errors", "what errors look like")
