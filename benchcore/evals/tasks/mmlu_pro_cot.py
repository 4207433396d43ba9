"""MMLU-Pro by its published protocol: solved questions of the same field, then a chain of thought.

Prompt and extraction are those of `evaluate_from_api.py` in
https://github.com/TIGER-AI-Lab/MMLU-Pro at f418b116 (2026-03-18), which asks models behind an API.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import LETTERS
from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import Judgement, Question, Row, Source, mean_of
from benchcore.evals.tasks.mmlu_pro import URL, MmluPro
from benchcore.metrics.accuracy import Sample

_SHOTS: Final = 5
_MOST_CHOICES: Final = 10
_MISSING: Final = "N/A"
"""Stands in the data where a question has fewer choices."""
_SEED: Final = 12345
_ORDER: Final = (
    "The following are multiple choice questions (with answers) about {field}. Think step by step "
    'and then output the answer in the format of "The answer is (X)" at the end.\n\n'
)
_SAID: Final = re.compile(r"answer is \(?([A-J])\)?")
_LABELLED: Final = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_ALONE: Final = re.compile(r"\b[A-J]\b")


class MmluProCot(MmluPro):
    """Asks MMLU-Pro as its authors do: one user turn with five solved questions of the field.

    Those are the first of the validation split, with its `cot_content`. Beside the score stands
    `published`, in which an answer without a letter counts as their script counts it: as a guess.
    """

    name = "mmlu_pro_cot"
    title = "MMLU-Pro by its published protocol: five solved questions of the field before each"
    extractions = ("robust",)
    builtin_shots = "mmlu_pro_validation.jsonl"

    def settled(self, config: EvalConfig) -> EvalConfig:
        """Return the settings with five solved questions, unless another number is given."""
        return config if config.few_shot else config.model_copy(update={"few_shot": _SHOTS})

    def to_the_letter(self, config: EvalConfig) -> bool:
        """Return that its rule is the published one."""
        del config
        return True

    def shot_sources(self, variant: str) -> tuple[Source, ...]:
        """Return the validation split; its SHA-256 is not published."""
        del variant
        return (Source("mmlu_pro_validation.parquet", URL.format("validation")),)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices, without the solved ones."""
        del draw
        choices, target = _choices(row), str(row["answer"]).strip()
        if target not in tuple(LETTERS[: len(choices)]):
            raise ValueError(f"answer is {target!r}, not a letter of its {len(choices)} options")
        facts: dict[str, Any] = {"choices": len(choices)}
        if "question_id" in row:
            facts["id"] = row["question_id"]
        return _written(row, ""), target, facts

    def chosen_shots(self, rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
        """Return the first of each field.

        Raises:
            ConfigError: a field has fewer.
        """
        fields: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            fields[self.group(row)].append(row)
        for field, shots in fields.items():
            if len(shots) < count:
                raise ConfigError(
                    f"--few-shot {count}: there are {len(shots)} solved questions of {field!r}"
                )
        return [row for shots in fields.values() for row in shots[:count]]

    def shown(
        self, text: str, row: Row, shots: Sequence[Row]
    ) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return one user turn: what is wanted, the solved questions of the field, the question."""
        field = self.group(row)
        solved = [
            _written(shot, str(shot["cot_content"])) for shot in shots if self.group(shot) == field
        ]
        if not solved:
            raise ValueError(f"there is no solved question of its field, {field!r}")
        return "".join([_ORDER.format(field=field), *solved, text]), ()

    def said(self, row: Row) -> str:
        """Return the question with its choices."""
        return _written(row, "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the letter that the published rule finds."""
        del config
        letter = published_letter(without_reasoning(answer))
        right = letter == question.target
        if letter is None:
            guess = random.Random(_SEED).randint(0, question.facts["choices"] - 1)
            details = {"published": LETTERS[guess] == question.target}
            return Judgement(0.0, answered=False, details=details)
        return Judgement(float(right), letter, details={"published": right})

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the score in which an answer without a letter is a guess."""
        return mean_of(samples, "published")


def published_letter(text: str) -> str | None:
    """Return the letter by the rule of MMLU-Pro's `extract_answer`; `None`: there is none.

    The first `answer is (X)`; else, in the first line that has one, the last `Answer: X`; else the
    last letter from A to J that stands alone. Marks of bold type are taken out first, as there.
    """
    text = text.replace("**", "")
    said = _SAID.search(text)
    if said:
        return said[1]
    labelled = None
    for match in _LABELLED.finditer(text):
        if labelled is not None and "\n" in text[labelled.start() : match.start()]:
            break
        labelled = match
    if labelled is not None:
        return labelled[1]
    alone = _ALONE.findall(text)
    return str(alone[-1]) if alone else None


def _choices(row: Row) -> list[str]:
    choices = [str(choice) for choice in row["options"] if choice != _MISSING]
    if not 2 <= len(choices) <= _MOST_CHOICES:
        raise ValueError(f"{len(choices)} choices; a question has 2 to {_MOST_CHOICES}")
    return choices


def _written(row: Row, thought: str) -> str:
    """Return a question as the published prompt has it, with its solution or the start of one."""
    thought = thought or "Let's think step by step."
    listed = "".join(
        f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, _choices(row), strict=False)
    )
    solution = thought.removeprefix("A: ")
    return f"Question: {row['question']}\nOptions: {listed}Answer: {solution}\n\n"
