"""Reasoning: what a model thinks aloud before it answers, and the answer without it."""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = r"(?:think|thinking|thought|reasoning|reflection)"
_OPEN: Final = re.compile(rf"<{_NAMES}>|◁think▷", re.IGNORECASE)
_CLOSE: Final = re.compile(rf"</{_NAMES}>|◁/think▷", re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """Return a text without its reasoning, its ends stripped.

    What stands before the last closing tag is reasoning even where no tag opens it, since many
    templates open it in the prompt; a tag that nobody closes makes reasoning of all that follows.
    """
    closed = 0
    for found in _CLOSE.finditer(text):
        closed = found.end()
    opened = _OPEN.search(text, closed)
    kept = text[closed : opened.start() if opened else len(text)]
    before = _OPEN.search(text)
    if before is not None and before.start() < closed:
        # An answer may stand before the reasoning too.
        kept = text[: before.start()] + kept
    return kept.strip()
