"""Choices: multiple-choice questions, as simple-evals asks and judges them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from benchcore.stages.accuracy.letters import first_letter, robust_letter
from benchcore.stages.accuracy.task import NO_ANSWER, Judgement

if TYPE_CHECKING:
    from benchcore.config.eval import Extraction

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# What is asked decides what is answered: a score compares with simple-evals' figures only where
# the words are the same. They are those of its `common.py` (MIT licence).
_ORDER: Final = (
    "Answer the following multiple choice question. The last line of your response should be of "
    "the following format: 'Answer: $LETTER' (without quotes) where LETTER is one of {letters}. "
    "Think step by step before answering."
)


def choice_text(question: str, choices: Sequence[str]) -> str:
    """Return a question with its choices and the form in which to answer.

    Raises:
        ValueError: there are fewer than two choices, or more than there are letters.
    """
    if not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choices; a question has 2 to {len(LETTERS)}")
    letters = LETTERS[: len(choices)]
    listed = "\n".join(
        f"{letter}) {choice}" for letter, choice in zip(letters, choices, strict=True)
    )
    return f"{_ORDER.format(letters=letters)}\n\n{question}\n\n{listed}"


def judge_letter(answer: str, target: str, letters: str, extraction: Extraction) -> Judgement:
    """Return what an answer by letter is worth."""
    read = first_letter if extraction == "simple-evals" else robust_letter
    found = read(answer, letters)
    if found is None:
        return NO_ANSWER
    return Judgement(float(found == target), found)
