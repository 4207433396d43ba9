"""Instructions about several things at once: `combination:*`."""

from __future__ import annotations

from benchcore.stages.accuracy.instructions.given import Given


def two_responses(given: Given, response: str) -> bool:
    """Check for two different responses around `******`, which may also stand at the ends."""
    del given
    pieces = [piece.strip() for piece in response.split("******")]
    filled = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def repeat_prompt(given: Given, response: str) -> bool:
    """Check that the response begins with `prompt_to_repeat`, in any case."""
    return response.strip().lower().startswith(given.text("prompt_to_repeat").lower())
