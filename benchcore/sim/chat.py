"""The dialect of /v1/chat/completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.sim.answer import Kind
from benchcore.sim.dialect import DONE, Usage, event, stream_error
from benchcore.sim.logprobs import chat_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer
    from benchcore.sim.ask import Ask
    from benchcore.sim.profile import SimProfile


class Chat:
    """Writes chat completions and their chunks."""

    __slots__ = ("_ask", "_created", "_id", "_model", "_reasoning_key", "_tops")

    def __init__(self, ask: Ask, profile: SimProfile, name: str, created: int) -> None:
        self._ask = ask
        self._model = profile.model
        self._reasoning_key = profile.reasoning_key
        self._id = f"chatcmpl-{name}"
        self._created = created
        asked = ask.body.get("logprobs") is True
        self._tops: int | None = (ask.body.get("top_logprobs") or 0) if asked else None

    def opening(self) -> bytes:
        """One role-only chunk per choice."""
        return b"".join(
            self._chunk(choice, {"role": "assistant", "content": ""}, None, None)
            for choice in range(self._ask.choices)
        )

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
        """A chunk with content, reasoning or a piece of a tool call."""
        kind = answer.kind(start)
        if kind is Kind.CONTENT:
            if self._tops is None:
                return self._chunk(choice, {"content": text}, finish, usage)
            logprobs = chat_logprobs(answer.tokens[start:end], self._tops)
            return self._chunk(choice, {"content": text}, finish, usage, logprobs)
        if kind is Kind.REASONING:
            return self._chunk(choice, {self._reasoning_key: text}, finish, usage)
        number = answer.call_at(start)
        call: dict[str, Any] = {"index": number, "function": {"arguments": text}}
        if start == answer.calls[number].start:
            call = {"index": number, **self._call(choice, number, answer.calls[number].name, text)}
        return self._chunk(choice, {"tool_calls": [call]}, finish, usage)

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
                message["content"] = answer.text or None
            if answer.calls:
                message["content"] = None
                message["tool_calls"] = [
                    self._call(
                        index, number, call.name, "".join(answer.tokens[call.start : call.end])
                    )
                    for number, call in enumerate(answer.calls)
                ]
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": self._logprobs(answer.content),
                    "finish_reason": answer.finish,
                }
            )
        payload = {**self._head("chat.completion"), "choices": choices}
        if usage is not None:
            payload["usage"] = usage.chat()
        return orjson.dumps(payload)

    def _call(self, choice: int, number: int, name: str, arguments: str) -> dict[str, Any]:
        return {
            "id": f"call_{self._id[9:]}_{choice}_{number}",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _logprobs(self, tokens: list[str]) -> dict[str, Any] | None:
        return None if self._tops is None else chat_logprobs(tokens, self._tops)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(
        self,
        choice: int,
        delta: dict[str, Any],
        finish: str | None,
        usage: Usage | None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        piece: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            piece["logprobs"] = logprobs
        payload = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": [piece],
        }
        if usage is not None:
            payload["usage"] = usage.chat()
        return event(payload)
