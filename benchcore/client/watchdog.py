"""Watchdog: ends exchanges that have taken too long, and finds sockets that broke unseen."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterable
from itertools import pairwise
from typing import Protocol, cast

from benchcore.base.clock import NS
from benchcore.client.connection import Connection, Owner
from benchcore.client.exchange import NO_END, Exchange
from benchcore.client.records import Outcome, Phase, Record
from benchcore.client.stamps import Stamper
from benchcore.config.target import Target, Timeouts

BROKEN_NS = NS // 200
"""A connection that brings nothing for so long is looked at for an error."""
GRACE_NS = NS
"""After its `finish_reason` a stream may take this long to report usage and to end."""
LINGER_NS = NS // 50
"""After `[DONE]` a stream may take this long to finish its HTTP body; then the request is over."""
LATE_NS = LINGER_NS // 2
"""An end that comes later than this after the proper one is a late one."""
AT_A_GO = 16
"""So many exchanges are looked at before something that is due may leave."""
TAIL_NS = 5 * NS
"""A connection whose request is over may take this long to be free for the next one."""


def broken_limit(
    record: Record, timeouts: Timeouts, until_ns: int, *, whole: bool
) -> tuple[Phase, float] | None:
    """Return the limit that a request has broken by its stamps, with its value in seconds.

    Args:
        record: of the request, which has been sent.
        timeouts: the limits.
        until_ns: its end, or the clock while it is on its way.
        whole: look at all its waits, and not at the one that it is in alone.
    """
    limit = timeouts.first_token
    if limit is not None and record.streamed and (whole or not record.stamps):
        first_ns = record.first_token_ns or until_ns
        if first_ns - record.sent_ns > limit * NS:
            return Phase.FIRST_TOKEN, limit
    limit = timeouts.between_tokens
    if limit is not None and record.stamps:
        longest_ns = until_ns - record.stamps[-1]
        if whole:
            gaps = (after - before for before, after in pairwise(record.stamps))
            longest_ns = max(longest_ns, max(gaps, default=0))
        if longest_ns > limit * NS:
            return Phase.BETWEEN_TOKENS, limit
    limit = timeouts.total
    if limit is not None and until_ns - record.sent_ns > limit * NS:
        return Phase.TOTAL, limit
    return None


def overdue(exchange: Exchange, timeouts: Timeouts, now_ns: int) -> tuple[Phase, float] | None:
    """Return the limit that an exchange on its way has passed by its stamps, in seconds.

    Args:
        exchange: on its way.
        timeouts: the limits.
        now_ns: the clock; what has arrived by then must have been read before this is believed.
    """
    if not exchange.record.sent_ns:
        return None  # connecting has its own limit
    ended_ns = exchange.reader.ended_ns
    if ended_ns:
        return (Phase.TOTAL, GRACE_NS / NS) if now_ns - ended_ns > GRACE_NS else None
    return broken_limit(exchange.record, timeouts, now_ns, whole=False)


def too_late(exchange: Exchange, timeouts: Timeouts) -> tuple[Phase, float] | None:
    """Return the limit that an exchange that is over had passed by its stamps, in seconds.

    What follows the end, usage or `[DONE]`, is not waited for and counts against no limit.
    """
    record = exchange.record
    return broken_limit(record, timeouts, exchange.reader.ended_ns or record.done_ns, whole=True)


def broken(exchanges: Iterable[Exchange], now_ns: int) -> list[Connection]:
    """Return the connections that broke while data lay in them.

    libuv gives up a descriptor that has an error after one call of its reader, which was for the
    data: nobody would read the error behind them.

    Args:
        exchanges: those on their way.
        now_ns: the clock.
    """
    quiet: dict[int, Connection] = {}
    poll = select.poll()
    for exchange in exchanges:
        connection = cast("Connection | None", exchange.connection)
        if (
            connection is not None
            and not connection.closed
            and connection.by_libuv
            and now_ns - connection.stamp_ns > BROKEN_NS
        ):
            quiet[connection.descriptor] = connection
            poll.register(connection.descriptor, 0)
    return [quiet[descriptor] for descriptor, _ in poll.poll(0)] if quiet else []


class Watched(Owner, Protocol):
    """The client whose exchanges are looked at."""

    target: Target
    stamper: Stamper
    in_flight: dict[Exchange, None]

    def close_tails(self, now_ns: int) -> None:
        """Close connections whose last answer has not ended properly for too long."""

    def cancel(self, exchange: Exchange, outcome: Outcome, phase: Phase, error: str) -> None:
        """End an exchange that is on its way."""


class Watchdog:
    """Looks several times a second at what is on its way.

    Args:
        client: whose exchanges.
        loop: the running event loop.
    """

    def __init__(self, client: Watched, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        limits = [limit for _, limit in client.target.timeouts if limit is not None]
        self._seconds = min(0.25, max(0.02, min(limits, default=1.0) / 10))

    def start(self) -> None:
        """Look now, and again and again."""
        self._client.stamper.tick()
        self._timer = self._loop.call_later(self._seconds, self.start)
        now_ns = time.perf_counter_ns()
        # Their readers are not called any more: see `broken`.
        for connection in broken(self._client.in_flight, now_ns):
            connection.drain(now_ns)
        self._client.close_tails(now_ns)
        for number, exchange in enumerate(list(self._client.in_flight)):
            if number % AT_A_GO == 0 and time.perf_counter_ns() >= self._client.due_ns:
                self._client.run_due()
            try:
                self._look_at(exchange, now_ns)
            except Exception as fault:  # noqa: BLE001  one entry must not cost the others theirs
                self._client.confine(exchange, fault)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, exchange: Exchange, now_ns: int) -> None:
        """End an exchange that has passed a limit."""
        client = self._client
        timeouts = client.target.timeouts
        if overdue(exchange, timeouts, now_ns) is None:
            return
        carrier = cast("Connection | None", exchange.connection)
        if carrier is not None:
            carrier.drain(now_ns)
        if exchange not in client.in_flight:
            return
        late = overdue(exchange, timeouts, now_ns)
        if late is None:
            return
        if exchange.reader.ended_ns:
            # It has said all: only the end of its HTTP body is missing.
            if carrier is not None:
                carrier.abort()
                exchange.record.done_ns = now_ns
                client.exchange_over(carrier, exchange, NO_END)
            return
        phase, limit = late
        why = f"{phase.value} took longer than {limit:g} s"
        client.cancel(exchange, Outcome.TIMEOUT, phase, why)
