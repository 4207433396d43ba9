"""Params boundary: values at the ends of what is allowed, and beyond."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("params_boundary", "values at the ends of what is allowed, and beyond")
