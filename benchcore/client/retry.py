"""Retry: which faults pass by themselves, and how long to wait for that."""

from __future__ import annotations

import email.utils
import math
import random
from dataclasses import dataclass
from typing import Final

from benchcore.client.records import Outcome, Record

STATUSES: Final = frozenset({408, 409, 429})
"""Besides 5xx."""
_BROKEN: Final = frozenset({Outcome.CONNECT_ERROR, Outcome.TRUNCATED})
FIRST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 120.0
"""A server that asks for more in `Retry-After` is taken to refuse."""


@dataclass(frozen=True, slots=True)
class Again:
    """To be sent again.

    Args:
        seconds: to wait before.
        why: in a line.
    """

    seconds: float
    why: str


def again(record: Record, tries: int, most: int, draw: random.Random, now: float) -> Again | None:
    """Return whether a request is to be sent again; `None`: its end is final.

    Sent again are 408, 409, 429, 5xx and connections that broke; a time-out of ours is not, nor is
    an answer that is empty or wrong.

    Args:
        record: how it ended.
        tries: how often it has been sent.
        most: how often it may be sent again.
        draw: spreads the waits, so that those who failed together do not come back together.
        now: seconds since the epoch, against which a date in `Retry-After` is held.
    """
    passing = record.outcome in _BROKEN or (
        record.outcome is Outcome.HTTP_ERROR and (record.status in STATUSES or record.status >= 500)
    )
    return pause(record, tries, most, draw, now) if passing else None


def pause(record: Record, tries: int, most: int, draw: random.Random, now: float) -> Again | None:
    """Return how long to wait before a request is sent again; `None`: it is not worth the wait.

    What the server asks for in `Retry-After`, or from half a second on twice as long each time. The
    arguments are those of `again`.
    """
    if tries > most:
        return None
    why = f"{record.status}: {record.error}" if record.status >= 400 else record.error
    asked = retry_after(record.retry_after, now) if record.status >= 400 else None
    if asked is not None:
        return Again(asked, why) if asked <= PATIENCE_SECONDS else None
    ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2 ** (tries - 1))
    return Again(ceiling * (0.5 + draw.random() / 2), why)


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a `Retry-After` asks for (RFC 9110, 10.2.3); `None`: it is none.

    Args:
        value: of the header: seconds, or a date.
        now: seconds since the epoch.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = moment.timestamp() - now
    return max(seconds, 0.0) if math.isfinite(seconds) else None
