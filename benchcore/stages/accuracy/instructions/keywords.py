"""Instructions about words and letters: `keywords:*`."""

from __future__ import annotations

from benchcore.stages.accuracy.instructions.given import Given


def existence(given: Given, response: str) -> bool:
    """Check that each of `keywords` is found, as a regular expression and in any case."""
    patterns = [given.pattern(word) for word in given.texts("keywords")]
    return all(pattern.search(response) for pattern in patterns)


def frequency(given: Given, response: str) -> bool:
    """Check how often `keyword` is found, inside words too."""
    pattern = given.pattern(given.text("keyword"))
    found = sum(1 for _ in pattern.finditer(response))
    return given.holds(found, "frequency", "relation")


def forbidden_words(given: Given, response: str) -> bool:
    """Check that none of `forbidden_words` stands as a whole word."""
    patterns = [given.pattern(word, r"\b{}\b") for word in given.texts("forbidden_words")]
    return not any(pattern.search(response) for pattern in patterns)


def letter_frequency(given: Given, response: str) -> bool:
    """Check how often `letter` stands, small or capital; the data also asks for `#` and `!`."""
    letter = given.text("letter").lower()
    if len(letter) != 1:
        raise ValueError(f"{given.instruction_id}: 'letter' must be one character, not {letter!r}")
    return given.holds(response.lower().count(letter), "let_frequency", "let_relation")
