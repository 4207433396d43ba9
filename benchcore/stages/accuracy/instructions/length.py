"""Instructions about length: `length_constraints:*`."""

from __future__ import annotations

import re
from typing import Final

from benchcore.stages.accuracy.instructions.given import Given
from benchcore.stages.accuracy.instructions.sentences import split_sentences

_WORD: Final = re.compile(r"\w+")
_FIRST_WORD_ENDS: Final = re.compile(r"[.,?!'\"]")


def number_sentences(given: Given, response: str) -> bool:
    """Check the number of sentences against `num_sentences` and `relation`."""
    return given.holds(len(split_sentences(response)), "num_sentences", "relation")


def number_words(given: Given, response: str) -> bool:
    """Check the number of words against `num_words` and `relation`; `don't` is two."""
    return given.holds(sum(1 for _ in _WORD.finditer(response)), "num_words", "relation")


def number_paragraphs(given: Given, response: str) -> bool:
    """Check that dividers `***` make exactly `num_paragraphs`, none empty but at the ends."""
    asked = given.number("num_paragraphs")
    filled = [bool(piece.strip()) for piece in response.split("***")]
    return all(filled[1:-1]) and sum(filled) == asked


def nth_paragraph_first_word(given: Given, response: str) -> bool:
    """Check `num_paragraphs` between blank lines, and the word that paragraph n begins with.

    The word is compared without quotation marks before it and up to its first punctuation: `It's`
    begins with `it`.
    """
    asked = given.number("num_paragraphs")
    nth = given.number("nth_paragraph")
    word = given.text("first_word").lower()
    if not 1 <= nth <= asked:
        raise ValueError(
            f"{given.instruction_id}: 'nth_paragraph' must be from 1 to {asked}, not {nth}"
        )
    pieces = response.split("\n\n")
    if sum(1 for piece in pieces if piece.strip()) != asked:
        return False
    # The empty pieces of three or more line ends are not counted, yet take a place, as in the
    # reference: scores would not compare otherwise.
    words = pieces[nth - 1].split()
    if not words:
        return False
    first = words[0].lstrip("'").lstrip('"')
    return _FIRST_WORD_ENDS.split(first, maxsplit=1)[0].lower() == word
