"""Launcher: starts a server under test and takes it down again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Served:
    """A server that was started; whether it is healthy is another question.

    Args:
        base_url: where it is asked.
        facts: for `result.json`, such as its process id or the objects that were applied.
        notes: what a reader of the figures must know, such as a tunnel in between.
    """

    base_url: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Launcher(Protocol):
    """Starts one server. `stop` may be called at any time, also after a `start` that failed."""

    def kept(self) -> Mapping[str, bytes]:
        """Return what is kept beside the result, by file name, as it will be used.

        Nothing is touched for it; no secret is in it.

        Raises:
            ConfigError: what the scenario names is not there, or is wrong.
        """
        ...

    async def start(self) -> Served:
        """Start the server and return where it is.

        Raises:
            ConfigError: what the scenario says cannot be started.
            TargetError: it did not come up; says why.
        """
        ...

    def ended(self) -> str | None:
        """Return why the server is no longer there; `None` while it is, as far as is known."""
        ...

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the last lines of its logs, secrets masked."""
        ...

    async def stop(self) -> list[str]:
        """Take the server down and return what is left of it, a line each."""
        ...
