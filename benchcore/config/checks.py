"""Checks: what a user may say of them, and checks that are written as data."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from benchcore.config.values import Regex


class CheckRule(BaseModel):
    """What is different for one check: it is left out or relaxed, for the given reason."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    skip: str | None = Field(None, min_length=1, description="the reason why the check is left out")
    tolerate: str | None = Field(
        None, min_length=1, description="the reason why a failure of the check is tolerated"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.skip is None) == (self.tolerate is None):
            raise ValueError("give either skip or tolerate, each with the reason as its text")
        return self


class FunctionalConfig(BaseModel):
    """Which checks are made, and how strictly."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    suite: bool | tuple[str, ...] = Field(
        default=True,
        description="false: only the smoke checks; true: all of them; or the names of suites",
    )
    files: tuple[str, ...] = Field(
        (), description="files with further cases, relative to this file"
    )
    checks: dict[str, CheckRule] = Field(
        default_factory=dict, description="the checks, by id, that are left out or relaxed"
    )
    strict: bool = Field(
        default=False, description="tolerate nothing in which engines are known to differ"
    )
    engine: str | None = Field(None, description="the server's dialect; guessed by default")
    reasoning_key: str | None = Field(
        None, min_length=1, description="the field of an answer that holds the reasoning"
    )
    concurrency: int = Field(4, ge=1, le=256, description="how many checks are made at a time")
    seconds: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="the longest that one check may take, in seconds",
    )
    large_body: int = Field(
        80 * 1024 * 1024,
        ge=1,
        description="the size in bytes of the body that limits.too_large sends",
    )
    stall_seconds: float = Field(
        3.0,
        ge=0,
        allow_inf_nan=False,
        description="for how long a check leaves a stream unread, in seconds",
    )
    burst: int = Field(
        0,
        ge=0,
        le=4096,
        description="how many requests are sent at once to check limits; 0 leaves this out",
    )


Status = Annotated[int, Field(ge=100, le=599)] | Literal["4xx", "5xx"]
"""A status, or a whole class of them."""

_TEXT = {"type": "string"}


def _several(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


Texts = Annotated[
    tuple[str, ...],
    BeforeValidator(_several),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}),
]
"""A text, or several."""

_ONE_STATUS = {"anyOf": [{"type": "integer"}, {"enum": ["4xx", "5xx"]}]}
Statuses = Annotated[
    tuple[Status, ...],
    BeforeValidator(_several),
    WithJsonSchema({"anyOf": [*_ONE_STATUS["anyOf"], {"type": "array", "items": _ONE_STATUS}]}),
]
"""A status, or several of which one fits."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")
_STEP = re.compile(r"[^.\[\]]+")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Expect(_Model):
    """What is expected of a good answer."""

    status: Status = Field(200, description="the status of the answer")
    content: str | None = Field(
        None, description="the whole content, without white space at its ends"
    )
    contains: Texts = Field((), description="texts that the content must contain")
    matches: Regex | None = Field(
        None, description="a regular expression that must match somewhere in the content"
    )
    finish_reason: Texts = Field((), description="the finish reasons, one of which must be given")
    json_schema: dict[str, Any] | None = Field(
        None, description="a JSON schema that the content must be valid against"
    )
    tool_call: str | None = Field(None, description="the name of a tool that must be called")
    max_completion_tokens: int | None = Field(
        None, ge=0, description="the most tokens that the usage may count"
    )
    fields: dict[str, Any] = Field(
        default_factory=dict,
        description="JSON by its place in a plain answer, such as choices.0.message.role",
    )


class ExpectError(_Model):
    """What is expected of a good refusal."""

    status: Statuses = Field(
        ("4xx",), description="the statuses, one of which must be given; 4xx is any of that class"
    )
    contains: str | None = Field(
        None, description="a text that the message must contain, in upper or lower case"
    )
    param: str | None = Field(None, description="the parameter that the error must name")
    code: str | int | None = Field(None, description="the code that the error must give")


class _Named(_Model):
    id: str = Field(description="the name within the suite: lower-case letters, digits, _ and -")
    title: str = Field("", description="what the server is held to; made from the id by default")
    endpoint: Literal["chat", "completions"] | None = Field(
        None, description="the endpoint for these requests, instead of the file's"
    )
    stream: bool = Field(default=False, description="ask for a stream")
    request: dict[str, Any] = Field(
        default_factory=dict, description="the fields of the request body"
    )
    needs: tuple[str, ...] = Field(
        (), description="the capabilities that the check needs, or else is skipped"
    )
    model_dependent: bool = Field(
        default=False, description="the check depends on the model and is tried up to three times"
    )
    tolerance: str = Field(
        "", description="why real engines may differ; the check then fails only in strict mode"
    )

    @field_validator("id")
    @classmethod
    def _id_is_clean(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(
                f"{value!r} is not an id: use only lower-case letters, digits, _ and -"
            )
        return value


class Case(_Named):
    """One request, and what is expected of the answer."""

    expect: Expect | None = Field(None, description="what is expected of a good answer")
    expect_error: ExpectError | None = Field(None, description="what is expected of a good refusal")

    @model_validator(mode="after")
    def _one_expectation(self) -> Self:
        if self.expect is not None and self.expect_error is not None:
            raise ValueError("give expect or expect_error, not both")
        return self


class Matrix(_Named):
    """A grid of parameters; only the first and the last value of each list are taken."""

    grid: dict[str, tuple[Any, ...]] = Field(
        min_length=1, description="the values of each parameter"
    )
    expect: Expect = Field(default_factory=Expect, description="what is expected of a good answer")

    @field_validator("grid")
    @classmethod
    def _lists_hold_something(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        empty = [name for name, values in value.items() if not values]
        if empty:
            raise ValueError(f"{', '.join(empty)}: has no values")
        return value


class Negative(_Named):
    """A parameter with values that must be refused."""

    parameter: str = Field(min_length=1, description="the name of the parameter")
    values: tuple[Any, ...] = Field(
        min_length=1, description="the bad values; each is sent in a request of its own"
    )
    expect_error: ExpectError = Field(
        default_factory=ExpectError, description="what is expected of each refusal"
    )


class CasesFile(_Model):
    """A file of cases, which form a suite."""

    suite: str = Field(description="the suite's name: lower-case letters, digits, _ and -")
    title: str = Field("", description="what the suite is about")
    endpoint: Literal["chat", "completions"] = Field(
        "chat", description="the endpoint that requests go to"
    )
    defaults: dict[str, Any] = Field(
        default_factory=dict, description="fields of every request body"
    )
    cases: tuple[Case, ...] = Field((), description="single requests")
    matrices: tuple[Matrix, ...] = Field((), description="grids of parameters")
    negative: tuple[Negative, ...] = Field(
        (), description="parameters with values that must be refused"
    )

    @field_validator("suite")
    @classmethod
    def _suite_is_clean(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(
                f"{value!r} is not a name: use only lower-case letters, digits, _ and -"
            )
        return value

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [case.id for case in (*self.cases, *self.matrices, *self.negative)]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"these ids appear twice: {', '.join(twice)}")
        if not ids:
            raise ValueError("holds no cases; write cases, matrices or negative")
        return self


def steps(path: str) -> tuple[str | int, ...]:
    """Return a place such as `choices.0.text` or `choices[0].text` as keys and indices."""
    return tuple(int(step) if step.isdecimal() else step for step in _STEP.findall(path))
