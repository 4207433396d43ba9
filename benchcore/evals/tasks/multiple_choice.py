"""Multiple choice: GPQA, MMLU and MMLU-Pro.

GPQA asks questions of graduates that a search does not answer (Rein et al. 2023).
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.letters import LETTERS, choice_text, judge_letter, plain_letter
from benchcore.evals.sampling import without_reasoning
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task, mean_of
from benchcore.metrics.accuracy import Sample

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


# MMLU: questions of 57 subjects (Hendrycks et al. 2020).

_MMLU_URL: Final = "https://openaipublic.blob.core.windows.net/simple-evals/mmlu.csv"


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
        return (Source("mmlu.csv", _MMLU_URL),)

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return the rows that are asked: drawn, not the first, as simple-evals does."""
        return drawn(rows, config.limit, draw)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices."""
        del draw
        text, target = _mmlu_asked(row)
        return text, target, {}

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question."""
        text, target = _mmlu_asked(row)
        return text, f"Answer: {target}"

    def said(self, row: Row) -> str:
        """Return the question with its choices: some questions are there twice without them."""
        return _mmlu_asked(row)[0]

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


def _mmlu_asked(row: Row) -> tuple[str, str]:
    if "choices" not in row:
        target = str(row["Answer"]).strip()
        if target not in tuple("ABCD"):
            raise ValueError(f"Answer is {target!r}, not one of A, B, C, D")
        return choice_text(row["Question"], [row[letter] for letter in "ABCD"]), target
    return choice_text(row["question"], row["choices"]), LETTERS[int(row["answer"])]


# MMLU-Pro: questions with up to ten choices (Wang et al. 2024).

_MMLU_PRO_URL: Final = (
    "https://huggingface.co/datasets/TIGER-Lab/MMLU-Pro/resolve/"
    "b189ec765aa7ed75c8acfea42df31fdae71f97be/data/{}-00000-of-00001.parquet"
)
_MMLU_PRO_SHA256: Final = "0e24a191921c2f453518a537a8b2117bd137e7714d4ef1565e9ba06c1ecb9ad8"


class MmluPro(Task):
    """Asks MMLU-Pro: columns `question, options, answer, category`."""

    name: str = "mmlu_pro"
    title: str = "MMLU-Pro: questions of 14 fields with up to ten choices, asked as MMLU is"
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "mmlu_pro.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return the test split; it is Parquet."""
        del variant
        return (Source("mmlu_pro_test.parquet", _MMLU_PRO_URL.format("test"), _MMLU_PRO_SHA256),)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices."""
        del draw
        text, target = _mmlu_pro_asked(row)
        facts: dict[str, Any] = {"choices": len(row["options"])}
        if "question_id" in row:
            facts["id"] = row["question_id"]
        return text, target, facts

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved question."""
        text, target = _mmlu_pro_asked(row)
        return text, f"Answer: {target}"

    def said(self, row: Row) -> str:
        """Return the question with its choices."""
        return _mmlu_pro_asked(row)[0]

    def group(self, row: Row) -> str:
        """Return the field."""
        return str(row.get("category") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the letter, among as many as there are choices."""
        letters = LETTERS[: question.facts["choices"]]
        return judge_letter(answer, question.target, letters, config.extraction)


def _mmlu_pro_asked(row: Row) -> tuple[str, str]:
    target = str(row["answer"]).strip()
    if target not in tuple(LETTERS[: len(row["options"])]):
        raise ValueError(f"answer is {target!r}, not a letter of its {len(row['options'])} options")
    return choice_text(row["question"], row["options"]), target


# MMLU-Pro by its published protocol: solved questions of the same field, then a chain of thought.
# Prompt and extraction are those of `evaluate_from_api.py`, which asks models behind an API, in
# https://github.com/TIGER-AI-Lab/MMLU-Pro at f418b116 (2026-03-18).

_SHOTS: Final = 5
_MOST_CHOICES: Final = 10
_MISSING: Final = "N/A"
"""Stands in the data where a question has fewer choices."""
_SEED: Final = 12345
_ORDER: Final = (
    "The following are multiple choice questions (with answers) about {field}. Think step by step "
    'and then output the answer in the format of "The answer is (X)" at the end.\n\n'
)
_COT_SAID: Final = re.compile(r"answer is \(?([A-J])\)?")
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
        return (Source("mmlu_pro_validation.parquet", _MMLU_PRO_URL.format("validation")),)

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the question with its choices, without the solved ones."""
        del draw
        choices, target = _without_missing(row), str(row["answer"]).strip()
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
    said = _COT_SAID.search(text)
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


def _without_missing(row: Row) -> list[str]:
    choices = [str(choice) for choice in row["options"] if choice != _MISSING]
    if not 2 <= len(choices) <= _MOST_CHOICES:
        raise ValueError(f"{len(choices)} choices; a question has 2 to {_MOST_CHOICES}")
    return choices


def _written(row: Row, thought: str) -> str:
    """Return a question as the published prompt has it, with its solution or the start of one."""
    thought = thought or "Let's think step by step."
    listed = "".join(
        f"{letter}. {choice}\n"
        for letter, choice in zip(LETTERS, _without_missing(row), strict=False)
    )
    solution = thought.removeprefix("A: ")
    return f"Question: {row['question']}\nOptions: {listed}Answer: {solution}\n\n"
