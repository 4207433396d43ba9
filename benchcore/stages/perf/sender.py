"""Sender: prepared requests of one level, made ahead of their time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from benchcore.client.client import Client
from benchcore.client.exchange import Request
from benchcore.client.records import Outcome, Phase, Record
from benchcore.workload.protocol import Workload

AHEAD_BYTES = 64 * 1024 * 1024
"""Prepared requests take no more memory than about this."""


class PromptSender:
    """Sends the prompts of one level in order, preparing them while nothing else is to do.

    Args:
        client: sends.
        workload: says what to ask.
        level: name of the level.
        repeat: which repeat of the climb; each has its own prompts.
    """

    def __init__(self, client: Client, workload: Workload, level: str, repeat: int) -> None:
        self._client = client
        self._workload = workload
        self._path = (level, repeat)
        self._ready: deque[Request] = deque()
        self._next = 0
        self._most = 1 << 30
        self.numbers: dict[str, int] | None = None
        """By request, the number of its prompt; filled where somebody wants to know."""
        self.unprepared = 0
        """Requests that had to be made at the moment they were due."""

    def _prepare(self) -> Request:
        index = self._next
        self._next += 1
        request = self._client.prepare(self._workload.prompt(index, *self._path))
        if self.numbers is not None:
            self.numbers[request.request_id] = index
        return request

    def missing(self, ahead: int) -> int:
        """Return how many requests are missing until `ahead` are ready."""
        return max(min(ahead, self._most) - len(self._ready), 0)

    def refill(self, ahead: int, most: int) -> bool:
        """Prepare up to `most` requests until `ahead` are ready; returns whether they are."""
        for _ in range(most):
            if not self.missing(ahead):
                return True
            request = self._prepare()
            self._most = max(16, AHEAD_BYTES // len(request.payload))
            self._ready.append(request)
        return not self.missing(ahead)

    def start(self, index: int, scheduled_ns: int, on_done: Callable[[Record], None]) -> Any:
        """Send the next prompt; see `Sender`."""
        del index  # they are asked for in order
        if self._ready:
            request = self._ready.popleft()
        else:
            self.unprepared += 1
            request = self._prepare()
        return self._client.start(request, scheduled_ns, on_done)

    def cancel(self, exchange: Any, outcome: Outcome, phase: Phase | None, error: str) -> None:
        """End a request now; see `Sender`."""
        self._client.cancel(exchange, outcome, phase, error)
