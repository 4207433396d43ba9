"""MMLU-Pro: questions with up to ten choices (Wang et al. 2024)."""

from __future__ import annotations

import random
from typing import Any, Final

from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import LETTERS, choice_text, judge_letter
from benchcore.evals.task import Judgement, Question, Row, Source, Task

URL: Final = (
    "https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro/resolve/"
    "b189ec765aa7ed75c8acfea42df31fdae71f97be/data/{}-00000-of-00001.parquet"
)
_SHA256: Final = "0e24a191921c2f453518a537a8b2117bd137e7714d4ef1565e9ba06c1ecb9ad8"


class MmluPro(Task):
    """Asks MMLU-Pro: columns `question, options, answer, category`."""

    name: str = "mmlu_pro"
    title: str = "MMLU-Pro: questions of 14 fields with up to ten choices, asked as MMLU is"
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "mmlu_pro.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the test split; it is Parquet."""
        del variant
        return (Source("mmlu_pro_test.parquet", URL.format("test"), _SHA256),)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices."""
        del draw
        text, target = _asked(row)
        facts: dict[str, Any] = {"choices": len(row["options"])}
        if "question_id" in row:
            facts["id"] = row["question_id"]
        return text, target, facts

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question."""
        text, target = _asked(row)
        return text, f"Answer: {target}"

    def said(self, row: Row) -> str:
        """Return the question with its choices."""
        return _asked(row)[0]

    def group(self, row: Row) -> str:
        """Return the field."""
        return str(row.get("category") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the letter, among as many as there are choices."""
        letters = LETTERS[: question.facts["choices"]]
        return judge_letter(answer, question.target, letters, config.extraction)


def _asked(row: Row) -> tuple[str, str]:
    target = str(row["answer"]).strip()
    if target not in tuple(LETTERS[: len(row["options"])]):
        raise ValueError(f"answer is {target!r}, not a letter of its {len(row['options'])} options")
    return choice_text(row["question"], row["options"]), target
