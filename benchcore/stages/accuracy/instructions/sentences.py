"""Sentences of a text, found by rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_STOPS: Final = ".!?…"
_CLOSING: Final = "\"'”’»›)]}*_`」』）】"  # noqa: RUF001
_OPENING: Final = "\"'“‘«‹([{*_`#「『（【"  # noqa: RUF001
_FULL_WIDTH: Final = re.compile(rf"(?:[。！？｡]|．(?!\d))+[{re.escape(_CLOSING)}]*")  # noqa: RUF001
"""Stops that no white space follows."""
_CHUNK: Final = re.compile(r"\S+")
_INITIALS: Final = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
"""`J`, `U.S`, `a.m`: letters with stops between."""
_NEVER_LAST: Final = re.compile(
    r"mr|mrs|ms|mx|messrs|dr|prof|rev|fr|gen|adm|sen|rep|gov|sgt|capt|cpt|lt|col|cmdr|hon|"
    r"pres|mt|e\.g|i\.e|vs|cf|viz|approx"
)
"""Abbreviations that something always follows."""
_SELDOM_LAST: Final = re.compile(
    r"etc|al|inc|ltd|co|corp|jr|sr|st|ave|blvd|rd|dept|est|esq|ed|eds|bros|ph\.d|m\.sc|b\.sc"
)
"""Abbreviations that end a sentence only where the next word begins one."""
_BEFORE_NUMBER: Final = re.compile(
    r"no|nos|vol|p|pp|ch|sec|art|fig|figs|eq|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)
"""Abbreviations only where a number follows: `No. 5`, not `No.`"""
_STARTERS: Final = re.compile(
    r"(?:a|after|all|also|although|an|and|another|as|at|because|before|both|but|by|each|even|"
    r"every|few|finally|first|for|from|he|her|here|his|how|however|i|if|in|instead|it|its|"
    r"later|many|maybe|meanwhile|more|moreover|most|my|next|no|now|of|on|once|one|only|or|our|"
    r"overall|please|she|since|so|some|still|such|that|the|their|then|there|therefore|these|"
    r"they|this|those|though|thus|to|today|under|until|we|what|when|where|whether|which|while|"
    r"who|why|with|yes|yet|you|your)\b"
)
"""Words that a sentence begins with more often than a name does."""


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, white space at their ends taken off.

    A sentence ends at a run of `. ! ? …` before white space or the end, quotation marks, brackets
    and Markdown's stars after it included, and at the full-width stops of Chinese and Japanese
    wherever they stand. A line end is none. What follows the last stop is a sentence too.

    No sentence ends at a title (`Dr.`), nor at initials and other abbreviations unless a word that
    often begins sentences follows (`in the U.S. The`), nor at an ellipsis or a list's number before
    a small letter. A list's number before anything else is a sentence of its own, which is what
    NLTK's Punkt makes of it: the reference counts with Punkt, whose model was trained on English
    news and may differ from this on rare abbreviations, on `e.g.`, `i.e.` and `etc.` (which it does
    not know), on `…` and on full-width stops.
    """
    sentences = []
    start = 0
    for end in _ends(text):
        sentences.append(text[start:end].strip())
        start = end
    if text[start:].strip():
        sentences.append(text[start:].strip())
    return sentences


def _ends(text: str) -> Iterator[int]:
    chunks = list(_CHUNK.finditer(text))
    texts = [*(chunk[0] for chunk in chunks[1:]), ""]
    for chunk, following in zip(chunks, texts, strict=False):
        for wide in _FULL_WIDTH.finditer(text, chunk.start(), chunk.end()):
            yield wide.end()
        if _is_last(chunk[0], following):
            yield chunk.end()


def _is_last(chunk: str, following: str) -> bool:
    closed = chunk.rstrip(_CLOSING)
    word = closed.rstrip(_STOPS)
    stop = closed[len(word) :]
    if not stop:
        return False
    if "!" in stop or "?" in stop:
        return True
    word = word.lstrip(_OPENING).lower()
    following = following.lstrip(_OPENING)
    small = following[:1].islower() or following[:1] in (",", ";", ":")
    if stop != "." or word.isdecimal():
        return not small
    if _NEVER_LAST.fullmatch(word):
        return False
    if _BEFORE_NUMBER.fullmatch(word) and following[:1].isdecimal():
        return False
    if _SELDOM_LAST.fullmatch(word) or _INITIALS.fullmatch(word):
        return following[:1].isupper() and _STARTERS.match(following.lower()) is not None
    return True
