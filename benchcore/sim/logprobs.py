"""Logprobs: how likely each token is said to be; made up, but the same for the same token."""

from __future__ import annotations

import zlib
from typing import Any, Final

from benchcore.sim.text import ENGLISH

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
    tops = [_one(name, value) for name, value in alternatives(token, count)]
    return {**_one(token, logprob(token)), "top_logprobs": tops}


def _one(token: str, value: float) -> dict[str, Any]:
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
