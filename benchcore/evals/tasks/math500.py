"""MATH-500: problems of competitions (Hendrycks et al. 2021; the 500 of Lightman et al. 2023)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from benchcore.config.evals import EvalConfig
from benchcore.evals.numbers import (
    anywhere_expression,
    equal_expressions,
    final_expression,
    needs_math_verify,
    simple_evals_expression,
)
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task
from benchcore.evals.tasks.gpqa import drawn

_URL: Final = (
    "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/"
    "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be/test.jsonl"
)
_SHA256: Final = "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132"
# simple-evals' words (MIT licence): what is asked decides what is answered.
_ORDER: Final = (
    "Solve the following math problem step by step. The last line of your response should be of "
    "the form Answer: $ANSWER (without quotes) where $ANSWER is the answer to the problem.\n\n"
    "{}\n\n"
    'Remember to put your answer on its own line after "Answer:", and you do not need to use a '
    "\\boxed command."
)


class Math500(Task):
    """Asks MATH-500 as simple-evals does, and compares by symbols instead of by a grader model.

    Columns are `problem, answer, subject` or simple-evals' `Question, Answer`.
    """

    name: str = "math500"
    title: str = "MATH-500: problems of mathematics competitions"
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "math500.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the test split."""
        del variant
        return (Source("math500_test.jsonl", _URL, _SHA256),)

    def check(self, config: EvalConfig) -> None:
        """Refuse to begin without math-verify."""
        super().check(config)
        needs_math_verify()

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return the rows that are asked: drawn, not the first, as simple-evals does."""
        return drawn(rows, config.limit, draw)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the problem."""
        del draw
        facts = {"id": row["unique_id"]} if "unique_id" in row else {}
        return _ORDER.format(self.said(row)), _target(row), facts

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved problem."""
        return _ORDER.format(self.said(row)), f"Answer: {_target(row)}"

    def said(self, row: Row) -> str:
        """Return the problem."""
        return str(row["problem"] if "problem" in row else row["Question"])

    def group(self, row: Row) -> str:
        """Return the subject, where the file has it."""
        return str(row.get("subject") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the expressions."""
        simple = config.extraction == "simple-evals"
        if simple:
            expression = simple_evals_expression(answer)
        else:
            expression = final_expression(answer) or anywhere_expression(answer)
        if expression is None:
            return NO_ANSWER
        return Judgement(float(equal_expressions(question.target, expression)), expression)


def _target(row: Row) -> str:
    return str(row["answer"] if "answer" in row else row["Answer"])
