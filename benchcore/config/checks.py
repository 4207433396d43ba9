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
    """What is different for one check: left out or relaxed, with the reason.

    Args:
        skip: why it is left out.
        tolerate: why a failure of it is let pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    skip: str | None = Field(None, min_length=1, description="why the check is left out")
    tolerate: str | None = Field(None, min_length=1, description="why its failure is let pass")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.skip is None) == (self.tolerate is None):
            raise ValueError("give either skip or tolerate, each with the reason as its text")
        return self


class FunctionalConfig(BaseModel):
    """Which checks are made, and how strictly.

    Args:
        suite: `false`: only the smoke checks; `true`: all; or names of suites.
        files: files of cases besides, relative to this one.
        checks: by id, what is different for a check.
        strict: hold the server to OpenAI's specification without tolerance.
        engine: the engine that it is; guessed when left out.
        reasoning_key: where its reasoning stands, where that is neither of the usual names.
        concurrency: checks at a time.
        seconds: limit of one check.
        large_body: bytes of the body that is too large for any server.
        stall_seconds: how long the check of a slow client leaves a stream unread.
        burst: how many requests at once the checks of limits may send.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    suite: bool | tuple[str, ...] = Field(
        default=True, description="false: only the smoke checks; true: all; or names of suites"
    )
    files: tuple[str, ...] = Field((), description="files of cases besides, relative to this one")
    checks: dict[str, CheckRule] = Field(
        default_factory=dict, description="checks, by id, that are left out or relaxed"
    )
    strict: bool = Field(default=False, description="without tolerance for what engines differ in")
    engine: str | None = Field(None, description="the dialect; guessed when left out")
    reasoning_key: str | None = Field(None, min_length=1, description="where reasoning stands")
    concurrency: int = Field(4, ge=1, le=256, description="checks at a time")
    seconds: float = Field(
        60.0, gt=0, allow_inf_nan=False, description="limit of one check, in seconds"
    )
    large_body: int = Field(
        80 * 1024 * 1024, ge=1, description="bytes of the body that limits.too_large sends"
    )
    stall_seconds: float = Field(
        3.0, ge=0, allow_inf_nan=False, description="how long a stream is not read, in seconds"
    )
    burst: int = Field(0, ge=0, le=4096, description="requests at once for limits; 0: not checked")


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
    """What a good answer is.

    Args:
        status: of the answer.
        content: the whole content, white space at its ends aside.
        contains: what must stand in the content.
        matches: a regular expression that must be found in the content.
        finish_reason: one of them must be the reason.
        json_schema: the content is JSON that is valid against it.
        tool_call: name of a tool that is called.
        max_completion_tokens: the most tokens that usage may count.
        fields: JSON at places of a plain answer, `choices.0.message.role: assistant`.
    """

    status: Status = Field(200, description="status of the answer")
    content: str | None = Field(None, description="the whole content, ends stripped")
    contains: Texts = Field((), description="texts that stand in the content")
    matches: Regex | None = Field(None, description="regular expression found in the content")
    finish_reason: Texts = Field((), description="reasons of which one is given")
    json_schema: dict[str, Any] | None = Field(None, description="schema of the content")
    tool_call: str | None = Field(None, description="name of a tool that is called")
    max_completion_tokens: int | None = Field(None, ge=0, description="most tokens counted")
    fields: dict[str, Any] = Field(default_factory=dict, description="JSON at places")


class ExpectError(_Model):
    """What a good refusal is.

    Args:
        status: one of them must be its status; `4xx`: any of the class.
        contains: what must stand in the message, in any case of letters.
        param: the parameter that it names.
        code: the code that it gives.
    """

    status: Statuses = Field(("4xx",), description="statuses of which one is given")
    contains: str | None = Field(None, description="text in the message, any case")
    param: str | None = Field(None, description="the parameter that it names")
    code: str | int | None = Field(None, description="the code that it gives")


class _Named(_Model):
    id: str = Field(description="name within the suite: lower case, digits, _ and -")
    title: str = Field("", description="what the server is held to; made of the id when left out")
    endpoint: Literal["chat", "completions"] | None = Field(
        None, description="instead of the file's"
    )
    stream: bool = Field(default=False, description="ask for a stream")
    request: dict[str, Any] = Field(default_factory=dict, description="fields of the body")
    needs: tuple[str, ...] = Field((), description="capabilities without which it is not made")
    model_dependent: bool = Field(default=False, description="tried up to three times")
    tolerance: str = Field("", description="why real engines may differ; then only strict fails")

    @field_validator("id")
    @classmethod
    def _id_is_clean(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} is no id: lower case, digits, _ and - only")
        return value


class Case(_Named):
    """One request and what is expected of the answer.

    Args:
        expect: of a good answer.
        expect_error: of a refusal, instead.
    """

    expect: Expect | None = Field(None, description="what a good answer is")
    expect_error: ExpectError | None = Field(None, description="what a good refusal is")

    @model_validator(mode="after")
    def _one_expectation(self) -> Self:
        if self.expect is not None and self.expect_error is not None:
            raise ValueError("give expect or expect_error, not both")
        return self


class Matrix(_Named):
    """A grid of parameters; of each list only the first and the last value are taken.

    Args:
        grid: parameter to its values.
        expect: of each answer.
    """

    grid: dict[str, tuple[Any, ...]] = Field(min_length=1, description="parameter to values")
    expect: Expect = Field(default_factory=Expect, description="what a good answer is")

    @field_validator("grid")
    @classmethod
    def _lists_hold_something(cls, value: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        empty = [name for name, values in value.items() if not values]
        if empty:
            raise ValueError(f"{', '.join(empty)}: has no values")
        return value


class Negative(_Named):
    """A parameter with values that must be refused.

    Args:
        parameter: its name.
        values: each is a request of its own.
        expect_error: of each refusal.
    """

    parameter: str = Field(min_length=1, description="the parameter")
    values: tuple[Any, ...] = Field(min_length=1, description="bad values, a request each")
    expect_error: ExpectError = Field(default_factory=ExpectError, description="of each refusal")


class CasesFile(_Model):
    """A file of cases: a suite.

    Args:
        suite: its name.
        title: what it is about.
        endpoint: of all that do not name another.
        defaults: fields of every body.
        cases: single requests.
        matrices: grids of parameters.
        negative: parameters with bad values.
    """

    suite: str = Field(description="name of the suite: lower case, digits, _ and -")
    title: str = Field("", description="what it is about")
    endpoint: Literal["chat", "completions"] = Field("chat", description="where requests go")
    defaults: dict[str, Any] = Field(default_factory=dict, description="fields of every body")
    cases: tuple[Case, ...] = Field((), description="single requests")
    matrices: tuple[Matrix, ...] = Field((), description="grids of parameters")
    negative: tuple[Negative, ...] = Field((), description="parameters with bad values")

    @field_validator("suite")
    @classmethod
    def _suite_is_clean(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(f"{value!r} is no name: lower case, digits, _ and - only")
        return value

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [one.id for one in (*self.cases, *self.matrices, *self.negative)]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"ids are there twice: {', '.join(twice)}")
        if not ids:
            raise ValueError("holds no cases; write cases, matrices or negative")
        return self


def steps(path: str) -> tuple[str | int, ...]:
    """Return a place such as `choices.0.text` or `choices[0].text` as keys and indices."""
    return tuple(int(step) if step.isdecimal() else step for step in _STEP.findall(path))
