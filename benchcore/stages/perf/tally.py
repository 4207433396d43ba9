"""Tally: rows of requests, held back until their output tokens have been counted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from benchcore.metrics.tokens import count_output, unbilled_texts
from benchcore.sinks.fanout import FanOut
from benchcore.sinks.protocol import RequestRow

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
