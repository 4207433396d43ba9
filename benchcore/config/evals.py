"""Evals: how questions are asked and judged, and tasks of one's own."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchcore.config.values import Regex

Extraction = Literal["robust", "simple-evals"]


class EvalConfig(BaseModel):
    """How a task's questions are asked and judged.

    Args:
        variant: of the task, such as `diamond`, a subject, or languages joined by commas.
        extraction: how the answer is found in what the model says.
        limit: ask so many questions.
        n_repeats: ask each so often; left out: as often as the task does by itself.
        temperature: of sampling.
        top_p: of sampling; left out: the server's own.
        max_tokens: the most tokens of an answer.
        system: text of a system turn before each question.
        few_shot: solved questions before each.
        concurrency: questions at a time.
        rate: questions a second instead, whatever the server does.
        retries: how often a question is sent again after a passing fault.
        min_score: what the score is held to.
        keep_text: keep what was asked and answered in `samples.jsonl`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    variant: str = Field("", description="of the task; its usual one when left out")
    extraction: Extraction = Field("robust", description="robust, or the rule of simple-evals")
    limit: int | None = Field(None, ge=1, description="ask so many questions")
    n_repeats: int | None = Field(None, ge=1, le=1000, description="ask each so often")
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False, description="of sampling")
    top_p: float | None = Field(None, gt=0, le=1, description="of sampling; the server's own")
    max_tokens: int = Field(4096, ge=1, description="the most tokens of an answer")
    system: str | None = Field(None, min_length=1, description="text of a system turn")
    few_shot: int = Field(0, ge=0, le=100, description="solved questions before each")
    concurrency: int = Field(16, ge=1, le=65536, description="questions at a time")
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="questions a second instead"
    )
    retries: int = Field(4, ge=0, le=100, description="of a question, after a passing fault")
    min_score: float | None = Field(None, ge=0, le=1, description="what the score is held to")
    keep_text: bool = Field(default=False, description="keep questions and answers")

    @model_validator(mode="after")
    def _repeats_of_a_sample(self) -> Self:
        if (
            self.extraction == "simple-evals"
            and self.limit is not None
            and (self.n_repeats or 1) > 1
        ):
            raise ValueError(
                "limit goes with n_repeats 1 in simple-evals mode, as there; leave one out"
            )
        return self


PRESETS: dict[str, dict[str, object]] = {
    "debug": {"limit": 10, "n_repeats": 1},
    "full": {"limit": None},
}
"""Settings by name: a few rows for a pull request, and everything for the night."""


ExtractKind = Literal["letter", "number", "expression", "regex", "last_line", "json", "whole"]
ScoreKind = Literal["exact", "ignore_case", "number", "expression", "contains", "regex"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Fields(_Model):
    """Which column holds what.

    Args:
        question: by which a row is known.
        answer: the right answer; for choices its letter, its text or its place from 0.
        id: kept with the sample.
        group: what a row is counted with besides.
        choices: columns of the choices, or the one column that holds a list of them.
    """

    question: str = Field("question", description="column of the question")
    answer: str = Field("answer", description="column of the right answer")
    id: str | None = Field(None, description="column that is kept with the sample")
    group: str | None = Field(None, description="column that rows are counted by")
    choices: str | tuple[str, ...] | None = Field(
        None, description="columns of choices, or the one column that holds a list"
    )


class Extract(_Model):
    """How the answer is found in what the model says.

    Args:
        kind: of rule.
        pattern: regular expression of `regex`; its first group, or all of it, is the answer.
        which: match of `regex` that counts.
        field: of the JSON object, for `json`.
    """

    kind: ExtractKind = Field("whole", description="how the answer is found")
    pattern: Regex | None = Field(None, description="regular expression, for regex")
    which: Literal["first", "last"] = Field("last", description="match that counts, for regex")
    field: str | None = Field(None, description="of the object, for json")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.kind == "regex") != (self.pattern is not None):
            raise ValueError("pattern goes with kind regex: give both or neither")
        if (self.kind == "json") != (self.field is not None):
            raise ValueError("field goes with kind json: give both or neither")
        return self


class Score(_Model):
    """How the answer is compared.

    Args:
        kind: of comparison; left out: what suits the extraction.
        tolerance: relative, of `number`.
    """

    kind: ScoreKind | None = Field(None, description="what suits the extraction when left out")
    tolerance: float = Field(0.0, ge=0, le=1, description="relative, of number")

    @model_validator(mode="after")
    def _tolerance_of_numbers(self) -> Self:
        if self.tolerance and self.kind not in (None, "number"):
            raise ValueError("tolerance goes with kind number")
        return self


class TaskFile(_Model):
    """An eval of one's own.

    Args:
        name: of the task; the file's name when left out.
        description: one line for people.
        data: file of rows, relative to this one; `--data` wins over it.
        fields: which column holds what.
        prompt: the user turn; `{column}` is replaced, `{choices}` by the lettered choices.
        extract: how the answer is found.
        score: how it is compared.
        n_repeats: how often each question is asked where the user does not say.
    """

    name: str | None = Field(None, min_length=1, description="the file's name when left out")
    description: str = Field("", description="one line for people")
    data: str | None = Field(None, description="file of rows, relative to this one")
    fields: Fields = Field(
        default_factory=lambda: Fields.model_validate({}), description="which column holds what"
    )
    prompt: str = Field(min_length=1, description="the user turn; {column} is replaced")
    extract: Extract = Field(
        default_factory=lambda: Extract.model_validate({}), description="how the answer is found"
    )
    score: Score = Field(
        default_factory=lambda: Score.model_validate({}), description="how it is compared"
    )
    n_repeats: int = Field(1, ge=1, description="how often each question is asked")

    @model_validator(mode="after")
    def _letters_need_choices(self) -> Self:
        if self.extract.kind == "letter" and self.fields.choices is None:
            raise ValueError("extract kind letter needs fields.choices")
        return self
