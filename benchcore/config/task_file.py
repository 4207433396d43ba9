"""Task file: an eval of one's own, in YAML."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchcore.config.regex import Regex

ExtractKind = Literal["letter", "number", "expression", "regex", "last_line", "json", "whole"]
ScoreKind = Literal["exact", "ignore_case", "number", "expression", "contains", "regex"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
