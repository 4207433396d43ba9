"""Token costs: pieces of known cost, texts made of them, and how cost becomes tokens."""

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Literal, Protocol

from benchcore.base.errors import ConfigError
from benchcore.base.seeds import stream
from benchcore.version import installing
from benchcore.workload.language import Language, nominal_tokens


class TokenCounter(Protocol):
    """Counts the tokens of a text as the target would.

    A prompt of `text` costs the target `await count(text) + overhead` tokens.
    """

    @property
    def source(self) -> str:
        """Who counts: `server` (its `/tokenize`), `tokenizer` (a file), `usage` (a probe)."""

    @property
    def exact(self) -> bool:
        """Counts of any text are exact and cheap; otherwise each is a real request."""

    @property
    def overhead(self) -> int:
        """Tokens that the endpoint's template adds, where `count` does not include them."""

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`."""


class LocalTokenizer:
    """A token counter over a `tokenizer.json`, by the optional package `tokenizers`.

    Args:
        path: the file, or the model's folder that holds it.
        overhead: tokens that the endpoint's chat template adds to a prompt.
        special_tokens: count those that the tokenizer puts around every text, such as the one that
            begins a sequence: what a completions endpoint does.

    Raises:
        ConfigError: the package is not installed, or the file is not a tokenizer.
    """

    source = "tokenizer"
    exact = True

    def __init__(self, path: str | Path, *, overhead: int = 0, special_tokens: bool = True) -> None:
        self.path = Path(path)
        self.overhead = overhead
        self._special_tokens = special_tokens
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ConfigError(
                f"tokenizer {path}: the package `tokenizers` is not installed; "
                f"{installing('tokenizers')}"
            ) from None
        file = self.path / "tokenizer.json" if self.path.is_dir() else self.path
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"tokenizer {file}: {error.strerror}; give a tokenizer.json or its folder"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"tokenizer {file}: is not UTF-8; give a tokenizer.json") from None
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the package raises nothing narrower
            raise ConfigError(
                f"tokenizer {file}: is not a tokenizer.json of the package `tokenizers`: {error}"
            ) from None
        # A file may ask for both, and either would falsify a count.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    async def count(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        return self.tokens(text)

    def tokens(self, text: str, *, special: bool | None = None) -> int:
        """Return the number of tokens of `text`, for those who cannot wait.

        Args:
            text: what is counted.
            special: with those that the tokenizer puts around every text; `None`: as was said.
        """
        special = self._special_tokens if special is None else special
        encoding = self._tokenizer.encode(text, add_special_tokens=special)
        return len(encoding.ids)


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
