"""Dialect: what is known of an engine: how it is recognised, what it offers, where it differs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchcore.errors import ConfigError


class Sign(BaseModel):
    """How an engine shows itself; the first that fits decides.

    Args:
        owned_by: of the first model in `/v1/models`.
        path: something that only this engine answers with 200.
        key: a key that the JSON there has.
        header: a response header, `name: part of its value`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owned_by: str | None = None
    path: str | None = None
    key: str | None = None
    header: str | None = None


class Dialect(BaseModel):
    """What is known of one engine.

    Args:
        name: as `--engine` takes it.
        signs: how it is recognised.
        offers: fields and routes beyond OpenAI's API; `*`: all of them.
        reasoning_keys: where its reasoning stands.
        tolerates: per check, why a failure is not held against it unless `--strict`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    signs: tuple[Sign, ...] = ()
    offers: frozenset[str] = frozenset()
    reasoning_keys: tuple[str, ...] = ("reasoning_content", "reasoning")
    tolerates: dict[str, str] = Field(default_factory=dict)

    def has(self, extension: str) -> bool:
        """Return whether the engine is known to offer an extension."""
        return "*" in self.offers or extension in self.offers


UNKNOWN = Dialect(name="unknown")
"""An engine that was not recognised: held to OpenAI's API, with nothing known to be offered."""


@cache
def dialects() -> dict[str, Dialect]:
    """Return every dialect, by name."""
    text = files(__package__ or "").joinpath("dialects.yaml").read_text(encoding="utf-8")
    content: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {name: Dialect(name=name, **facts) for name, facts in content.items()}


def named_dialect(name: str) -> Dialect:
    """Return a dialect.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in dialects():
        raise ConfigError(f"--engine {name}: is not known; choose one of {', '.join(dialects())}")
    return dialects()[name]
