"""The dialect of /v1/completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from benchcore.sim.dialect import DONE, Usage, event, stream_error
from benchcore.sim.logprobs import completion_logprobs
from benchcore.sim.text import pieces, token_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.sim.answer import Answer
    from benchcore.sim.ask import Ask
    from benchcore.sim.profile import SimProfile


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
            payload["usage"] = usage.chat()
        return payload


def _prompt_tokens(ask: Ask) -> list[list[str]]:
    if ask.texts:
        return [pieces(text) for text in ask.texts]
    return [[token_text(number) for number in prompt] for prompt in ask.prompts]
