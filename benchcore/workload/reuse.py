"""Reuse: the hit rate that a perfect prefix cache would have."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from benchcore.client.request import Prompt
from benchcore.workload.sessions import Recipe, Session

TEXT_BLOCK = 64
"""Characters of a block of a prompt that is given as text: some sixteen tokens."""
MOST_BLOCKS = 1_000_000
"""Blocks that are remembered, about 100 bytes each: with more the share is a lower bound."""


@dataclass(slots=True)
class PrefixReuse:
    """Counts how much of the prompts a cache without end would have held when they came.

    A prompt's leading blocks that have all been asked before are hits, in the order in which
    sessions are added. Of a recipe that is exact, up to its block size; a prompt that is text is
    cut into blocks of 64 characters. What a turn repeats of its own conversation is a hit, too: its
    history, the answers included.

    Args:
        tokens: of all prompts, as they were asked for; of texts, characters ÷ 4.
        hits: of those, in blocks that had been asked before.
        full: no more blocks are remembered.
    """

    tokens: float = 0.0
    hits: float = 0.0
    full: bool = False
    _known: set[int] | None = None

    @property
    def share(self) -> float | None:
        """Hits ÷ tokens; `None`: nothing was added."""
        return self.hits / self.tokens if self.tokens else None

    def add(self, session: Session) -> tuple[float, float]:
        """Take the turns of a session, one after the other; returns its tokens and its hits."""
        tokens = hits = 0.0
        said = [0.0] * len(session.turns)
        for place, turn in enumerate(session.turns):
            history = 0.0 if turn.follows is None else said[turn.follows]
            ask = turn.ask
            if isinstance(ask, Recipe):
                length, hit = float(ask.input_tokens), self._of_recipe(ask)
            else:
                length, hit = self._of_text(ask)
            if history:  # its own beginning is behind the history, where no other prompt has it
                hit = history
            tokens += history + length
            hits += min(hit, history + length)
            said[place] = history + length + float(ask.output_tokens or 0)
        self.tokens += tokens
        self.hits += hits
        return tokens, hits

    def _of_recipe(self, recipe: Recipe) -> float:
        hit = 0.0
        leading = True
        parent = 0
        for place, name in enumerate(recipe.blocks):
            length = min(recipe.block_tokens, recipe.input_tokens - place * recipe.block_tokens)
            if length <= 0:
                break
            parent = hash((parent, name, recipe.block_tokens, recipe.part))
            if leading and not self._seen(parent):
                leading = False
            if leading:
                hit += length
            else:
                self._remember(parent)
        return hit

    def _of_text(self, prompt: Prompt) -> tuple[float, float]:
        text = "".join(f"{one.get('role')}\n{one.get('content')}\n" for one in prompt.chat())
        hit = 0
        leading = True
        chained = blake2b(digest_size=8)
        for begin in range(0, len(text) - TEXT_BLOCK + 1, TEXT_BLOCK):
            chained.update(text[begin : begin + TEXT_BLOCK].encode("utf-8", "replace"))
            name = int.from_bytes(chained.digest(), "big")
            if leading and not self._seen(name):
                leading = False
            if leading:
                hit += TEXT_BLOCK
            else:
                self._remember(name)
        return len(text) / 4, hit / 4

    def _seen(self, name: int) -> bool:
        return self._known is not None and name in self._known

    def _remember(self, name: int) -> None:
        if self._known is None:
            self._known = set()
        if len(self._known) < MOST_BLOCKS:
            self._known.add(name)
        else:
            self.full = True
