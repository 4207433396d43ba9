"""MGSM: word problems of grade school in eleven languages (Shi et al. 2022)."""

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
from benchcore.evals.numbers import answer_number, equal_numbers, mgsm_equal, mgsm_number
from benchcore.evals.task import NO_ANSWER, Judgement, Question, Row, Source, Task
from benchcore.metrics.accuracy import Sample

_URL: Final = "https://openaipublic.blob.core.windows.net/simple-evals/mgsm_{}.tsv"
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
            Source(f"mgsm_{name}.tsv", _URL.format(name), facts.get("sha256", ""), name, _COLUMNS)
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
