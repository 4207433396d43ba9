"""GSM8K: word problems of grade school (Cobbe et al. 2021)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from benchcore.config.evals import EvalConfig
from benchcore.evals.numbers import answer_number, equal_numbers, strict_number
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task, mean_of
from benchcore.metrics.accuracy import Sample

_URL: Final = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data/{}.jsonl"
)
_SHA256: Final = {
    "test": "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    "train": "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
}
_ORDER: Final = (
    "Solve the problem step by step. Write the final number on the last line, after ####, as in "
    "`#### 42`.\n\n"
)


class Gsm8k(Task):
    """Asks GSM8K: columns `question, answer`, the number after `####`.

    The score is by flexible extraction; the strict one, by the form `#### N` alone, stands beside.
    """

    name: str = "gsm8k"
    title: str = "GSM8K: word problems of grade school"
    builtin: str | None = "gsm8k.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the test split."""
        del variant
        return (Source("gsm8k_test.jsonl", _URL.format("test"), _SHA256["test"]),)

    def shot_sources(self, variant: str) -> tuple[Source, ...]:
        """Return the training split."""
        del variant
        return (Source("gsm8k_train.jsonl", _URL.format("train"), _SHA256["train"]),)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the problem."""
        del draw
        target = strict_number(row["answer"])
        if target is None:
            raise ValueError("its answer has no number after ####")
        return _ORDER + row["question"], target, {}

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a problem with its solution, as the data set writes it."""
        return _ORDER + row["question"], str(row["answer"])

    def said(self, row: Row) -> str:
        """Return the problem."""
        return str(row["question"])

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the number, found flexibly and strictly."""
        del config
        strict = strict_number(answer)
        number = answer_number(answer)
        if number is None:
            return NO_ANSWER
        right = equal_numbers(number, question.target)
        details = {"strict": strict is not None and equal_numbers(strict, question.target)}
        return Judgement(float(right), number, details={**details, "flexible": right})

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the score by each extraction."""
        return mean_of(samples, "strict") | mean_of(samples, "flexible")
