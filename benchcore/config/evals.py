"""Evals: how questions are asked and judged, and tasks of one's own."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchcore.config.values import Regex

Extraction = Literal["robust", "simple-evals"]


class EvalConfig(BaseModel):
    """How a task's questions are asked and judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    variant: str = Field(
        "",
        description="the task's variant, such as diamond, a subject, or languages joined by commas",
    )
    extraction: Extraction = Field(
        "robust",
        description="how the answer is found in a text: robust, or by the rule of simple-evals",
    )
    limit: int | None = Field(None, ge=1, description="ask only this many questions")
    n_repeats: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how many times each question is asked; the task's own by default",
    )
    temperature: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="the sampling temperature"
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="the top-p of sampling; the server's own by default"
    )
    max_tokens: int = Field(4096, ge=1, description="the most tokens that an answer may have")
    system: str | None = Field(
        None, min_length=1, description="the text of a system turn before each question"
    )
    few_shot: int = Field(
        0, ge=0, le=100, description="how many solved questions come before each question"
    )
    concurrency: int = Field(
        16, ge=1, le=65536, description="how many questions are asked at a time"
    )
    rate: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="how many questions are asked per second instead",
    )
    retries: int = Field(
        4,
        ge=0,
        le=100,
        description="how many times a question is asked again after a transient failure",
    )
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="fail where the whole 95 % interval of the score is below this",
    )
    keep_text: bool = Field(default=False, description="keep the texts of questions and answers")

    @model_validator(mode="after")
    def _repeats_of_a_sample(self) -> Self:
        if (
            self.extraction == "simple-evals"
            and self.limit is not None
            and (self.n_repeats or 1) > 1
        ):
            raise ValueError(
                "in simple-evals mode limit needs n_repeats 1, as it does there; "
                "leave out one of them"
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
    """Which columns hold what."""

    question: str = Field("question", description="the column of the question")
    answer: str = Field(
        "answer",
        description="the column of the right answer; for choices its letter, text or place from 0",
    )
    id: str | None = Field(None, description="the column of an id that is kept with each sample")
    group: str | None = Field(
        None, description="the column of the groups that scores are also given for"
    )
    choices: str | tuple[str, ...] | None = Field(
        None, description="the columns of the choices, or the one column that holds a list of them"
    )


class Extract(_Model):
    """How the answer is found in what the model says."""

    kind: ExtractKind = Field("whole", description="how the answer is found")
    pattern: Regex | None = Field(
        None, description="for regex: its first group, or else the whole match, is the answer"
    )
    which: Literal["first", "last"] = Field("last", description="for regex: which match counts")
    field: str | None = Field(None, description="for json: the field of the object")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if (self.kind == "regex") != (self.pattern is not None):
            raise ValueError("pattern and kind regex belong together: give both or neither")
        if (self.kind == "json") != (self.field is not None):
            raise ValueError("field and kind json belong together: give both or neither")
        return self


class Score(_Model):
    """How the answer is compared."""

    kind: ScoreKind | None = Field(
        None, description="how the answer is compared; by default what suits the extraction"
    )
    tolerance: float = Field(0.0, ge=0, le=1, description="for number: the relative tolerance")

    @model_validator(mode="after")
    def _tolerance_of_numbers(self) -> Self:
        if self.tolerance and self.kind not in (None, "number"):
            raise ValueError("tolerance needs kind number")
        return self


class TaskFile(_Model):
    """An eval of your own."""

    name: str | None = Field(
        None, min_length=1, description="the name of the task; the file's name by default"
    )
    description: str = Field("", description="a one-line description for people")
    data: str | None = Field(None, description="the file of rows, relative to this file")
    fields: Fields = Field(
        default_factory=lambda: Fields.model_validate({}), description="which column holds what"
    )
    prompt: str = Field(
        min_length=1,
        description="the user turn; {column} is the row's value, {choices} the lettered choices",
    )
    extract: Extract = Field(
        default_factory=lambda: Extract.model_validate({}), description="how the answer is found"
    )
    score: Score = Field(
        default_factory=lambda: Score.model_validate({}), description="how the answer is compared"
    )
    n_repeats: int = Field(1, ge=1, description="how many times each question is asked")

    @model_validator(mode="after")
    def _letters_need_choices(self) -> Self:
        if self.extract.kind == "letter" and self.fields.choices is None:
            raise ValueError("extract kind letter needs fields.choices")
        return self
