"""GPQA: questions of graduates that a search does not answer (Rein et al. 2023)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import LETTERS, choice_text, judge_letter
from benchcore.evals.task import Judgement, Question, Row, Source, Task

_URL: Final = "https://openaipublic.blob.core.windows.net/simple-evals/gpqa_{}.csv"
_SHA256: Final = {"diamond": "41d1213cd7a4998605a26c2798500652572007161b3a92817ba46b35befcd305"}


class Gpqa(Task):
    """Asks GPQA as simple-evals does: one permutation of the four choices for each asking.

    Of each row `permutation[i]` says which of the choices (0: the correct one, 1 to 3: the
    incorrect ones) stands at place i.
    """

    name: str = "gpqa"
    title: str = "GPQA: graduate-level questions in biology, physics and chemistry"
    variants: tuple[str, ...] = ("diamond", "main", "extended")
    repeats: int = 4
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "gpqa.csv"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the file of a variant."""
        url = _URL.format(variant)
        return (Source(f"gpqa_{variant}.csv", url, _SHA256.get(variant, "")),)

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return the rows that are asked: drawn, not the first, as simple-evals does."""
        return drawn(rows, config.limit, draw)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices permuted."""
        permutation = draw.sample(range(4), 4)
        choices = _choices(row)
        text = choice_text(row["Question"], [choices[place] for place in permutation])
        facts = {"permutation": permutation}
        if row.get("Record ID"):
            facts["id"] = row["Record ID"]
        return text, LETTERS[permutation.index(0)], facts

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question, its choices in an order of its own."""
        # Not from the run's generator: solved questions must not change what is asked.
        order = random.Random(self.said(row)).sample(range(4), 4)
        choices = _choices(row)
        text = choice_text(row["Question"], [choices[place] for place in order])
        return text, f"Answer: {LETTERS[order.index(0)]}"

    def said(self, row: Row) -> str:
        """Return the question without its choices."""
        return str(row["Question"])

    def group(self, row: Row) -> str:
        """Return the domain, where the file has it."""
        return str(row.get("High-level domain") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the letter."""
        return judge_letter(answer, question.target, "ABCD", config.extraction)


def _choices(row: Row) -> list[str]:
    return [row["Correct Answer"], *(row[f"Incorrect Answer {number}"] for number in (1, 2, 3))]


def drawn(rows: Sequence[Row], limit: int | None, draw: random.Random) -> list[Row]:
    """Return `limit` rows drawn without replacement; all in their order where there is no limit."""
    if limit is None:
        return list(rows)
    return draw.sample(list(rows), min(limit, len(rows)))
