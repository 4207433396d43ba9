"""Language: the pieces that a synthetic text is put together from."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from benchcore.base.seeds import stream
from benchcore.workload import chinese, english

LanguageName = Literal["en", "zh", "mixed"]

# The full-width comma and full stop.
_COMMA, _STOP = "\uff0c", "\u3002"
_OPENING_CLAUSES, _CLAUSES = 160, 320
CHINESE_TOKENS_PER_CHARACTER = 0.75


@dataclass(frozen=True, slots=True)
class Language:
    """A stock of pieces and the sentences they make.

    A piece is a separator and what follows it: ` river`, `. The`, or, in Chinese, a full-width
    comma and a clause. Pre-tokenizers split there (the patterns of GPT-2, Llama 3 and GPT-4o give a
    run of letters at most the one mark before it), so the tokens of a text are the sum of those of
    its pieces. Chinese words inside a clause merge, which is why the clause is the piece.

    Args:
        opener: what every text begins with.
        end: what every text ends with.
        classes: the pieces by class.
        patterns: sentences as sequences of classes.
        leads: classes to tell prompts apart with, right after the opener.
        tails: classes to reach a length with, right before the end.
    """

    opener: str
    end: str
    classes: Mapping[str, Sequence[str]]
    patterns: Sequence[Sequence[str]]
    leads: Sequence[str]
    tails: Sequence[str]

    def pieces(self) -> list[str]:
        """Return every piece once, the classes in turn, so that a part of them has every class."""
        in_turn = zip_longest(*self.classes.values())
        return list(dict.fromkeys(piece for row in in_turn for piece in row if piece is not None))


def speak(name: LanguageName, seed: int) -> Language:
    """Return a language; its Chinese clauses are drawn from the seed."""
    if name == "en":
        return _english()
    if name == "zh":
        return _chinese(seed)
    en, zh = _english(), _chinese(seed)
    # Three patterns of each, about as long: half of the tokens each.
    return Language(
        en.opener,
        en.end,
        {**en.classes, **zh.classes},
        [*en.patterns[:3], *zh.patterns[:3]],
        [*en.leads, *zh.leads],
        [*en.tails, *zh.tails],
    )


def nominal_tokens(piece: str) -> int:
    """Return what a piece costs in tokens where nobody can count them.

    One per English word and punctuation mark, three quarters per Chinese character: what
    vocabularies of 100,000 tokens and more come near for common words.
    """
    if piece.isascii():
        return len(re.findall(r"\w+|[^\w\s]", piece))
    return max(1, round(CHINESE_TOKENS_PER_CHARACTER * len(piece)))


def nominal_length(text: str) -> int:
    """Return how long a whole text is by `nominal_tokens`, at least 1."""
    if text.isascii():
        return max(nominal_tokens(text), 1)
    return max(sum(map(nominal_tokens, text.split())), 1)


def _english() -> Language:
    def spaced(words: str) -> list[str]:
        return [f" {word}" for word in words.split()]

    return Language(
        opener="About",
        end=".",
        classes={
            "noun": spaced(english.NOUNS),
            "action": spaced(english.ACTIONS),
            "state": spaced(english.STATES),
            "quality": spaced(english.QUALITIES),
            "manner": spaced(english.MANNERS),
            "relation": spaced(english.RELATIONS),
            "determiner": spaced(english.DETERMINERS),
            "joiner": [f", {word}" for word in english.JOINERS.split()],
            "start": [f". {word.capitalize()}" for word in english.DETERMINERS.split()],
        },
        patterns=[
            row.split()
            for row in (
                "start noun action determiner noun relation determiner noun",
                "start quality noun action determiner noun relation determiner quality noun",
                "start noun state manner joiner determiner noun action determiner quality noun",
                "start quality noun action determiner noun",
                "start noun action determiner quality noun",
                "start quality noun state relation determiner noun",
                "start noun action determiner noun joiner determiner quality noun state manner",
            )
        ],
        leads=["noun"],
        tails=["noun", "quality"],
    )


def _chinese(seed: int) -> Language:
    draws = stream(seed, "clauses")
    clauses = _clauses(draws)
    opening = [_STOP + next(clauses) for _ in range(_OPENING_CLAUSES)]
    following = [_COMMA + next(clauses) for _ in range(_CLAUSES)]
    return Language(
        opener="\u8bdd\u8bf4",
        end=_STOP,
        classes={"opening": opening, "clause": following},
        patterns=[["opening", "clause"], ["opening", "clause", "clause"], ["opening", "clause"]],
        leads=["clause"],
        tails=["clause"],
    )


def _clauses(draws: random.Random) -> Iterator[str]:
    """Draw clauses of five to seven characters, no two the same."""

    def pick(words: str) -> str:
        stock = words.split()
        return stock[int(draws.random() * len(stock))]

    seen = set[str]()
    while True:
        kind = int(draws.random() * 4)
        if kind == 0:
            clause = pick(chinese.SCENES) + "\u5f88" + pick(chinese.QUALITIES)
        elif kind == 1:
            clause = pick(chinese.TIMES) + pick(chinese.PEOPLE) + pick(chinese.STATES)
        elif kind == 2:
            clause = pick(chinese.PEOPLE) + "\u5728" + pick(chinese.PLACES) + pick(chinese.STATES)
        else:
            clause = pick(chinese.PEOPLE) + pick(chinese.ACTIONS) + pick(chinese.THINGS)
        if clause not in seen:
            seen.add(clause)
            yield clause
