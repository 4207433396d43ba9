"""Tally: rows of requests, held back until their output tokens have been counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from benchcore.client.records import Record
from benchcore.metrics.tokens import count_output
from benchcore.sinks.fanout import FanOut
from benchcore.sinks.protocol import RequestRow

CHARACTERS_A_SLICE = 2000
"""A slice of well under a millisecond: a tokenizer takes about 0.2 µs for a character."""


class Tally:
    """Writes rows of requests; counts the output tokens of those that have no usage before.

    While a level runs it counts in slices. A text cannot be cut, since the tokens at the cut would
    be others: one that is longer than a slice waits until the level is over, and so does what
    comes faster than slices take it.

    Args:
        sinks: take the rows.
        keep_text: leave texts in the records; else they are dropped with their row.
    """

    def __init__(self, sinks: FanOut, *, keep_text: bool) -> None:
        self._sinks = sinks
        self._keep_text = keep_text
        self._short: deque[tuple[int, RequestRow]] = deque()
        self._long: deque[tuple[int, RequestRow]] = deque()
        self.count: Callable[[str], int] | None = None
        """Returns the number of tokens of a text; `None`: token events are all there is."""

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def write(self, rows: list[RequestRow]) -> None:
        """Write rows, but for those whose tokens are to be counted first."""
        if self.count is None:
            self._pass_on(rows)
            return
        ready = []
        for row in rows:
            size = _size(row.record)
            if not size:
                ready.append(row)
            else:
                (self._short if size <= CHARACTERS_A_SLICE else self._long).append((size, row))
        self._pass_on(ready)

    def slice(self) -> None:
        """Count for a moment, and write what has been counted."""
        left = CHARACTERS_A_SLICE
        rows = []
        while self._short and self._short[0][0] <= left:
            size, row = self._short.popleft()
            left -= size
            rows.append(self._counted(row))
        self._pass_on(rows)

    def step(self) -> None:
        """Count one row of those that wait, however long it takes, and write it."""
        _, row = (self._short or self._long).popleft()
        self._pass_on([self._counted(row)])

    def give_up(self) -> None:
        """Write what waits as it is: its tokens are counted as events."""
        rows = [row for _, row in (*self._short, *self._long)]
        self._short.clear()
        self._long.clear()
        self._pass_on(rows)

    def _counted(self, row: RequestRow) -> RequestRow:
        assert self.count is not None
        count_output(row.record, self.count)
        return row

    def _pass_on(self, rows: list[RequestRow]) -> None:
        if not rows:
            return
        self._sinks.requests(rows)
        for row in rows:
            row.record.texts = None
            if not self._keep_text:
                row.record.text = row.record.answer = None


def _size(record: Record) -> int:
    """Return how many characters there are to be counted; 0: there is nothing to count."""
    if record.usage is not None and record.usage.completion_tokens is not None:
        return 0
    if record.streamed:
        return sum(map(len, record.texts or ()))
    return len(record.text or "") + 1 if record.answer is not None else 0
