"""Completions core: /v1/completions and its parameters."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("completions_core", "/v1/completions and its parameters")
