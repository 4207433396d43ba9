"""Subject: the server that is checked, its engine, and how fast it lets itself be asked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchcore.base.errors import ConfigError
from benchcore.client.refusals import pause

if TYPE_CHECKING:
    from benchcore.client.client import Client
    from benchcore.client.records import Record
    from benchcore.config.target import Target


RETRIES: Final = 6
"""How often a request that was put off is sent again."""
FIRST_RETRIES: Final = 4
"""The same before the server has answered anything: as often as an eval, some 5 s in all."""
_FIRST_GAP: Final = 0.05
_LARGEST_GAP: Final = 1.0
_EASE: Final = 0.8
_LEAST_GAP: Final = 0.01


class Pace:
    """The pace of all requests to one server: after one was put off, all of them wait.

    Each refusal doubles the gap between requests, from 0.05 s to 1 s; each answer narrows it by
    a fifth. How long to wait is what `benchcore.client.refusals` says, as evals do it.

    Args:
        clock: seconds that pass.
        sleep: waits; replaced in tests.
        seed: of the waits that the server does not name.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
        seed: int = 0,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._draw = random.Random(seed)
        self._free_at = 0.0
        self._gap = 0.0
        self._retries = FIRST_RETRIES

    async def turn(self) -> float:
        """Wait until a request may be sent, and return for how many seconds that was."""
        waited = 0.0
        while (left := self._free_at - self._clock()) > 0:
            await self._sleep(left)
            waited += left
        self._free_at = self._clock() + self._gap
        return waited

    def answered(self) -> None:
        """Narrow the gap: a request was not put off."""
        self._retries = RETRIES
        self._gap = self._gap * _EASE if self._gap > _LEAST_GAP else 0.0

    def put_off(self, record: Record, tries: int) -> bool:
        """Hold all requests back after one that was put off; returns whether to send it again.

        Args:
            record: how it ended; see `was_put_off`.
            tries: how often it has been sent.
        """
        more = pause(record, tries, self._retries, self._draw, time.time())
        if more is None:
            self._retries = 1  # until something is answered
            return False
        self._gap = min(max(2 * self._gap, _FIRST_GAP), _LARGEST_GAP)
        self._free_at = max(self._free_at, self._clock() + more.seconds)
        return True

    def after_burst(self, records: Iterable[Record]) -> None:
        """Hold the next request back for as long as the refusals of a burst of our own asked."""
        for record in records:
            more = pause(record, 1, RETRIES, self._draw, time.time())
            if more is not None:
                self._free_at = max(self._free_at, self._clock() + more.seconds)


def was_put_off(record: Record) -> bool:
    """Return whether a server asked to come again: 429, or 503 with `Retry-After`."""
    return record.status == 429 or (record.status == 503 and bool(record.retry_after))


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


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether the server has something.

    Args:
        available: `None` where that could not be found out.
        how: what told.
    """

    available: bool | None
    how: str


@dataclass(slots=True)
class Subject:
    """The server that is checked.

    Args:
        client: sends everything.
        model: asked for in each request.
        dialect: what is known of its engine.
        strict: hold it to the specification without tolerance.
        capabilities: by name, once they are probed.
        reasoning_keys: names under which reasoning may come.
        expired_key: a key that has expired, where one is given.
        large_body: bytes of the body that is too large for any server.
        burst: how many requests at once a check of limits may send; 0: none.
        stall_seconds: how long the check of a slow client leaves a stream unread.
        max_model_len: the longest context in tokens, where the server says it.
        pace: how fast it lets itself be asked.
    """

    client: Client
    model: str
    dialect: Dialect
    strict: bool = False
    capabilities: dict[str, Capability] = field(default_factory=dict)
    reasoning_keys: tuple[str, ...] = ("reasoning_content", "reasoning")
    expired_key: str | None = field(default=None, repr=False)
    burst: int = 0
    large_body: int = 80 * 1024 * 1024
    stall_seconds: float = 3.0
    max_model_len: int | None = None
    pace: Pace = field(default_factory=Pace, repr=False)

    @property
    def target(self) -> Target:
        """Its address and what goes with each request."""
        return self.client.target

    def setting(self, name: str) -> Any:
        """Return what an opt-in check needs, falsy where it was not given."""
        return {"burst": self.burst, "expired_key": self.expired_key}[name]
