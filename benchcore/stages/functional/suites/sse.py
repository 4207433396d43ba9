"""Sse: the framing and the content of streams."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("sse", "the framing and the content of streams")
