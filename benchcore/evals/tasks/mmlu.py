"""MMLU: questions of 57 subjects (Hendrycks et al. 2020)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import LETTERS, choice_text, judge_letter, plain_letter
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task
from benchcore.evals.tasks.gpqa import drawn

_URL: Final = "https://openaipublic.blob.core.windows.net/simple-evals/mmlu.csv"


class Mmlu(Task):
    """Asks MMLU as simple-evals does, choices in the order of the file.

    Columns are simple-evals' (`Question, A, B, C, D, Answer, Subject`) or those of the Hugging Face
    set (`question, choices, answer, subject`).
    """

    name: str = "mmlu"
    title: str = "MMLU: questions of 57 subjects"
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "mmlu.csv"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return simple-evals' file; its SHA-256 is not published."""
        del variant
        return (Source("mmlu.csv", _URL),)

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return the rows that are asked: drawn, not the first, as simple-evals does."""
        return drawn(rows, config.limit, draw)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices."""
        del draw
        text, target = _asked(row)
        return text, target, {}

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question."""
        text, target = _asked(row)
        return text, f"Answer: {target}"

    def said(self, row: Row) -> str:
        """Return the question with its choices: some questions are there twice without them."""
        return _asked(row)[0]

    def group(self, row: Row) -> str:
        """Return the subject."""
        return str(row.get("Subject") or row.get("subject") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the letter; simple-evals' rule for MMLU drops markup first, that of GPQA not."""
        if config.extraction == "simple-evals":
            letter = plain_letter(answer)
            if letter is None:
                return NO_ANSWER
            return Judgement(float(letter == question.target), letter)
        return judge_letter(answer, question.target, "ABCD", config.extraction)


def _asked(row: Row) -> tuple[str, str]:
    if "choices" not in row:
        target = str(row["Answer"]).strip()
        if target not in tuple("ABCD"):
            raise ValueError(f"Answer is {target!r}, not one of A, B, C, D")
        return choice_text(row["Question"], [row[letter] for letter in "ABCD"]), target
    return choice_text(row["question"], row["choices"]), LETTERS[int(row["answer"])]
