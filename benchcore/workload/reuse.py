"""Reuse: the hit rate that a perfect prefix cache would have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from benchcore.client.request import Prompt
from benchcore.workload.sessions import Recipe, Session

TEXT_BLOCK = 64
"""Characters of a block of a prompt that is given as text: some sixteen tokens."""
MOST_BLOCKS = 4_000_000
"""Blocks that are remembered, in 68 MB at most: with more the share is a lower bound."""
_SLOTS = (1 << 16, 1 << 19, 1 << 23)
_ONES = (1 << 64) - 1


class _Names:
    """A set of up to `MOST_BLOCKS` numbers of 64 bits, none of them 0.

    A set of Python's takes four times as much, and stops everything while it grows: what is full
    stays here as it is, and a larger table comes beside it. Open addressing with linear probing
    (Knuth, The Art of Computer Programming, volume 3, section 6.4), half full at most.
    """

    def __init__(self) -> None:
        self._tables: list[tuple[memoryview, int]] = []  # the largest first, each with its mask
        self._room = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: int) -> bool:
        for table, mask in self._tables:
            place = name & mask
            while found := table[place]:
                if found == name:
                    return True
                place = (place + 1) & mask
        return False

    def add(self, name: int) -> None:
        """Take a number that is not there."""
        if not self._room:
            slots = _SLOTS[len(self._tables)]
            self._tables.insert(0, (np.zeros(slots, dtype=np.uint64).data, slots - 1))
            self._room = slots // 2
        table, mask = self._tables[0]
        place = name & mask
        while table[place]:
            place = (place + 1) & mask
        table[place] = name
        self._room -= 1
        self._count += 1


@dataclass(slots=True)
class PrefixReuse:
    """Counts how much of the prompts a cache without end would have held when they came.

    A prompt's leading blocks that have all been asked before are hits, in the order in which
    sessions are added. Of a recipe that is exact, up to its block size; a prompt that is text is
    cut into blocks of 64 characters. What a turn repeats of its own conversation is a hit, too: its
    history, the answers included.

    Args:
        block_tokens: of the cache, if that is known: of what a prompt repeats, whole blocks are
            hits. The last token of a prompt is none, since a server computes it in any case, nor is
            that of an answer, which was said and not read again (so vLLM). `None`: tokens are hits.
        tokens: of all prompts, as they were asked for; of texts, characters ÷ 4.
        hits: of those, in blocks that had been asked before.
        full: no more blocks are remembered.
    """

    block_tokens: int | None = None
    tokens: float = 0.0
    hits: float = 0.0
    full: bool = False
    _known: _Names | None = None

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
            whole = history + length
            if self.block_tokens is not None:
                hit = min(history - 1 if history else hit, whole - 1)
                hit = hit // self.block_tokens * self.block_tokens
            elif history:  # its own beginning is behind that, where no other prompt has it
                hit = history
            tokens += whole
            hits += min(hit, whole)
            said[place] = whole + float(ask.output_tokens or 0)
        self.tokens += tokens
        self.hits += hits
        return tokens, hits

    def _of_recipe(self, recipe: Recipe) -> float:
        whole = recipe.block_tokens
        count = min(len(recipe.blocks), -(-recipe.input_tokens // whole))
        hits = self._leading(_chained(recipe, count)) * whole
        return min(float(hits), recipe.input_tokens)

    def _of_text(self, prompt: Prompt) -> tuple[float, float]:
        text = "".join(f"{one.get('role')}\n{one.get('content')}\n" for one in prompt.chat())
        return len(text) / 4, self._leading(_pieces(text)) * TEXT_BLOCK / 4

    def _leading(self, names: Iterable[int]) -> int:
        """Return how many of the first blocks came before, and remember the others."""
        if self._known is None:
            self._known = _Names()
        known = self._known
        hits = 0
        leading = True
        for name in names:
            # What comes behind a block that is new is new: its name holds all that is before it.
            leading = leading and name in known
            if leading:
                hits += 1
            elif len(known) < MOST_BLOCKS:
                known.add(name)
            else:
                self.full = True
        return hits


def _chained(recipe: Recipe, count: int) -> Iterable[int]:
    """Yield the names of a recipe's first blocks, each of all that it begins with."""
    parent = 0
    for name in recipe.blocks[:count]:
        parent = hash((parent, name, recipe.block_tokens, recipe.part))
        yield parent & _ONES or 1


def _pieces(text: str) -> Iterable[int]:
    """Yield the names of the whole blocks of a text, each of all that it begins with."""
    chained = blake2b(digest_size=8)
    for begin in range(0, len(text) - TEXT_BLOCK + 1, TEXT_BLOCK):
        chained.update(text[begin : begin + TEXT_BLOCK].encode("utf-8", "replace"))
        yield int.from_bytes(chained.digest(), "big") or 1
