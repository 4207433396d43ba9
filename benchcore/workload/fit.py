"""Fit: how the cost of a text in pieces becomes its length in tokens, and learning it."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Literal

from benchcore.seeds import stream
from benchcore.workload.bank import Bank
from benchcore.workload.language import Language, nominal_tokens
from benchcore.workload.protocol import TokenCounter

# A count over the network is a round trip: 33 to learn, 6 to verify and 1 for the frame stay within
# 50 with the checks of whole prompts, and with the four of a line should those fail.
_LEARNING_CALLS = 33
_VERIFYING_CALLS = 6
_GROUP = 16
_GROUP_FAILURES = 4
_CALL_BYTES = 16_384
# Fewer pieces than this make texts too alike; lengths are then fitted on the nominal costs.
_PIECES_AT_LEAST = 24
_PROBE_UNITS = 24


@dataclass(frozen=True, slots=True)
class Fit:
    """Lengths in tokens as `intercept + slope × cost`.

    Args:
        kind: `exact`: costs are tokens and add up; `calibrated`: a line through measured texts;
            `unfitted`: nominal costs taken for tokens.
        source: who counted; `None`: nobody.
        costs: the cost of each piece.
        intercept: tokens of what is around the pieces: template, opener, end.
        slope: tokens per unit of cost.
        note: why the fit is worse than the counter would allow.
    """

    kind: Literal["exact", "calibrated", "unfitted"]
    source: str | None
    costs: Mapping[str, int]
    intercept: float = 0.0
    slope: float = 1.0
    note: str | None = None

    def units(self, tokens: int) -> int:
        """Return the cost of the pieces of a text of `tokens`; not above 0: none is so short."""
        return round((tokens - self.intercept) / self.slope)


def unfitted(language: Language, source: str | None = None, note: str | None = None) -> Fit:
    """Return the fit of nominal costs: one token per English word or mark, 0.75 per Chinese."""
    costs = {piece: nominal_tokens(piece) for piece in language.pieces()}
    around = nominal_tokens(language.opener) + nominal_tokens(language.end)
    return Fit("unfitted", source, costs, float(around), 1.0, note)


async def learn(language: Language, counter: TokenCounter) -> Fit:
    """Learn what pieces cost in context from an exact counter, and keep those that add up.

    A tokenizer file is asked about each piece. A server is asked 40 times at most: English pieces
    sixteen at a time, known at once where the sum is the least it can be; the others several at a
    time, each repeated so often that the sum, read as a number of mixed radix, gives the cost of
    each. Random orders of what was learned must then add up, or their pieces are dropped.

    Returns:
        an `exact` fit, or an `unfitted` one with a note where too few pieces add up.
    """
    around = await counter.count(language.opener + language.end) + counter.overhead

    async def cost(body: str) -> int:
        text = language.opener + body + language.end
        return await counter.count(text) + counter.overhead - around

    pieces = language.pieces()
    if counter.source == "tokenizer":
        learned = {piece: await cost(piece) for piece in pieces}
        groups = len(pieces) // _GROUP
    else:
        learned = await _learn_remotely(pieces, cost)
        groups = _VERIFYING_CALLS
    learned = {piece: n for piece, n in learned.items() if n > 0}
    sound = await _verify(learned, cost, groups)
    tails = [piece for name in language.tails for piece in language.classes[name]]
    if len(sound) >= _PIECES_AT_LEAST and any(piece in sound for piece in tails):
        return Fit("exact", counter.source, sound, float(around))
    note = "the tokens of pieces do not add up"
    if counter.source == "tokenizer":
        return Fit("unfitted", counter.source, learned, float(around), note=note)
    # What does not add up cannot be told apart in a sum.
    return unfitted(language, counter.source, note)


async def calibrate(
    bank: Bank, costs: Mapping[str, int], counter: TokenCounter, units: int, seed: int
) -> Fit:
    """Fit a line through two short texts and two of the length that is wanted.

    Args:
        bank: puts the texts together.
        costs: the costs that the bank goes by.
        counter: is asked four times.
        units: the usual cost of a text.
        seed: of the texts.
    """
    points = []
    long = max(units, 3 * _PROBE_UNITS)
    for number, wanted in enumerate((_PROBE_UNITS, long, _PROBE_UNITS, long)):
        made = bank.nearest(wanted)
        draws = stream(seed, "probe", number)
        body = bank.body(made, draws, (int(draws.random() * 1e9), 0))
        text = bank.language.opener + body + bank.language.end
        points.append((made, await counter.count(text) + counter.overhead))
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    # Least squares of a line.
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )
    if slope <= 0:
        seen = ", ".join(str(tokens) for _, tokens in points)
        note = f"counts do not grow with the text: {seen} tokens"
        return unfitted(bank.language, counter.source, note)
    return Fit("calibrated", counter.source, costs, mean_y - slope * mean_x, slope)


async def _learn_remotely(
    pieces: Sequence[str], cost: Callable[[str], Awaitable[int]]
) -> dict[str, int]:
    learned: dict[str, int] = {}
    calls = failures = 0
    # Apart, since a mark that merges with the word before it would spoil the sum of its call.
    clauses = [piece for piece in pieces if not piece.isascii()]
    marked = [piece for piece in pieces if piece.isascii() and not piece.startswith(" ")]
    words = [piece for piece in pieces if piece.startswith(" ")]
    # In a mixed language two thirds of the calls are left for the Chinese clauses.
    calls_for_groups = _LEARNING_CALLS // 3 if clauses else _LEARNING_CALLS
    for group in (*_chunks(marked, _GROUP), *_chunks(words, _GROUP)):
        if calls == calls_for_groups or (failures >= _GROUP_FAILURES and 2 * failures > calls):
            break
        calls += 1
        least = {piece: nominal_tokens(piece) for piece in group}
        if await cost("".join(group)) == sum(least.values()):
            learned |= least
        else:
            failures += 1
    if clauses and len(learned) >= 2 * _PIECES_AT_LEAST:
        words = []
    rest = [[piece for piece in kind if piece not in learned] for kind in (marked, clauses, words)]
    in_turn = chain.from_iterable(zip_longest(*map(_batches, rest)))
    for batch in islice(filter(None, in_turn), _LEARNING_CALLS - calls):
        total = await cost("".join(piece * repeats for piece, repeats in batch))
        for piece, repeats in reversed(batch):
            learned[piece], total = divmod(total, repeats)
    return learned


def _batches(pieces: Iterable[str]) -> Iterator[list[tuple[str, int]]]:
    """Yield pieces with repeats, as many as one call takes, so that a sum tells their costs apart.

    A piece costs no more tokens than it has bytes, and one for the space that some tokenizers put
    first: each is repeated more often than all before it can cost.
    """
    batch: list[str] = []
    for piece in pieces:
        longer = _repeated([*batch, piece])
        if batch and sum(len(text.encode()) * repeats for text, repeats in longer) > _CALL_BYTES:
            yield _repeated(batch)
            batch = []
        batch.append(piece)
    if batch:
        yield _repeated(batch)


def _repeated(batch: Sequence[str]) -> list[tuple[str, int]]:
    repeats, most, result = 1, 0, []
    for piece in sorted(batch, key=lambda text: len(text.encode())):
        result.append((piece, repeats))
        most += repeats * (len(piece.encode()) + 1)
        repeats = most + 1
    return result


async def _verify(
    costs: Mapping[str, int], cost: Callable[[str], Awaitable[int]], groups: int
) -> dict[str, int]:
    """Return the costs without the groups of pieces that do not add up in a random order.

    Words come first and by themselves; a mark may merge with the word before it, so pieces that
    begin with one are held against words that did add up.
    """
    sound: dict[str, int] = {}
    draws = stream(0, "verify")
    names = sorted(costs, key=lambda _: draws.random())
    words = [piece for piece in names if piece.startswith(" ")]
    marked = [piece for piece in names if not piece.startswith(" ")]
    for kind, share in ((words, groups - groups // 3), (marked, groups // 3)):
        others = list(sound)[: len(marked)]
        size = -(-len(kind) // (share if words and marked else groups)) if kind else 1
        for group in _chunks(kind, size):
            # Twice in different orders: each piece meets other neighbours.
            pieces = [*group, *group, *others]
            body = "".join(sorted(pieces, key=lambda _: draws.random()))
            if await cost(body) == sum(costs[piece] for piece in pieces):
                sound |= {piece: costs[piece] for piece in group}
    return sound


def _chunks(pieces: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (pieces[at : at + size] for at in range(0, len(pieces), size))
