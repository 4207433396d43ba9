"""Words of English text as a treebank counts them."""

from __future__ import annotations

import re
from typing import Final

_BETWEEN: Final = re.compile(
    r"\.{2,}|--|''|[\s\[\](){}<>\"“”„«»‘’`;@#$%&?!*]|[:,](?!\d)"  # noqa: RUF001
)
"""What stands between words; `10:30`, `1,000`, `a/b` and `well-known` are words."""
_INSIDE: Final = re.compile(
    r"(?<=[^'])(?=(?:n't|N'T|'[sSmMdD]|'ll|'LL|'re|'RE|'ve|'VE)\.?\Z)"
    r"|(?i:(?<=\bcan)(?=not\b)|(?<=\bgim)(?=me\b)|(?<=\blem)(?=me\b)"
    r"|(?<=\bgon)(?=na\b)|(?<=\bwan)(?=na\b)|(?<=\bgot)(?=ta\b)"
    r"|(?<=\bd)(?='ye\b)|(?<=\bmore)(?='n\b))"
)
"""Where one word is cut into two: `DO|N'T`, `IT|'S`, `CAN|NOT`."""


def split_words(text: str) -> list[str]:
    """Return the words of a text by the Penn Treebank's rules, without the punctuation.

    `IT'S` is two words (`IT`, `'S`), `CANNOT` is two, `U.S.` and `WELL-KNOWN` are one each. A full
    stop stays with its word, which changes neither their number nor their case.
    """
    return [word for piece in _BETWEEN.split(text) for word in _INSIDE.split(piece) if word]
