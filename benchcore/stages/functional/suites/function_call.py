"""Function call: tools and the calls that are made to them."""

from benchcore.stages.functional.check import Suite

SUITE = Suite("function_call", "tools and the calls that are made to them")
