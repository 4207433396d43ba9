"""Subject: the server that is checked, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchcore.stages.functional.pace import Pace

if TYPE_CHECKING:
    from benchcore.client.client import Client
    from benchcore.config.target import Target
    from benchcore.stages.functional.dialect import Dialect


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
