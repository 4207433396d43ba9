"""Under way: a request that a check treats badly while its answer comes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from benchcore.stages.functional.check import CheckFailedError, UnsettledError
from benchcore.stages.functional.pace import was_put_off

if TYPE_CHECKING:
    from benchcore.client.client import Client
    from benchcore.client.exchange import Exchange

_LOOK_SECONDS: Final = 0.005


class UnderWay:
    """A request whose answer is coming.

    Args:
        client: sent it.
        exchange: the request and what has come.
    """

    def __init__(self, client: Client, exchange: Exchange) -> None:
        self._client = client
        self._exchange = exchange

    async def first_piece(self) -> None:
        """Wait until a piece of the body has come.

        Raises:
            CheckFailedError: it ended before.
            UnsettledError: the server put it off.
        """
        record = self._exchange.record
        assert record.reply is not None
        while not record.reply.pieces:
            if record.outcome is not None:
                raise CheckFailedError("a stream that begins", f"{record.outcome}: {record.error}")
            await asyncio.sleep(_LOOK_SECONDS)
        if record.reply.status == 429 or was_put_off(record):
            raise UnsettledError(f"put off with status {record.reply.status}")

    def events(self) -> int:
        """Return how many events have come: lines of data, which the server may cut anywhere."""
        reply = self._exchange.record.reply
        assert reply is not None
        return reply.body.count(b"data:")

    def stop_reading(self) -> None:
        """Read nothing more and keep the connection open; nothing happens where it has ended."""
        connection = self._exchange.connection
        if connection is not None and self._exchange.record.outcome is None:
            connection.stop_reading()

    def leave(self) -> None:
        """Close the connection; nothing happens where the answer has ended."""
        self._client.cancel(self._exchange)
