"""Instructions about capital and small letters: `change_case:*`."""

from __future__ import annotations

from benchcore.stages.accuracy.instructions.given import Given
from benchcore.stages.accuracy.instructions.language import is_in
from benchcore.stages.accuracy.instructions.words import split_words


def capital_word_frequency(given: Given, response: str) -> bool:
    """Check the number of words in capitals against `capital_frequency` and its relation."""
    found = sum(1 for word in split_words(response) if word.isupper())
    return given.holds(found, "capital_frequency", "capital_relation")


def english_capital(given: Given, response: str) -> bool:
    """Check that the response has capital letters only and is English."""
    del given
    return response.isupper() and is_in("en", response)


def english_lowercase(given: Given, response: str) -> bool:
    """Check that the response has small letters only and is English."""
    del given
    return response.islower() and is_in("en", response)
