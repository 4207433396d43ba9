"""The dialect of /v1/completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.sim.dialect import DONE, Usage, event, stream_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer, Kind
    from benchcore.sim.ask import Ask
    from benchcore.sim.profile import SimProfile


class Completions:
    """Writes text completions; reasoning is plain text here."""

    __slots__ = ("_created", "_id", "_model")

    def __init__(
        self,
        ask: Ask,  # noqa: ARG002  the protocol's; text needs nothing of it
        profile: SimProfile,
        name: str,
        created: int,
    ) -> None:
        self._model = profile.model
        self._id = f"cmpl-{name}"
        self._created = created

    def opening(self) -> bytes:
        """Nothing."""
        return b""

    def token(
        self,
        choice: int,
        kind: Kind,  # noqa: ARG002  the protocol's; text has no kinds
        text: str,
        *,
        first: bool,  # noqa: ARG002  likewise
        finish: str | None,
        usage: Usage | None,
    ) -> bytes:
        """A chunk with text."""
        return self._chunk([{"index": choice, "text": text, "finish_reason": finish}], usage)

    def finish(self, choice: int, answer: Answer) -> bytes:
        """An empty text with the finish reason."""
        return self._chunk([{"index": choice, "text": "", "finish_reason": answer.finish}], None)

    def closing(self, usage: Usage | None, *, done: bool, error: bytes = b"") -> bytes:
        """The usage chunk, with no choices, and ``[DONE]``."""
        tail = self._chunk([], usage) if usage is not None else b""
        return tail + error + (DONE if done else b"")

    def error(self, message: str, *, last: bool = False) -> bytes:
        """An error envelope as an event."""
        return stream_error(message, last=last)

    def body(self, answers: Sequence[Answer], usage: Usage | None) -> bytes:
        """A text completion."""
        choices = [
            {
                "index": index,
                "text": answer.reasoning + answer.text,
                "logprobs": None,
                "finish_reason": answer.finish,
            }
            for index, answer in enumerate(answers)
        ]
        return orjson.dumps(self._payload(choices, usage))

    def _chunk(self, choices: list[dict[str, Any]], usage: Usage | None) -> bytes:
        return event(self._payload(choices, usage))

    def _payload(self, choices: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }
        if usage is not None:
            payload["usage"] = usage.chat()
        return payload
