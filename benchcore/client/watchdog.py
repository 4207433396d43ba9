"""Watchdog: which exchanges have taken too long, and which sockets broke unseen."""

from __future__ import annotations

import select
from collections.abc import Iterable

from benchcore.client.connection import Connection
from benchcore.client.exchange import Exchange
from benchcore.client.records import Phase
from benchcore.clock import NS
from benchcore.config.target import Timeouts

BROKEN_NS = NS // 200
"""A connection that brings nothing for so long is looked at for an error."""
GRACE_NS = NS
"""After its proper end a stream may take this long to finish its HTTP body."""


def overdue(exchange: Exchange, timeouts: Timeouts, now_ns: int) -> tuple[Phase, float] | None:
    """Return the limit that an exchange on its way has passed by its stamps, in seconds.

    Args:
        exchange: on its way.
        timeouts: the limits.
        now_ns: the clock; what has arrived by then must have been read before this is believed.
    """
    record = exchange.record
    sent_ns = record.sent_ns
    if not sent_ns:
        return None  # connecting has its own limit
    stamps = record.stamps
    ended_ns = exchange.reader.ended_ns
    if ended_ns:
        return (Phase.TOTAL, GRACE_NS / NS) if now_ns - ended_ns > GRACE_NS else None
    if stamps:
        limit = timeouts.between_tokens
        if limit is not None and now_ns - stamps[-1] > limit * NS:
            return Phase.BETWEEN_TOKENS, limit
    elif record.streamed:
        limit = timeouts.first_token
        if limit is not None and now_ns - sent_ns > limit * NS:
            return Phase.FIRST_TOKEN, limit
    limit = timeouts.total
    if limit is not None and now_ns - sent_ns > limit * NS:
        return Phase.TOTAL, limit
    return None


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
        connection = exchange.connection
        if connection is not None and now_ns - connection.stamp_ns > BROKEN_NS:
            quiet[connection.descriptor] = connection
            poll.register(connection.descriptor, 0)
    return [quiet[descriptor] for descriptor, _ in poll.poll(0)] if quiet else []
