"""Instructions about punctuation: `punctuation:*`."""

from __future__ import annotations

from benchcore.stages.accuracy.instructions.given import Given


def no_comma(given: Given, response: str) -> bool:
    """Check that no `,` stands in the response; commas of other scripts are none."""
    del given
    return "," not in response
