"""Instructions about what must stand in the response: `detectable_content:*`."""

from __future__ import annotations

import re
from typing import Final

from benchcore.stages.accuracy.instructions.given import Given

_PLACEHOLDER: Final = re.compile(r"\[[^\]\n]*\]")
_POSTSCRIPTS: Final = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
"""The two markers of the data."""


def number_placeholders(given: Given, response: str) -> bool:
    """Check for at least `num_placeholders` like `[address]`."""
    found = sum(1 for _ in _PLACEHOLDER.finditer(response))
    return found >= given.number("num_placeholders")


def postscript(given: Given, response: str) -> bool:
    """Check that `postscript_marker` stands somewhere, in any case: `p. s.` is `P.S.`."""
    marker = given.text("postscript_marker")
    pattern = given.pattern(_POSTSCRIPTS.get(marker, marker))
    return pattern.search(response) is not None
