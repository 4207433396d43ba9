"""Isolation: requests that do not disturb each other."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("isolation", "requests that do not disturb each other")
