"""Vocabulary: the simulator's tokens, and how likely each is said to be.

One tokenizer serves prompts, answers, usage and /tokenize. Logprobs are made up, but the same for
the same token.
"""

from __future__ import annotations

import re
import zlib
from functools import cache, lru_cache
from typing import Any, Final

VOCABULARY_SIZE: Final = 131_072

_CJK: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PIECE: Final = re.compile(
    r"<\|[a-z_]{1,24}\|>"  # a marker of the chat template
    rf"|[{_CJK}]"  # each ideograph is a token
    rf"| ?[^\W{_CJK}]{{1,16}}"  # a word with the space before it
    r"| ?[^\w\s]"
    r"|\s",
    re.DOTALL,
)
_IDEOGRAPH: Final = re.compile(f"[{_CJK}]")


def pieces(text: str) -> list[str]:
    """Cuts text into tokens; joined, they are the text again."""
    return _PIECE.findall(text)


def token_ids(tokens: list[str]) -> list[int]:
    """Numbers tokens; the same in every process, unlike ``hash()``."""
    return list(map(_token_id, tokens))


@lru_cache(maxsize=2**14)  # texts are made of few words
def _token_id(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % VOCABULARY_SIZE


def mostly_ideographs(text: str) -> bool:
    """Whether a text is to be answered in Chinese: a fifth of its characters are ideographs."""
    head = text[-2000:]
    return len(_IDEOGRAPH.findall(head)) * 5 > len(head)


_WORDS: Final = (
    "the of and to in is that for it as was with on by this are from at an or which not "
    "be have one all were when we there can more if they some what into only other time "
    "these two may then first any my now such like our over even most after also many "
    "before must through back years where much way well down should because each just "
    "those people how too little state good very make world still own see men work long "
    "here get both between life being under never day same another know while last might "
    "us great old year off come since against go came right used take three model batch "
    "queue token request answer prompt server stream cache memory block layer weight cost "
    "rate load step second minute value signal level noise large small early late quick "
    "slow steady simple clear exact river mountain garden window winter summer morning "
    "evening paper letter number figure table house street bridge engine station harbour "
    "island valley forest weather machine question reason example method result measure "
    "distance balance history language music science theory practice kitchen journey "
    "village teacher student doctor writer builder"
)

ENGLISH: Final[tuple[str, ...]] = (
    *(" " + word for word in _WORDS.split()),
    *(",",) * 6,
    *(".",) * 8,
)
"""Tokens of an English answer; a word brings the space before it."""

CHINESE: Final[tuple[str, ...]] = (
    *"的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能",
    *"下过子说产种面而方后多定行学法所民得经十三之进着等部度家电力里如水化高自二理起小物现实加",
    *"量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事平形相全表间样与",
    *"关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系",
    *("\uff0c",) * 8,
    *("\u3002",) * 8,
)
"""Tokens of a Chinese answer."""


@cache
def _known() -> dict[int, str]:
    words = (*ENGLISH, *CHINESE, *(word.strip() for word in ENGLISH), *"0123456789")
    return dict(zip(token_ids(list(words)), words, strict=True))


def token_text(number: int) -> str:
    """Returns the text of a token; of one that is in no word list, a made-up one."""
    return _known().get(number) or f" t{number}"


_STEP: Final = 0.25


def logprob(token: str) -> float:
    """Returns the log probability of a token."""
    return -0.01 - (zlib.crc32(token.encode()) % 97) / 1000


def alternatives(token: str, count: int) -> list[tuple[str, float]]:
    """Returns the likeliest tokens at a token's place, itself first.

    Args:
        token: the one that was chosen.
        count: how many.
    """
    others = (word for word in ENGLISH if word != token and word.strip().isalpha())
    found = [(token, logprob(token))]
    while len(found) < count:
        found.append((next(others), logprob(token) - _STEP * len(found)))
    return found[:count]


def chat_logprobs(tokens: list[str], count: int) -> dict[str, Any]:
    """Returns the `logprobs` of a chat's choice.

    Args:
        tokens: of the content.
        count: how many alternatives of each.
    """
    return {"content": [_entry(token, count) for token in tokens], "refusal": None}


def _entry(token: str, count: int) -> dict[str, Any]:
    tops = [_token_logprob(name, value) for name, value in alternatives(token, count)]
    return {**_token_logprob(token, logprob(token)), "top_logprobs": tops}


def _token_logprob(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": list(token.encode())}


def completion_logprobs(
    tokens: list[str], count: int, offset: int = 0, *, first_unknown: bool = False
) -> dict[str, Any]:
    """Returns the `logprobs` of a completion's choice.

    Args:
        tokens: of the text.
        count: how many alternatives of each.
        offset: characters before the first token.
        first_unknown: the first token is the prompt's and has no probability.
    """
    values: list[float | None] = [logprob(token) for token in tokens]
    tops: list[dict[str, float] | None] = [dict(alternatives(token, count)) for token in tokens]
    if first_unknown and tokens:
        values[0] = tops[0] = None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": values,
        "top_logprobs": tops,
        "text_offset": offsets,
    }
