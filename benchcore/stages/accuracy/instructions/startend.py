"""Instructions about the ends of a response: `startend:*`."""

from __future__ import annotations

from benchcore.stages.accuracy.instructions.given import Given


def end_checker(given: Given, response: str) -> bool:
    """Check that the response, white space and quotation marks aside, ends with `end_phrase`."""
    phrase = given.text("end_phrase").lower()
    return response.strip().strip('"').lower().endswith(phrase)


def quotation(given: Given, response: str) -> bool:
    """Check that the response stands in double quotation marks; one mark alone does not do."""
    del given
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'
