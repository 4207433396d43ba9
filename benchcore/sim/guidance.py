"""Guidance: texts that satisfy a grammar, written token by token.

llguidance says after each token which ones may come next, as it does inside real servers; here
the model that chooses among them is a few rules and a seeded draw. Its rules lead to short texts:
words rather than letters, an end as soon as there is something to end.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from benchcore.sim.vocabulary import ENGLISH

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

_WORDS: Final = tuple(word[1:].encode() for word in ENGLISH if word[1:].isalpha())
_END: Final = 256
_TOKENS: Final = (
    *(bytes([byte]) for byte in range(256)),
    b"<end>",
    *_WORDS,
    *(b" " + word for word in _WORDS),
)
"""The vocabulary: each byte, the end, and words bare and with the space before them."""


class _Group:
    """Tokens that are chosen alike; ``mask`` has a bit for each."""

    __slots__ = ("mask", "tokens")

    def __init__(self, tokens: Iterable[int]) -> None:
        self.tokens = tuple(tokens)
        self.mask = sum(1 << token for token in self.tokens)


_ENDING: Final = _Group((_END,))
_BARE: Final = _Group(range(_END + 1, _END + 1 + len(_WORDS)))
_SPACED: Final = _Group(range(_END + 1 + len(_WORDS), len(_TOKENS)))
_QUOTE: Final = _Group(b'"')
_CLOSING: Final = _Group(b"]}")
_COMMA: Final = _Group(b",")
_NULL: Final = _Group(b"n")
_SPACE: Final = _Group(b" ")
_SEPARATORS: Final = _Group(b"@:")
"""Between the parts of addresses, which are full of other signs that lead nowhere."""
_ALPHANUMERIC: Final = _Group(byte for byte in range(128) if chr(byte).isalnum())
_SIGNS: Final = _Group(byte for byte in range(32, 127) if not chr(byte).isalnum())
_OTHER: Final = _Group(byte for byte in range(256) if not 32 <= byte < 127)

_USUAL: Final = (_BARE, _ALPHANUMERIC, _SIGNS, _SPACED, _OTHER, _ENDING)
_SHORTEST: Final = (
    *(_ENDING, _CLOSING, _QUOTE, _COMMA, _NULL, _SPACED, _BARE),
    *(_ALPHANUMERIC, _SIGNS, _OTHER),
)
"""What leads to an end soonest; in many a schema that refers to itself, only null does."""

_WORDS_IN_A_TEXT: Final = 3
_FEW: Final = 3
"""Where no more signs than these are allowed, they are taken for what comes after a text."""
_MOST_CHOICES: Final = 200
"""Tokens that are chosen freely; those after them are chosen for the shortest way to an end."""
_DEEPEST: Final = 12
_MOST_TOKENS: Final = 2_500
_TRIES: Final = 32
_MOST_ENDLESS: Final = 8
"""Tries that come to no end before there is held to be none."""


class NotUnderstoodError(Exception):
    """The form allows nothing, or is beyond llguidance."""


def texts(forms: Iterable[str], draw: random.Random, *, json: bool = False) -> Iterator[str]:
    """Writes text after text of a form, until too many came to no end.

    Args:
        forms: llguidance's grammars of the form, the one to prefer first.
        draw: what is drawn at random.
        json: the form is one of JSON.

    Raises:
        NotUnderstoodError: no text could be written at all.
    """
    fault, written = "", 0
    for form in dict.fromkeys(forms):
        matcher = _matcher(form)
        if matcher.is_error():
            fault = _reason(matcher.get_error())
            continue
        fault, endless = "no end of a text was found", 0
        for _ in range(_TRIES):
            text = _written(matcher, draw, json=json)
            if text is not None:
                written += 1
                yield text
            elif (endless := endless + 1) == _MOST_ENDLESS:
                break
    if not written:
        raise NotUnderstoodError(fault)


@cache
def _vocabulary() -> tuple[LLTokenizer, LLParserLimits]:
    """Returns the tokenizer, and limits that a hostile grammar meets within milliseconds."""
    from llguidance import LLParserLimits, LLTokenizer, TokenizerWrapper

    class Vocabulary:
        eos_token_id = _END
        bos_token_id = None
        tokens = _TOKENS
        special_token_ids = (_END,)

        def __call__(self, text: bytes) -> list[int]:
            return list(text)

    limits = LLParserLimits(
        initial_lexer_fuel=100_000,
        step_lexer_fuel=100_000,
        step_max_items=10_000,
        max_lexer_states=20_000,
        max_grammar_size=20_000,
        verbose_errors=False,
    )
    return LLTokenizer(TokenizerWrapper(Vocabulary()), slices=[]), limits


def _matcher(grammar: str) -> LLMatcher:
    from llguidance import LLMatcher

    tokenizer, limits = _vocabulary()
    return LLMatcher(tokenizer, grammar, log_level=0, limits=limits)


def _reason(error: str) -> str:
    """Returns the line of an error of llguidance that says what is wrong."""
    lines = error.splitlines() or [""]
    named = (line.removeprefix("error: ") for line in lines if line.startswith("error: "))
    return next(named, lines[0])[:200]


def _written(matcher: LLMatcher, draw: random.Random, *, json: bool) -> str | None:
    """Writes a text that a matcher accepts; `None`: it came to no end."""
    matcher = matcher.deep_copy()
    written = bytearray()
    since = choices = depth = 0
    for _ in range(_MOST_TOKENS):
        if matcher.is_stopped():
            break
        piece = matcher.compute_ff_bytes()
        if piece:
            matcher.consume_tokens(list(piece))
            since = 0
        else:
            mask = int.from_bytes(matcher.compute_bitmask(), "little")
            hurried = choices > _MOST_CHOICES or depth > _DEEPEST
            token = _chosen(mask, draw, since, json=json, hurried=hurried)
            if token is None or token == _END:
                break
            matcher.consume_token(token)
            piece = _TOKENS[token]
            choices += 1
            since = 0 if 1 << token & _SIGNS.mask else since + 1
        written += piece
        depth += piece.count(b"[") + piece.count(b"{") - piece.count(b"]") - piece.count(b"}")
    if matcher.is_error() or not matcher.is_accepting():
        return None
    try:
        return written.decode()
    except UnicodeDecodeError:  # a regular expression may be one of bytes
        return None


def _chosen(mask: int, draw: random.Random, since: int, *, json: bool, hurried: bool) -> int | None:
    """Chooses the next token.

    Args:
        mask: a bit for each token that is allowed.
        draw: what is drawn at random.
        since: tokens since the last sign.
        json: quotes and brackets mean what they mean in JSON.
        hurried: the text is to end.
    """

    def allowed(group: _Group) -> list[int]:
        if not mask & group.mask:
            return []
        return [token for token in group.tokens if mask >> token & 1]

    def first(groups: Iterable[_Group]) -> int | None:
        return next((draw.choice(found) for group in groups if (found := allowed(group))), None)

    words, signs = mask & _BARE.mask, allowed(_SIGNS)
    between = json and not words
    ends = allowed(_ENDING)
    if len(signs) <= _FEW:
        ends += signs
    elif json and words:
        ends += allowed(_QUOTE)
    if not ends and not allowed(_SPACE):
        ends = allowed(_SEPARATORS)
    if hurried:
        if between:
            return first(_SHORTEST)
        # Where no end is in sight, something rare is called for, such as the @ of an address.
        return ends[0] if ends else first(draw.sample(_USUAL, len(_USUAL)))
    if between and since == 0 and (quote := allowed(_QUOTE)):
        return quote[0]
    plain = words or mask & (_ALPHANUMERIC.mask | _OTHER.mask)
    if ends and (not plain or draw.random() < since / _WORDS_IN_A_TEXT):
        return draw.choice(ends)
    return first((_SPACED, *_USUAL) if since else _USUAL)
