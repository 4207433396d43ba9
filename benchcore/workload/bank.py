"""Bank: pieces of known cost, and texts that cost exactly what is asked."""

import math
import random
from collections.abc import Iterable, Mapping, Sequence

from benchcore.seeds import stream
from benchcore.workload.language import Language

# A text and what it costs. A plain tuple: a prompt of 10,000 tokens takes a thousand of them.
Priced = tuple[str, int]

_SENTENCES = 1024
# With fewer, prompts of different streams would begin alike too often.
_LEADS_AT_LEAST = 16


class Bank:
    """Puts texts together from priced pieces, by sums alone.

    Most of a text is whole sentences, drawn from a stock; the last stretch, `reserve` long at most,
    is single pieces chosen so that the sum comes out: a change-making table says which pieces still
    leave a sum that can be reached.

    Args:
        language: the pieces and the sentences they make.
        costs: what a piece costs; pieces that are not in it are not used.
        seed: of the stock of sentences and the order of the leads.
    """

    def __init__(self, language: Language, costs: Mapping[str, int], seed: int) -> None:
        self.language = language
        classes = {
            name: [(piece, costs[piece]) for piece in pieces if piece in costs]
            for name, pieces in language.classes.items()
        }
        tails = _together(classes, language.tails)
        leads = _together(classes, language.leads)
        if len(leads) < _LEADS_AT_LEAST:
            leads = tails
        self._leads = _shuffled(leads, stream(seed, "leads"))
        self._sentences = _sentences(language, classes, tails, stream(seed, "sentences"))
        by_cost: dict[int, list[Priced]] = {}
        for piece in tails:
            by_cost.setdefault(piece[1], []).append(piece)
        self.step = math.gcd(*by_cost)
        reachable = _reachable(sorted(by_cost), self.step)
        longest = max(cost for _, cost in (*self._sentences, *self._leads))
        # Above this every multiple of the step can be reached, after one more sentence or lead too.
        self.reserve = longest + max(
            (sum_ for sum_, fits in enumerate(reachable) if sum_ % self.step == 0 and not fits),
            default=0,
        )
        reachable += [sum_ % self.step == 0 for sum_ in range(len(reachable), self.reserve + 1)]
        self._ends: list[list[Priced]] = [
            [
                piece
                for cost, pieces in by_cost.items()
                if cost <= left and reachable[left - cost]
                for piece in pieces
            ]
            for left in range(self.reserve + 1)
        ]
        self._sums = [sum_ for sum_, ends in enumerate(self._ends) if ends]

    def nearest(self, units: int) -> int:
        """Return the sum next to `units` that a body of one piece or more can have."""
        if units > self.reserve:
            return round(units / self.step) * self.step
        return min(self._sums, key=lambda sum_: abs(sum_ - units))

    def body(self, units: int, draws: random.Random, spelled: Sequence[int] = ()) -> str:
        """Return pieces that cost `units` together.

        Args:
            units: the sum, one that `nearest` gives, or 0.
            draws: chooses the pieces.
            spelled: offset of the choice of the first pieces, one each; the last number is an index
                that is spelled out over them, so that no two indexes of the same offsets begin
                alike as far as the pieces reach.
        """
        left, parts = units, []
        leads, ends, reserve, draw = self._leads, self._ends, self.reserve, draws.random
        if spelled:
            *offsets, rest = spelled
            for offset in offsets:
                choices = leads if left > reserve else ends[left]
                if not choices:
                    break
                rest, digit = divmod(rest, len(choices))
                text, cost = choices[(offset + digit) % len(choices)]
                parts.append(text)
                left -= cost
        sentences, stock = self._sentences, len(self._sentences)
        while left > reserve:
            text, cost = sentences[int(draw() * stock)]
            parts.append(text)
            left -= cost
        while left:
            choices = ends[left]
            text, cost = choices[int(draw() * len(choices))]
            parts.append(text)
            left -= cost
        return "".join(parts)


def _together(classes: Mapping[str, list[Priced]], names: Iterable[str]) -> list[Priced]:
    return list(dict.fromkeys(piece for name in names for piece in classes[name]))


def _shuffled(pieces: list[Priced], draws: random.Random) -> list[Priced]:
    """Fisher and Yates (1938), by `random()` alone."""
    pieces = list(pieces)
    for last in range(len(pieces) - 1, 0, -1):
        other = int(draws.random() * (last + 1))
        pieces[last], pieces[other] = pieces[other], pieces[last]
    return pieces


def _sentences(
    language: Language,
    classes: Mapping[str, list[Priced]],
    tails: list[Priced],
    draws: random.Random,
) -> list[Priced]:
    """Draw the stock; a class that lost all its pieces takes its patterns with it."""
    patterns: list[list[list[Priced]]] = [
        [classes[name] for name in pattern]
        for pattern in language.patterns
        if all(classes[name] for name in pattern)
    ] or [[tails] * 6]
    sentences = []
    for _ in range(_SENTENCES):
        pattern = patterns[int(draws.random() * len(patterns))]
        chosen = [pieces[int(draws.random() * len(pieces))] for pieces in pattern]
        sentences.append(("".join(text for text, _ in chosen), sum(cost for _, cost in chosen)))
    return sentences


def _reachable(costs: Sequence[int], step: int) -> list[bool]:
    """Return, for each sum, whether the costs can make it.

    Up to the product of the smallest and the largest cost over their common divisor: every multiple
    of it above that can be made (Brauer's bound for the Frobenius problem, 1942).
    """
    table = [True] + [False] * (costs[0] * costs[-1] // step + costs[-1])
    for sum_ in range(1, len(table)):
        table[sum_] = any(cost <= sum_ and table[sum_ - cost] for cost in costs)
    return table
