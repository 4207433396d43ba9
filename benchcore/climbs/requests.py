"""Requests: prepared ahead of their time, and counted once they have ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchcore.client.client import Client
from benchcore.client.exchange import Request
from benchcore.client.records import Outcome, Phase, Record
from benchcore.metrics.figures import count_output, unbilled_texts
from benchcore.runs.run import LevelScore
from benchcore.runs.sinks import FanOut, RequestRow
from benchcore.workload.kinds import Workload


class Grader(Protocol):
    """Takes the requests of a level once it is over; their texts are kept until then."""

    async def grade(
        self, level: str, repeat: int, asked: Sequence[tuple[int, Record]]
    ) -> LevelScore:
        """Return what the answers of a level were worth.

        Args:
            level: its name.
            repeat: of the climb.
            asked: its measured requests, each with the number of its prompt.
        """
        ...


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


CHARACTERS_A_SLICE = 2000
"""A slice of well under a millisecond: a tokenizer takes about 0.2 µs for a character."""
ROWS_A_SLICE = 48


@dataclass(frozen=True, slots=True)
class _Uncounted:
    row: RequestRow
    texts: list[str]
    characters: int


class Tally:
    """Writes rows of requests; before that, counts the output tokens that no usage tells.

    While a level runs it counts in slices. A text cannot be cut, since the tokens at the cut would
    be others: one that is longer than a slice waits until the level is over, and so does what
    comes faster than slices take it.

    Args:
        sinks: take the rows.
        keep_text: leave texts in the records; else they are dropped once their row is written.
    """

    def __init__(self, sinks: FanOut, *, keep_text: bool) -> None:
        self._sinks = sinks
        self._keep_text = keep_text
        self._short: deque[_Uncounted] = deque()
        self._long: deque[_Uncounted] = deque()
        self.count: Callable[[str], int] | None = None
        """Returns the number of tokens of a text; `None`: there are token events alone."""
        self.passed_on: Callable[[RequestRow], None] = lambda _row: None
        """Takes each row once it has been written; its record changes no more."""

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def write(self, rows: list[RequestRow]) -> None:
        """Write rows, but for those whose tokens are to be counted first."""
        ready = []
        for row in rows:
            texts = None if self.count is None else unbilled_texts(row.record)
            if texts is None:
                ready.append(row)
                continue
            size = sum(map(len, texts))
            queue = self._short if size <= CHARACTERS_A_SLICE else self._long
            queue.append(_Uncounted(row, texts, size))
        self._pass_on(ready)

    def slice(self) -> None:
        """Count for a moment, and write what has been counted."""
        left = CHARACTERS_A_SLICE
        rows: list[RequestRow] = []
        while self._short and self._short[0].characters <= left and len(rows) < ROWS_A_SLICE:
            left -= self._short[0].characters
            rows.append(self._counted(self._short.popleft()))
        self._pass_on(rows)

    async def finish(self) -> None:
        """Count and write all that waits; the event loop lives between two texts."""
        while self:
            self._pass_on([self._counted((self._short or self._long).popleft())])
            await asyncio.sleep(0)

    def give_up(self) -> None:
        """Write what waits as it is, and count no more: its tokens are token events."""
        self.count = None
        rows = [waiting.row for waiting in (*self._short, *self._long)]
        self._short.clear()
        self._long.clear()
        self._pass_on(rows)

    def _counted(self, waiting: _Uncounted) -> RequestRow:
        assert self.count is not None
        count_output(waiting.row.record, waiting.texts, self.count)
        return waiting.row

    def _pass_on(self, rows: list[RequestRow]) -> None:
        if not rows:
            return
        self._sinks.requests(rows)
        for row in rows:
            record = row.record
            record.texts = None
            if not self._keep_text:
                record.text = record.answer = None
            self.passed_on(row)
