"""Pace: how fast a server lets itself be asked, learnt from the requests that it puts off."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from benchcore.client.retry import pause

if TYPE_CHECKING:
    from benchcore.client.records import Record

RETRIES: Final = 6
"""How often a request that was put off is sent again."""
FIRST_RETRIES: Final = 4
"""The same before the server has answered anything: as often as an eval, some 5 s in all."""
_FIRST_GAP: Final = 0.05
_LARGEST_GAP: Final = 1.0
_EASE: Final = 0.8
_LEAST_GAP: Final = 0.01


class Pace:
    """The pace of all requests to one server: after one was put off, all of them wait.

    Each refusal doubles the gap between requests, from 0.05 s to 1 s; each answer narrows it by
    a fifth. How long to wait is the policy of `benchcore.client.retry`, the one that evals follow.

    Args:
        clock: seconds that pass.
        sleep: waits; replaced in tests.
        seed: of the waits that the server does not name.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = asyncio.sleep,
        seed: int = 0,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._draw = random.Random(seed)
        self._free_at = 0.0
        self._gap = 0.0
        self._retries = FIRST_RETRIES

    async def turn(self) -> float:
        """Wait until a request may be sent, and return for how many seconds that was."""
        waited = 0.0
        while (left := self._free_at - self._clock()) > 0:
            await self._sleep(left)
            waited += left
        self._free_at = self._clock() + self._gap
        return waited

    def answered(self) -> None:
        """Narrow the gap: a request was not put off."""
        self._retries = RETRIES
        self._gap = self._gap * _EASE if self._gap > _LEAST_GAP else 0.0

    def put_off(self, record: Record, tries: int) -> bool:
        """Hold all requests back after one that was put off; returns whether to send it again.

        Args:
            record: how it ended; see `was_put_off`.
            tries: how often it has been sent.
        """
        more = pause(record, tries, self._retries, self._draw, time.time())
        if more is None:
            self._retries = 1  # until something is answered
            return False
        self._gap = min(max(2 * self._gap, _FIRST_GAP), _LARGEST_GAP)
        self._free_at = max(self._free_at, self._clock() + more.seconds)
        return True

    def after_burst(self, records: Iterable[Record]) -> None:
        """Hold the next request back for as long as the refusals of a burst of our own asked."""
        for record in records:
            more = pause(record, 1, RETRIES, self._draw, time.time())
            if more is not None:
                self._free_at = max(self._free_at, self._clock() + more.seconds)


def was_put_off(record: Record) -> bool:
    """Return whether a server asked to come again: 429, or 503 with `Retry-After`."""
    return record.status == 429 or (record.status == 503 and bool(record.retry_after))
