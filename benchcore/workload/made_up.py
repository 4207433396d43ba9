"""Made up: conversations of several turns, and prompts that share their prefixes."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from benchcore.base.seeds import stream
from benchcore.config.values import Length, Span
from benchcore.workload.kinds import SessionKind
from benchcore.workload.sessions import Recipe, Session, Turn, chain, single


class Conversation(SessionKind):
    """Conversations: each message goes on with all that was said, the server's answers included."""

    kind: ClassVar = "conversation"

    turns: Length = Field(Length.parse("uniform:2:6"), description="messages of a conversation")
    input_tokens: Length = Field(Length.parse(256), description="length of the first message")
    follow_up_tokens: Length | None = Field(
        None, description="length of each further message; as the first one by default"
    )
    output_tokens: Length = Field(Length.parse(128), description="the most tokens of an answer")
    think_time: Span = Field(
        Span.parse(0), description="seconds between an answer and the next message"
    )
    system_tokens: int = Field(
        0, ge=0, description="tokens at the beginning of each conversation that all share"
    )
    context_tokens: int | None = Field(
        None, ge=1, description="a longer history is cut, by whole turns from the oldest on"
    )

    @property
    def usual_tokens(self) -> int:
        """See `SessionKind`."""
        return round(self.input_tokens.mean) + self.system_tokens

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield conversations without end; see `SessionKind`."""
        for number in itertools.count():
            draws = stream(self.seed, "conversation", *path, number)
            turns = [self._turn(draws, path, number, n) for n in range(self.turns.draw(draws))]
            yield Session(chain(turns), context_tokens=self.context_tokens)

    def _turn(self, draws: Any, path: tuple[str | int, ...], number: int, place: int) -> Turn:
        further = self.follow_up_tokens or self.input_tokens
        tokens = (further if place else self.input_tokens).draw(draws)
        system = self.system_tokens if place == 0 else 0
        recipe = Recipe(
            input_tokens=tokens + system,
            output_tokens=self.output_tokens.draw(draws),
            blocks=("system",) if system else (),
            block_tokens=system or 1,
            key=(*path, number, place),
            exact_output=self.ignore_eos,
        )
        wait_ns = round(self.think_time.draw(draws) * 1e9) if place else 0
        return Turn(recipe, wait_ns=wait_ns)


class SharedPrefixes(SessionKind):
    """Prompts of several groups, each of which begins with a text of its own: a system prompt.

    A prompt is `prefix_tokens` and then `input_tokens` of its own.
    """

    kind: ClassVar = "prefix"

    groups: int = Field(8, ge=1, le=1_000_000, description="groups, each with its own prefix")
    prompts: int | None = Field(
        None, ge=1, description="different prompts of a group, which then come again; no end"
    )
    prefix_tokens: Length = Field(Length.parse(512), description="length of a group's prefix")
    input_tokens: Length = Field(Length.parse(128), description="length of what follows it")
    output_tokens: Length = Field(Length.parse(128), description="the most tokens of an answer")
    popularity: str = Field(
        "uniform", description="how often groups are asked: uniform, or zipf:S with an exponent S"
    )
    cold: float = Field(
        0.0, ge=0, le=1, description="share of prompts whose prefix no other prompt has"
    )
    bust: bool = Field(
        False, description="give every prompt a prefix of its own: nothing is cached"
    )

    _below: list[float] = PrivateAttr(default_factory=list)

    @field_validator("popularity")
    @classmethod
    def _popularity_is_one(cls, value: str) -> str:
        _exponent(value)
        return value

    @model_validator(mode="after")
    def _sum_up(self) -> Self:
        exponent = _exponent(self.popularity)
        # Zipf (1949): the n-th most popular of the groups weighs 1/n^S.
        weights = (1 / rank**exponent for rank in range(1, self.groups + 1))
        self._below = list(itertools.accumulate(weights))
        return self

    @property
    def usual_tokens(self) -> int:
        """See `SessionKind`."""
        return round(self.prefix_tokens.mean + self.input_tokens.mean)

    def sessions(self, *path: str | int) -> Iterator[Session]:
        """Yield prompts without end; see `SessionKind`."""
        asked: dict[int, int] = {}
        for number in itertools.count():
            draws = stream(self.seed, "prefix", *path, number)
            group = bisect_right(self._below, draws.random() * self._below[-1])
            cold = draws.random() < self.cold or self.bust
            name = f"group {group}"
            if self.prompts is not None and not cold:
                # One of the group's own prompts, the same in every level.
                place = asked.get(group, 0) % self.prompts
                asked[group] = place + 1
                draws = stream(self.seed, name, place)
                key: tuple[str | int, ...] = (name, place)
            else:
                key = (*path, number)
            prefix = self.prefix_tokens.draw(stream(self.seed, name))
            yield single(
                Recipe(
                    input_tokens=prefix + self.input_tokens.draw(draws),
                    output_tokens=self.output_tokens.draw(draws),
                    blocks=("/".join(map(str, ("cold", *path, number))) if cold else name,),
                    block_tokens=prefix,
                    key=key,
                    exact_output=self.ignore_eos,
                )
            )


def _exponent(popularity: str) -> float:
    kind, _, number = popularity.partition(":")
    if popularity == "uniform":
        return 0.0
    try:
        exponent = float(number)
    except ValueError:
        exponent = -1.0
    if kind != "zipf" or not 0 <= exponent <= 10:
        raise ValueError(f"popularity {popularity!r} is not uniform, or zipf:S with S from 0 to 10")
    return exponent
