"""Usage: the counts of tokens."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("usage", "the counts of tokens")
