"""The dialect of /v1/chat/completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.sim.answer import Kind
from benchcore.sim.dialect import DONE, Usage, event, stream_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer
    from benchcore.sim.ask import Ask
    from benchcore.sim.profile import SimProfile


class Chat:
    """Writes chat completions and their chunks."""

    __slots__ = ("_ask", "_created", "_id", "_model", "_reasoning_key")

    def __init__(self, ask: Ask, profile: SimProfile, name: str, created: int) -> None:
        self._ask = ask
        self._model = profile.model
        self._reasoning_key = profile.reasoning_key
        self._id = f"chatcmpl-{name}"
        self._created = created

    def opening(self) -> bytes:
        """One role-only chunk per choice."""
        return b"".join(
            self._chunk(choice, {"role": "assistant", "content": ""}, None, None)
            for choice in range(self._ask.choices)
        )

    def token(
        self,
        choice: int,
        kind: Kind,
        text: str,
        *,
        first: bool,
        finish: str | None,
        usage: Usage | None,
    ) -> bytes:
        """A chunk with content, reasoning or a piece of a tool call."""
        delta: dict[str, Any]
        if kind is Kind.CONTENT:
            delta = {"content": text}
        elif kind is Kind.REASONING:
            delta = {self._reasoning_key: text}
        else:
            call: dict[str, Any] = {"index": 0, "function": {"arguments": text}}
            if first:
                call = {"index": 0, **self._call(choice, text)}
            delta = {"tool_calls": [call]}
        return self._chunk(choice, delta, finish, usage)

    def finish(self, choice: int, answer: Answer) -> bytes:
        """An empty delta with the finish reason."""
        return self._chunk(choice, {}, answer.finish, None)

    def closing(self, usage: Usage | None, *, done: bool, error: bytes = b"") -> bytes:
        """The usage chunk, with no choices, and ``[DONE]``."""
        tail = b""
        if usage is not None:
            head = self._head("chat.completion.chunk")
            tail = event({**head, "choices": [], "usage": usage.chat()})
        return tail + error + (DONE if done else b"")

    def error(self, message: str, *, last: bool = False) -> bytes:
        """An error envelope as an event."""
        return stream_error(message, last=last)

    def body(self, answers: Sequence[Answer], usage: Usage | None) -> bytes:
        """A chat completion."""
        choices = []
        for index, answer in enumerate(answers):
            message: dict[str, Any] = {"role": "assistant", "content": answer.text}
            if answer.reasoning_tokens:
                message[self._reasoning_key] = answer.reasoning
            if answer.tool is not None:
                message["content"] = None
                message["tool_calls"] = [self._call(index, answer.text)]
            choices.append({"index": index, "message": message, "finish_reason": answer.finish})
        payload = {**self._head("chat.completion"), "choices": choices}
        if usage is not None:
            payload["usage"] = usage.chat()
        return orjson.dumps(payload)

    def _call(self, choice: int, arguments: str) -> dict[str, Any]:
        assert self._ask.tool is not None
        return {
            "id": f"call_{self._id[9:]}_{choice}",
            "type": "function",
            "function": {"name": self._ask.tool.name, "arguments": arguments},
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(
        self, choice: int, delta: dict[str, Any], finish: str | None, usage: Usage | None
    ) -> bytes:
        payload = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [{"index": choice, "delta": delta, "finish_reason": finish}],
        }
        if usage is not None:
            payload["usage"] = usage.chat()
        return event(payload)
