"""Kinds: what a workload is, and those that are installed."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import Group
from benchcore.client.request import Prompt


class TokenCounter(Protocol):
    """Counts the tokens of a text as the target would.

    A prompt of `text` costs the target `await count(text) + overhead` tokens.
    """

    @property
    def source(self) -> str:
        """Who counts: `server` (its `/tokenize`), `tokenizer` (a file), `usage` (a probe)."""
        ...

    @property
    def exact(self) -> bool:
        """Counts of any text are exact and cheap; otherwise each is a real request."""
        ...

    @property
    def overhead(self) -> int:
        """Tokens that the endpoint's template adds, where `count` does not include them."""
        ...

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        ...


class Workload(Protocol):
    """What the requests of a load ask."""

    @property
    def name(self) -> str:
        """What the workload is called in tables and files."""
        ...

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Fit the lengths to the target; `None`: nobody can count its tokens."""
        ...

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; the same arguments give the same prompt in every process.

        Args:
            index: which prompt of the stream, from 0.
            path: which stream, such as a level and an epoch.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`: kind, parameters, seed, how lengths were fitted."""
        ...


KINDS = Group("benchcore.workloads", "kind")

Kind = Callable[..., Workload]


def find_kind(name: str) -> Kind:
    """Return what makes a workload of a kind.

    Raises:
        ConfigError: there is no such kind, or its package does not load.
    """
    kind: Kind = KINDS.load(name)
    if not callable(kind):
        raise ConfigError(f"kind {name!r}: {KINDS.points()[name].value} is not callable")
    return kind


def parameters(kind: Kind) -> tuple[dict[str, bool], bool]:
    """Return the names that a kind takes, each with whether it must be given; and if any other."""
    named, open_ended = {}, False
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = parameter.default is inspect.Parameter.empty
    return named, open_ended
