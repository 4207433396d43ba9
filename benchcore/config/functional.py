"""Functional: what a user may say of the checks of one server."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CheckRule(BaseModel):
    """What is different for one check: left out or relaxed, with the reason.

    Args:
        skip: why it is left out.
        tolerate: why a failure of it is let pass.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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

    model_config = ConfigDict(extra="forbid", frozen=True)

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
