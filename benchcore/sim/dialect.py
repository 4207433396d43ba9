"""What the three endpoints have in common: how an answer is put into bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer


@dataclass(slots=True, frozen=True)
class Usage:
    """Tokens as they are billed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int

    def chat(self) -> dict[str, Any]:
        """The ``usage`` object of chat and completions."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }
        if self.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage

    def response(self) -> dict[str, Any]:
        """The ``usage`` object of the responses endpoint."""
        return {
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


class Dialect(Protocol):
    """One endpoint's way to write one answer; made anew for each request."""

    def opening(self) -> bytes:
        """The events before the first token."""
        ...

    def token(
        self,
        choice: int,
        answer: Answer,
        start: int,
        end: int,
        text: str,
        *,
        finish: str | None,
        usage: Usage | None,
    ) -> bytes:
        """The event of one or more tokens of one kind, and of one call.

        Args:
            choice: index of the choice.
            answer: what they are tokens of.
            start: number of the first token.
            end: number behind the last one.
            text: the tokens' text as it is to be written.
            finish: set where this event also ends the choice.
            usage: the count so far, where every event carries it.
        """
        ...

    def finish(self, choice: int, answer: Answer) -> bytes:
        """The event that ends a choice."""
        ...

    def closing(self, usage: Usage | None, *, done: bool, error: bytes = b"") -> bytes:
        """The events after every choice has ended.

        Args:
            usage: the final count, where it is to be sent.
            done: whether the stream gets its proper end.
            error: an error event to put in after the finish.
        """
        ...

    def error(self, message: str, *, last: bool = False) -> bytes:
        """An error in mid-stream; ``last`` adds what a server sends after it."""
        ...

    def body(self, answers: Sequence[Answer], usage: Usage | None) -> bytes:
        """The whole answer as one JSON document."""
        ...


def event(payload: dict[str, Any]) -> bytes:
    """A server-sent event of one line of JSON."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream_error(message: str, *, last: bool) -> bytes:
    """The error event of vLLM: OpenAI's envelope as data, then ``[DONE]``."""
    error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
    return event({"error": error}) + (DONE if last else b"")
