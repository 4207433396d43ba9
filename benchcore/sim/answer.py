"""What the simulated model answers: decided whole when the request comes in."""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchcore.sim.batching import Sequence, block_digests
from benchcore.sim.constraints import constrained_text
from benchcore.sim.skills import attempt, obeyed, read_conversation, wanted_calls
from benchcore.sim.vocabulary import CHINESE, ENGLISH, pieces, token_ids, token_text

if TYPE_CHECKING:
    from benchcore.sim.options import SimProfile
    from benchcore.sim.requests import Ask

_EFFORTS: Final = {"none": 0, "minimal": 0, "low": 8, "medium": 16, "high": 32, "xhigh": 64}
_THINKING: Final = 16
_CERTAIN: Final = 50
"""A logit bias that leaves nothing else to choose."""
_NEXT_TO_NOTHING: Final = 1e-4


class Kind(Enum):
    """What a token is part of."""

    REASONING = "reasoning"
    CONTENT = "content"
    TOOL = "tool"


@dataclass(slots=True, frozen=True)
class Call:
    """A call of a tool, whose arguments are the tokens from ``start`` to ``end``."""

    name: str
    start: int
    end: int


@dataclass(slots=True)
class Answer:
    """The tokens of one choice, and why they end.

    The first ``reasoning_tokens`` are reasoning; the rest is content, or the arguments of the
    ``calls``. ``worth`` says what a question's answer is worth, see `ability`.
    """

    tokens: list[str]
    finish: str
    reasoning_tokens: int = 0
    calls: tuple[Call, ...] = ()
    worth: str = ""

    def kind(self, index: int) -> Kind:
        """What the token at ``index`` is part of."""
        if index < self.reasoning_tokens:
            return Kind.REASONING
        return Kind.TOOL if self.calls else Kind.CONTENT

    def call_at(self, index: int) -> int:
        """The number of the call that the token at ``index`` is part of."""
        return next(number for number, call in enumerate(self.calls) if index < call.end)

    def run_end(self, index: int, most: int) -> int:
        """Where the run ends that the token at ``index`` is in, ``most`` tokens on at most."""
        if index < self.reasoning_tokens:
            return min(index + most, self.reasoning_tokens)
        if self.calls:
            return min(index + most, self.calls[self.call_at(index)].end)
        return min(index + most, len(self.tokens))

    @property
    def reasoning(self) -> str:
        """The reasoning as one text."""
        return "".join(self.tokens[: self.reasoning_tokens])

    @property
    def content(self) -> list[str]:
        """The tokens after the reasoning, where they call nothing."""
        return [] if self.calls else self.tokens[self.reasoning_tokens :]

    @property
    def text(self) -> str:
        """Everything after the reasoning as one text."""
        return "".join(self.tokens[self.reasoning_tokens :])


def sequences_of(ask: Ask, answers: list[Answer], block_tokens: int) -> list[Sequence]:
    """Returns what the batch is to compute for a request, a sequence for each choice.

    Args:
        ask: the request.
        answers: to each of its prompts, each of their choices.
        block_tokens: tokens in one KV-cache block.
    """
    found = []
    for index, answer in enumerate(answers):
        prompt = ask.prompts[index // ask.choices]
        digests = block_digests(prompt + token_ids(answer.tokens), block_tokens)
        found.append(Sequence(len(prompt), len(answer.tokens), digests, choice=index))
    return found


class Answerer(Protocol):
    """Decides what is answered."""

    def answer(self, ask: Ask, prompt: list[int], choice: int, limit: int) -> Answer:
        """Returns the answer to one choice.

        Args:
            ask: the request.
            prompt: the tokens of the prompt this choice answers.
            choice: index of the choice, 0 first.
            limit: tokens that the answer may have at most, 1 or more.

        Raises:
            ApiError: 400, a tool or a form of the answer is not valid.
        """
        ...


class BabbleAnswerer:
    """Does the few things it is told to; else answers with words drawn at random.

    The same prompt, choice and seeds give the same words.
    """

    __slots__ = ("_profile", "_seed")

    def __init__(self, profile: SimProfile, seed: int) -> None:
        self._profile = profile
        self._seed = seed

    def answer(self, ask: Ask, prompt: list[int], choice: int, limit: int) -> Answer:
        """Returns the answer to one choice; its length is lognormal where EOS is allowed."""
        draw = self._draw(ask, prompt, choice)
        vocabulary = CHINESE if ask.ideographs else ENGLISH
        reasoning = min(_thinking_tokens(ask.body, self._profile), limit)
        thoughts = _starting_bare(draw.choices(vocabulary, k=reasoning))
        room = limit - reasoning
        said = read_conversation(ask.body, _prompt_text(ask, prompt))
        if ask.tools and (calls := wanted_calls(ask, said, draw)):
            return _calling(thoughts, calls, room)
        tried = attempt(said.user, self._profile, ask.batch, draw)
        if tried is not None:
            content = _tokens(tried.text)[:room]
            whole = tried.worth != "cut" and len(content) == len(_tokens(tried.text))
            finish = "stop" if whole else "length"
            return Answer(thoughts + content, finish, reasoning, (), tried.worth)
        text = constrained_text(ask.body, draw)
        least = ask.min_tokens - reasoning
        if text is not None:
            content = _tokens(text)
            finish = "stop" if len(content) <= room else "length"
        elif (text := obeyed(said)) is not None:
            content = _tokens(text)
            wanted = room if ask.ignore_eos else least
            content += draw.choices(vocabulary, k=max(0, wanted - len(content)))
            finish = "length" if ask.ignore_eos or len(content) > room else "stop"
        else:
            length = room if ask.ignore_eos else max(1, self._natural(draw), least)
            ends = length < room or (length == room and not ask.ignore_eos)
            finish = "stop" if ends else "length"
            content = _starting_bare(draw.choices(vocabulary, k=min(length, room)))
        content, finish = _biased(ask.body.get("logit_bias"), content[:room], finish, room)
        cut = _cut(content, ask, least)
        if cut is not None:
            content, finish = cut, "stop"
        return Answer(thoughts + content if thoughts else content, finish, reasoning)

    def _natural(self, draw: random.Random) -> int:
        profile = self._profile
        return round(
            math.exp(
                draw.gauss(math.log(profile.answer_tokens_median), profile.answer_tokens_sigma)
            )
        )

    def _draw(self, ask: Ask, prompt: list[int], choice: int) -> random.Random:
        digest = hashlib.blake2b(array("I", prompt).tobytes(), digest_size=16)
        seed, choice = (None, 0) if _greedy(ask.body) else (ask.seed, choice)
        digest.update(f"/{self._seed}/{seed}/{choice}".encode())
        return random.Random(int.from_bytes(digest.digest(), "big"))


def _greedy(body: dict[str, Any]) -> bool:
    """Whether only the likeliest token can be drawn; beams differ all the same."""
    if body.get("use_beam_search"):
        return False
    top_p = body.get("top_p")
    return (
        body.get("temperature") == 0
        or body.get("top_k") == 1
        or body.get("min_p") == 1
        or (top_p is not None and top_p <= _NEXT_TO_NOTHING)
    )


def _thinking_tokens(body: dict[str, Any], profile: SimProfile) -> int:
    effort = body.get("reasoning_effort")
    if effort is not None:
        return _EFFORTS[effort]
    template = body.get("chat_template_kwargs")
    if isinstance(template, dict) and "enable_thinking" in template:
        return _THINKING if template["enable_thinking"] else 0
    return profile.reasoning_tokens


def _prompt_text(ask: Ask, prompt: list[int]) -> str:
    for text, tokens in zip(ask.texts, ask.prompts, strict=False):
        if tokens is prompt:
            return text
    return ""


def _calling(thoughts: list[str], calls: list[tuple[str, str]], room: int) -> Answer:
    tokens: list[str] = []
    made = []
    for name, arguments in calls:
        start = len(tokens)
        if start >= room:
            break
        tokens += pieces(arguments)
        made.append(Call(name, len(thoughts) + start, len(thoughts) + min(len(tokens), room)))
    finish = "tool_calls" if len(tokens) <= room and len(made) == len(calls) else "length"
    return Answer(thoughts + tokens[:room], finish, len(thoughts), tuple(made))


def _tokens(text: str) -> list[str]:
    """Cuts text into tokens; to say nothing is a token too, that of the end."""
    return pieces(text) or [""]


def _starting_bare(tokens: list[str]) -> list[str]:
    """Drops the space before the first word."""
    if tokens:
        tokens[0] = tokens[0].lstrip(" ")
    return tokens


def _biased(
    bias: dict[str, float] | None, tokens: list[str], finish: str, room: int
) -> tuple[list[str], str]:
    """Makes the tokens certain, or bans them, that a request says so of."""
    if not bias:
        return tokens, finish
    for name, value in bias.items():
        if value >= _CERTAIN:
            return [token_text(int(name))] * room, "length"
    banned = {int(name) for name, value in bias.items() if value <= -_CERTAIN}
    instead = next((word for word in ENGLISH if token_ids([word])[0] not in banned), "…")
    ids = token_ids(tokens)
    kept = [
        instead if number in banned else token for token, number in zip(tokens, ids, strict=True)
    ]
    return kept, finish


def _cut(tokens: list[str], ask: Ask, min_tokens: int) -> list[str] | None:
    """Ends a text at a stop string or a stop token; ``None`` where there is none."""
    found = _cut_at_stop(tokens, ask.stop, min_tokens) if ask.stop else None
    ids = ask.body.get("stop_token_ids")
    if ids:
        numbers = token_ids(tokens)
        ends = [at for at, number in enumerate(numbers) if number in ids and at >= min_tokens]
        if ends and (found is None or ends[0] < len(found)):
            return tokens[: ends[0]] or [""]
    return found


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
