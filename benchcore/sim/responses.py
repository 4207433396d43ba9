"""The dialect of /v1/responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.sim.answer import Kind
from benchcore.sim.formats import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer
    from benchcore.sim.options import SimProfile
    from benchcore.sim.requests import Ask


class Responses:
    """Writes response objects and their named, numbered events."""

    __slots__ = ("_answer", "_ask", "_created", "_id", "_item", "_model", "_sequence", "_started")

    def __init__(self, ask: Ask, profile: SimProfile, name: str, created: int) -> None:
        self._ask = ask
        self._model = profile.model
        self._id = f"resp_{name}"
        self._item = f"msg_{name}"
        self._created = created
        self._sequence = 0
        self._started: set[Kind] = set()
        self._answer: Answer | None = None

    def opening(self) -> bytes:
        """``response.created`` and ``response.in_progress``."""
        response = self._response("in_progress", [], None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def token(
        self,
        choice: int,  # noqa: ARG002  the protocol's; there is one answer
        answer: Answer,
        start: int,
        end: int,  # noqa: ARG002  the text is what counts
        text: str,
        *,
        finish: str | None,  # noqa: ARG002  the end is an event of its own
        usage: Usage | None,  # noqa: ARG002  likewise
    ) -> bytes:
        """A delta; the first of its kind opens its output item."""
        kind = answer.kind(start)
        head = self._open(kind) if start in (0, answer.reasoning_tokens) else b""
        if kind is Kind.REASONING:
            return head + self._event(
                "response.reasoning_text.delta",
                item_id=f"rs_{self._item[4:]}",
                output_index=0,
                content_index=0,
                delta=text,
            )
        return head + self._event(
            "response.output_text.delta",
            item_id=self._item,
            output_index=self._text_index,
            content_index=0,
            delta=text,
            logprobs=[],
        )

    def finish(self, choice: int, answer: Answer) -> bytes:  # noqa: ARG002  there is one answer
        """Closes the text and its item."""
        self._answer = answer
        if Kind.CONTENT not in self._started:
            return b""
        place = {"item_id": self._item, "output_index": self._text_index, "content_index": 0}
        return b"".join(
            (
                self._event("response.output_text.done", **place, text=answer.text, logprobs=[]),
                self._event("response.content_part.done", **place, part=_part(answer.text)),
                self._event(
                    "response.output_item.done",
                    output_index=self._text_index,
                    item=self._message(answer.text, "completed"),
                ),
            )
        )

    def closing(self, usage: Usage | None, *, done: bool, error: bytes = b"") -> bytes:
        """``response.completed`` or ``response.incomplete``, unless the end is to be missing."""
        if not done:
            return error
        answers = [] if self._answer is None else [self._answer]
        status = _status(answers)
        return (
            self._event(
                f"response.{status}",
                response=self._response(status, self._output(answers), usage),
            )
            + error
        )

    def error(self, message: str, *, last: bool = False) -> bytes:  # noqa: ARG002  nothing follows
        """An ``error`` event."""
        return self._event("error", code="server_error", message=message, param=None)

    def body(self, answers: Sequence[Answer], usage: Usage | None) -> bytes:
        """A response object."""
        return orjson.dumps(self._response(_status(answers), self._output(answers), usage))

    @property
    def _text_index(self) -> int:
        return 1 if Kind.REASONING in self._started else 0

    def _open(self, kind: Kind) -> bytes:
        self._started.add(kind)
        if kind is Kind.REASONING:
            item = {"id": f"rs_{self._item[4:]}", "type": "reasoning", "summary": []}
            return self._event("response.output_item.added", output_index=0, item=item)
        return self._event(
            "response.output_item.added",
            output_index=self._text_index,
            item=self._message(None, "in_progress"),
        ) + self._event(
            "response.content_part.added",
            item_id=self._item,
            output_index=self._text_index,
            content_index=0,
            part=_part(""),
        )

    def _message(self, text: str | None, status: str) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [] if text is None else [_part(text)],
        }

    def _output(self, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        output: list[dict[str, Any]] = []
        for answer in answers:
            if answer.reasoning_tokens:
                thought = {"type": "reasoning_text", "text": answer.reasoning}
                output.append(
                    {
                        "id": f"rs_{self._item[4:]}",
                        "type": "reasoning",
                        "summary": [],
                        "content": [thought],
                    }
                )
            output.append(self._message(answer.text, "completed"))
        return output

    def _response(
        self, status: str, output: list[dict[str, Any]], usage: Usage | None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": (
                {"reason": "max_output_tokens"} if status == "incomplete" else None
            ),
            "model": self._model,
            "output": output,
            "max_output_tokens": self._ask.max_tokens,
            "usage": None if usage is None else usage.response(),
            **({} if usage is None or usage.metrics is None else {"metrics": usage.metrics}),
        }

    def _event(self, name: str, **fields: Any) -> bytes:
        payload = {"type": name, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(payload) + b"\n\n"


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _status(answers: Sequence[Answer]) -> str:
    return "incomplete" if any(answer.finish == "length" for answer in answers) else "completed"
