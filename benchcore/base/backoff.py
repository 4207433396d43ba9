"""Backoff: how long to wait before something that failed is tried again."""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow with each failure in a row, up to a longest one.

    Args:
        first_seconds: after the first failure.
        most_seconds: no wait is longer.
        factor: by which each is longer than the one before.
    """

    first_seconds: float
    most_seconds: float
    factor: float = 2.0

    def seconds(self, failures: int, draw: Callable[[], float] | None = None) -> float:
        """Return the seconds to wait.

        Args:
            failures: in a row, from 1.
            draw: gives a number from 0 to 1. With it the wait is a random share of itself, from a
                half to all, so that those who failed together do not come back together.
        """
        # Beyond any sensible limit; a power of more would overflow.
        steps = min(failures - 1, 100)
        wait = min(self.most_seconds, self.first_seconds * self.factor**steps)
        return wait if draw is None else wait * (0.5 + draw() / 2)


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
