"""What the simulated model answers: decided whole when the request comes in."""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from benchcore.sim.text import CHINESE, ENGLISH, pieces

if TYPE_CHECKING:
    from benchcore.sim.ask import Ask, Tool
    from benchcore.sim.profile import SimProfile


class Kind(Enum):
    """What a token is part of."""

    REASONING = "reasoning"
    CONTENT = "content"
    TOOL = "tool"


@dataclass(slots=True)
class Answer:
    """The tokens of one choice, and why they end.

    The first ``reasoning_tokens`` are reasoning; the rest is content, or the arguments of a
    call to ``tool``.
    """

    tokens: list[str]
    finish: str
    reasoning_tokens: int = 0
    tool: str | None = None

    def kind(self, index: int) -> Kind:
        """What the token at ``index`` is part of."""
        if index < self.reasoning_tokens:
            return Kind.REASONING
        return Kind.CONTENT if self.tool is None else Kind.TOOL

    @property
    def reasoning(self) -> str:
        """The reasoning as one text."""
        return "".join(self.tokens[: self.reasoning_tokens])

    @property
    def text(self) -> str:
        """Everything after the reasoning as one text."""
        return "".join(self.tokens[self.reasoning_tokens :])


class Answerer(Protocol):
    """Decides what is answered."""

    def answer(self, ask: Ask, prompt: list[int], choice: int, limit: int) -> Answer:
        """Returns the answer to one choice.

        Args:
            ask: the request.
            prompt: the tokens of the prompt this choice answers.
            choice: index of the choice, 0 first.
            limit: tokens that the answer may have at most, 1 or more.
        """
        ...


class BabbleAnswerer:
    """Answers with words drawn at random, the same for the same prompt, choice and seeds."""

    __slots__ = ("_profile", "_seed")

    def __init__(self, profile: SimProfile, seed: int) -> None:
        self._profile = profile
        self._seed = seed

    def answer(self, ask: Ask, prompt: list[int], choice: int, limit: int) -> Answer:
        """Returns the answer to one choice; its length is lognormal where EOS is allowed."""
        draw = self._draw(ask, prompt, choice)
        vocabulary = CHINESE if ask.ideographs else ENGLISH
        reasoning = min(self._profile.reasoning_tokens, limit)
        thoughts = _starting_bare(draw.choices(vocabulary, k=reasoning))
        room = limit - reasoning
        if ask.tool is not None:
            call = pieces(_arguments(ask.tool, draw))
            finish = "tool_calls" if len(call) <= room else "length"
            return Answer(thoughts + call[:room], finish, reasoning, ask.tool.name)
        length = room
        if not ask.ignore_eos:
            natural = math.exp(
                draw.gauss(
                    math.log(self._profile.answer_tokens_median),
                    self._profile.answer_tokens_sigma,
                )
            )
            length = max(1, round(natural), ask.min_tokens - reasoning)
        finish = "stop" if length < room or (length == room and not ask.ignore_eos) else "length"
        content = _starting_bare(draw.choices(vocabulary, k=min(length, room)))
        if ask.stop:
            cut = _cut_at_stop(content, ask.stop, ask.min_tokens - reasoning)
            if cut is not None:
                content, finish = cut, "stop"
        return Answer(thoughts + content, finish, reasoning)

    def _draw(self, ask: Ask, prompt: list[int], choice: int) -> random.Random:
        digest = hashlib.blake2b(array("I", prompt).tobytes(), digest_size=16)
        digest.update(f"/{self._seed}/{ask.seed}/{choice}".encode())
        return random.Random(int.from_bytes(digest.digest(), "big"))


def _starting_bare(tokens: list[str]) -> list[str]:
    """Drops the space before the first word."""
    if tokens:
        tokens[0] = tokens[0].lstrip(" ")
    return tokens


def _cut_at_stop(tokens: list[str], stops: tuple[str, ...], min_tokens: int) -> list[str] | None:
    """Ends a text before the first stop string that is complete after ``min_tokens`` tokens."""
    text = "".join(tokens)
    earliest = len("".join(tokens[: max(0, min_tokens)]))
    found = [at for stop in stops if (at := text.find(stop, earliest)) >= 0]
    if not found:
        return None
    end = min(found)
    kept: list[str] = []
    length = 0
    for token in tokens:
        if length + len(token) >= end:
            kept.append(token[: end - length])
            break
        kept.append(token)
        length += len(token)
    # A token that is wholly cut away still was generated: a choice has one token at least.
    return kept


def _arguments(tool: Tool, draw: random.Random) -> str:
    properties = tool.parameters.get("properties")
    names = properties if isinstance(properties, dict) else {}
    return orjson.dumps({name: _value(schema, draw) for name, schema in names.items()}).decode()


def _value(schema: Any, draw: random.Random) -> Any:
    if not isinstance(schema, dict):
        return None
    if isinstance(allowed := schema.get("enum"), list) and allowed:
        return draw.choice(allowed)
    match schema.get("type"):
        case "integer":
            return draw.randrange(100)
        case "number":
            return draw.randrange(1000) / 10
        case "boolean":
            return draw.random() < 0.5
        case "array":
            return []
        case "object":
            return {}
        case _:
            return " ".join(word.strip() for word in draw.choices(ENGLISH[:100], k=2))
