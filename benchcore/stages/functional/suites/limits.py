"""Limits: sizes, bursts and the ids of requests."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("limits", "sizes, bursts and the ids of requests")
