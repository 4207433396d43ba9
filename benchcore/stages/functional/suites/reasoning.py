"""Reasoning: reasoning, and where it ends."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("reasoning", "reasoning, and where it ends")
