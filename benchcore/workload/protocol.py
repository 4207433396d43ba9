"""Protocols of the room: what a workload is, and what counts tokens for it."""

from typing import Any, Protocol

from benchcore.client.prompt import Prompt


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
