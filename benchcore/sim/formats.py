"""Formats: how the answers of the endpoints are put into bytes.

Here is what they have in common, and those of /v1/chat/completions and /v1/completions; that of
/v1/responses is in `responses`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from benchcore.sim.answer import Kind
from benchcore.sim.vocabulary import chat_logprobs, completion_logprobs, pieces, token_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer
    from benchcore.sim.options import SimProfile
    from benchcore.sim.requests import Ask


@dataclass(slots=True, frozen=True)
class Usage:
    """Tokens as they are billed, and in the final count how long they took, where that is said."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    metrics: dict[str, float | None] | None = None

    def written(self) -> dict[str, Any]:
        """The fields of an answer of chat and completions that it fills."""
        beside = {} if self.metrics is None else {"metrics": self.metrics}
        return {"usage": self.chat(), **beside}

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
            tail = event({**head, "choices": [], **usage.written()})
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
            payload |= usage.written()
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
            payload |= usage.written()
        return event(payload)


class Completions:
    """Writes text completions; reasoning is plain text here."""

    __slots__ = ("_choices", "_created", "_echo", "_id", "_model", "_offsets", "_prompts", "_tops")

    def __init__(self, ask: Ask, profile: SimProfile, name: str, created: int) -> None:
        self._model = profile.model
        self._id = f"cmpl-{name}"
        self._created = created
        self._choices = ask.choices
        self._echo = bool(ask.body.get("echo"))
        self._prompts = _prompt_tokens(ask) if self._echo else []
        self._tops: int | None = ask.body.get("logprobs")
        self._offsets: dict[int, int] = {}

    def opening(self) -> bytes:
        """The prompt of each choice, where it is to be echoed."""
        if not self._echo:
            return b""
        count = len(self._prompts) * self._choices
        self._offsets = {index: len("".join(self._prompt(index))) for index in range(count)}
        return b"".join(
            self._chunk([self._choice(index, self._prompt(index), None)], None)
            for index in range(count)
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
        """A chunk with text."""
        piece: dict[str, Any] = {"index": choice, "text": text, "finish_reason": finish}
        if self._tops is not None:
            offset = self._offsets.get(choice, 0)
            piece["logprobs"] = completion_logprobs(answer.tokens[start:end], self._tops, offset)
            self._offsets[choice] = offset + len(text)
        return self._chunk([piece], usage)

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
        choices = []
        for index, answer in enumerate(answers):
            prompt = self._prompt(index) if self._echo else []
            choices.append(self._choice(index, [*prompt, *answer.tokens], answer.finish))
        return orjson.dumps(self._payload(choices, usage))

    def _prompt(self, index: int) -> list[str]:
        """The tokens of the prompt that a choice answers."""
        return self._prompts[index // self._choices]

    def _choice(self, index: int, tokens: list[str], finish: str | None) -> dict[str, Any]:
        logprobs = None
        if self._tops is not None:
            logprobs = completion_logprobs(tokens, self._tops, first_unknown=self._echo)
        text = "".join(tokens)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

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
            payload |= usage.written()
        return payload


def _prompt_tokens(ask: Ask) -> list[list[str]]:
    if ask.texts:
        return [pieces(text) for text in ask.texts]
    return [[token_text(number) for number in prompt] for prompt in ask.prompts]
