"""Sampling: parameters that steer what is generated."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("sampling", "parameters that steer what is generated")
