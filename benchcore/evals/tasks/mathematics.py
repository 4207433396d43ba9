"""Mathematics: GSM8K, MGSM and MATH-500.

GSM8K has word problems of grade school (Cobbe et al. 2021).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import zip_longest
from typing import Any, Final

import yaml

from benchcore.base.errors import ConfigError
from benchcore.config.evals import EvalConfig
from benchcore.evals.numbers import (
    answer_number,
    anywhere_expression,
    equal_expressions,
    equal_numbers,
    final_expression,
    mgsm_equal,
    mgsm_number,
    needs_math_verify,
    simple_evals_expression,
    strict_number,
)
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task, mean_of
from benchcore.evals.tasks.multiple_choice import drawn
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


# MGSM: word problems of grade school in eleven languages (Shi et al. 2022).

_MGSM_URL: Final = "https://openaipublic.blob.core.windows.net/simple-evals/mgsm_{}.tsv"
_COLUMNS: Final = ("question", "answer")
_LATIN: Final = frozenset({"de", "en", "es", "fr", "sw"})


@cache
def _languages() -> dict[str, dict[str, str]]:
    text = resources.files(__package__).joinpath("mgsm.yaml").read_text(encoding="utf-8")
    languages: dict[str, dict[str, str]] = yaml.safe_load(text)
    return languages


class Mgsm(Task):
    """Asks MGSM as simple-evals does, in all languages or in those of the variant, `de,fr`.

    Columns are `question, answer` and `group`, the language; a file named `mgsm_LANGUAGE.tsv`
    without a first line of names, as simple-evals has it, is taken too.
    """

    name: str = "mgsm"
    title: str = "MGSM: word problems of grade school in eleven languages"
    extractions: tuple[str, ...] = ("robust", "simple-evals")
    builtin: str | None = "mgsm.jsonl"

    def sources(self, variant: str) -> tuple[Source, ...]:
        """Return a file for each language."""
        return tuple(
            Source(
                f"mgsm_{name}.tsv", _MGSM_URL.format(name), facts.get("sha256", ""), name, _COLUMNS
            )
            for name, facts in _languages().items()
            if not variant or name in variant.split(",")
        )

    def check(self, config: EvalConfig) -> None:
        """Refuse languages that it has not."""
        super().check(config)
        for name in filter(None, config.variant.split(",")):
            if name not in _languages():
                raise ConfigError(f"task mgsm has no language {name!r}; it has {self._listed()}")

    @staticmethod
    def _listed() -> str:
        return ", ".join(_languages())

    def limited(self, rows: Sequence[Row], config: EvalConfig, draw: random.Random) -> list[Row]:
        """Return as many rows as the limit says, the first of each language in turn.

        In simple-evals' mode it is so many of each language, as there.
        """
        del draw
        wanted = config.variant.split(",") if config.variant else list(_languages())
        by_language = [[row for row in rows if row.get("group") == name] for name in wanted]
        if config.limit is None:
            return [row for some in by_language for row in some]
        if config.extraction == "simple-evals":
            return [row for some in by_language for row in some[: config.limit]]
        turns = zip_longest(*by_language)
        return [row for turn in turns for row in turn if row is not None][: config.limit]

    def ask(self, row: Row, draw: random.Random) -> tuple[str, str, dict[str, Any]]:
        """Return the problem, with what to do said in its language."""
        del draw
        name = self.group(row)
        if name not in _languages():
            raise ValueError(f"group is {name!r}, not one of {self._listed()}")
        order = _languages()[name]["order"]
        return f"{order}\n\n{row['question']}", str(row["answer"]), {}

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved problem."""
        text, target, _ = self.ask(row, random.Random(0))
        return text, f"{_languages()[self.group(row)]['prefix']}: {target}"

    def said(self, row: Row) -> str:
        """Return the problem."""
        return f"{self.group(row)}: {row['question']}"

    def group(self, row: Row) -> str:
        """Return the language."""
        return str(row.get("group") or "")

    def judge(self, question: Question, answer: str, config: EvalConfig) -> Judgement:
        """Compare the number."""
        if config.extraction == "simple-evals":
            written = mgsm_number(answer, _languages()[question.group]["prefix"])
            if not written:
                return NO_ANSWER
            return Judgement(float(mgsm_equal(question.target, written)), written)
        number = answer_number(answer)
        if number is None:
            return NO_ANSWER
        return Judgement(float(equal_numbers(number, question.target)), number)

    def figures(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return the scores of the languages in Latin letters, and of the others."""
        shares = {}
        for name, latin in (("latin", True), ("non_latin", False)):
            scores = [
                sample.score
                for sample in samples
                if sample.score is not None and (sample.group in _LATIN) is latin
            ]
            if scores:
                shares[name] = sum(scores) / len(scores)
        return shares


# MATH-500: problems of competitions (Hendrycks et al. 2021; the 500 of Lightman et al. 2023).

_MATH500_URL: Final = (
    "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/"
    "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be/test.jsonl"
)
_MATH500_SHA256: Final = "35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132"
# simple-evals' words (MIT licence): what is asked decides what is answered.
_MATH500_ORDER: Final = (
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
        return (Source("math500_test.jsonl", _MATH500_URL, _MATH500_SHA256),)

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
        return _MATH500_ORDER.format(self.said(row)), _target(row), facts

    def solved(self, row: Row) -> tuple[str, str]:
        """Return a solved problem."""
        return _MATH500_ORDER.format(self.said(row)), f"Answer: {_target(row)}"

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
