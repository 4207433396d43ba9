"""Sessions: what a workload yields, turns that wait for one another.

A session is a directed graph of turns without a circle. A turn says what to ask, which turns must
have ended before it, and how long after the last of them it is due. A single prompt is a session of
one turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchcore.base.errors import ConfigError
from benchcore.client.request import Prompt


@dataclass(frozen=True, slots=True)
class Recipe:
    """A prompt by its lengths; its text is made when it is about to be sent.

    Args:
        input_tokens: the length of the prompt as the server counts it, its template included.
        output_tokens: the most tokens of the answer; `None`: the server decides.
        blocks: ids of the blocks of text that it begins with; equal ids are equal texts, in every
            process.
        block_tokens: the length of a block.
        key: names the random stream of what comes after the blocks.
        exact_output: ask the server for exactly `output_tokens`.
        part: of a mixture, which of its workloads makes the text; of nested ones the outer first.
    """

    input_tokens: int
    output_tokens: int | None = None
    blocks: Sequence[int | str] = ()
    block_tokens: int = 512
    key: tuple[str | int, ...] = ()
    exact_output: bool = False
    part: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session.

    Args:
        ask: what to ask. Where `follows` is given, this comes after that turn's conversation.
        after: the places of the turns that must have ended, all of them before this one.
        wait_ns: how long after the last of them has ended it is due: think time, tool time.
        at_ns: it is due no earlier than this after the start of the session.
        follows: the place of the turn whose conversation it goes on with; `None`: of none.
        reply: the recorded answer, which stands in the history; `None`: the server's own.
        kind: its class, by which figures are told apart; empty: none.
        judge: returns what is wrong with an answer, empty where nothing is; `None`: nobody looks.
    """

    ask: Prompt | Recipe
    after: tuple[int, ...] = ()
    wait_ns: int = 0
    at_ns: int = 0
    follows: int | None = None
    reply: str | None = None
    kind: str = ""
    judge: Callable[[str], str] | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Turns that belong together.

    Args:
        turns: in an order in which each comes after those that it waits for.
        at_ns: when a trace has it begin, from the trace's first; `None`: it has no time.
        name: what its source calls it; empty: nothing.
        context_tokens: a history longer than this is cut, by whole turns from the oldest one on;
            `None`: never.
        warms_up: it is sent before the level begins, unmeasured.

    Raises:
        ConfigError: a turn waits for one that does not come before it.
    """

    turns: tuple[Turn, ...]
    at_ns: int | None = None
    name: str = ""
    context_tokens: int | None = None
    warms_up: bool = False

    def __post_init__(self) -> None:
        if len(self.turns) == 1 and not self.turns[0].after and self.turns[0].follows is None:
            return
        for place, turn in enumerate(self.turns):
            needed = turn.after if turn.follows is None else (*turn.after, turn.follows)
            for other in needed:
                if not 0 <= other < place:
                    raise ConfigError(
                        f"session {self.name or '?'}: turn {place + 1} waits for turn {other + 1}, "
                        "which does not come before it"
                    )
            if turn.follows is None or turn.follows in turn.after:
                continue
            if turn.follows not in self.ancestors(place):
                raise ConfigError(
                    f"session {self.name or '?'}: turn {place + 1} goes on with turn "
                    f"{turn.follows + 1} and does not wait for it"
                )

    @property
    def is_plain(self) -> bool:
        """Whether it is a single turn that is due at once."""
        turns = self.turns
        return len(turns) == 1 and not turns[0].wait_ns and not turns[0].at_ns

    def ancestors(self, place: int) -> set[int]:
        """Return the turns that have ended when one is due."""
        seen: set[int] = set()
        left = list(self.turns[place].after)
        while left:
            other = left.pop()
            if other not in seen:
                seen.add(other)
                left.extend(self.turns[other].after)
        return seen

    def keeps_reply(self, place: int) -> bool:
        """Return whether what the server answers is judged, or a later turn goes on with it."""
        turn = self.turns[place]
        return turn.judge is not None or (
            turn.reply is None and any(one.follows == place for one in self.turns[place + 1 :])
        )

    def lineage(self, place: int) -> list[int]:
        """Return the turns of the conversation that a turn goes on with, the oldest first."""
        line: list[int] = []
        before = self.turns[place].follows
        while before is not None:
            line.append(before)
            before = self.turns[before].follows
        return line[::-1]


@dataclass(slots=True, eq=False)
class LiveSession:
    """A session that is being run.

    Args:
        session: its turns.
        number: which session of the level it is, from 0.
        replies: by turn, what the server answered, where a later turn goes on with it.
        reply_tokens: by turn, how long that was.
        ready: by turn, the request that has been prepared.
        reuse: tokens of its prompts, and those that a perfect prefix cache would hold.
    """

    session: Session
    number: int = 0
    replies: dict[int, str] = field(default_factory=dict)
    reply_tokens: dict[int, int] = field(default_factory=dict)
    ready: dict[int, Any] = field(default_factory=dict)
    reuse: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Share:
    """What one of several workers does of a load that is dealt out among them.

    Args:
        worker: which one, from 0.
        of: how many there are.
    """

    worker: int = 0
    of: int = 1

    def has(self, number: int) -> bool:
        """Whether a thing of this number, from 0, is this worker's."""
        return number % self.of == self.worker

    def part(self, total: int) -> int:
        """Return how many of so many things are this worker's."""
        return total // self.of + (self.worker < total % self.of)


WHOLE = Share()
"""The share of the only worker."""


def single(prompt: Prompt | Recipe, *, at_ns: int | None = None, kind: str = "") -> Session:
    """Return the session of one turn."""
    return Session((Turn(prompt, kind=kind),), at_ns)


def chain(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return turns of which each waits for the one before it and goes on with it."""
    return tuple(
        replace(turn, after=(place - 1,), follows=place - 1) if place else turn
        for place, turn in enumerate(turns)
    )
