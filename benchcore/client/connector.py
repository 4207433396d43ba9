"""Connector: opens connections to the target, and chooses what reads them."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from benchcore.base.errors import CapacityError, ConfigError
from benchcore.client.addresses import Address, Sources, find_addresses, first_that_answers
from benchcore.client.connection import Connection, TLSConnection, TLSSession, tls_context
from benchcore.client.exchange import Exchange, Limits, Request
from benchcore.client.native.library import chosen
from benchcore.client.native.reader import ChunkedExchange, NativeConnection, NativeReader
from benchcore.client.records import Record

if TYPE_CHECKING:
    import socket

    from benchcore.client.connection import Owner
    from benchcore.client.stamps import Stamper
    from benchcore.config.target import Target


class Connector:
    """Opens connections of one client.

    Args:
        owner: told how exchanges end.
        loop: the running event loop.
        stamper: gives each read its stamp.
        sources: where connections come from.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        stamper: Stamper,
        sources: Sources,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._stamper = stamper
        self._sources = sources
        self.addresses: list[Address] = []
        """Tried one after another; known once it is open."""
        self._tls: ssl.SSLContext | None = None
        self.native: NativeReader | None = None
        """Reads in C what the target sends; `None`: it is read in Python."""
        self.reader = ""
        """What reads the answers, `native` or `python` with the reason; empty before `open`."""
        self.exchange: type[Exchange] = Exchange
        """What the exchanges of these connections are."""

    async def open(self, target: Target) -> None:
        """Find the address of the target, and choose the reader.

        Raises:
            TargetError: its name is not known.
            ConfigError: its certificates cannot be read, or a reader is asked for that is not here.
            CapacityError: this process may open no more files.
        """
        if target.tls:
            try:
                self._tls = tls_context(target)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"--ca-file {target.ca_file}: {error}") from None
        self.addresses = await find_addresses(target, self._loop)
        stamped = target.uds is None and await self._stamper.ready()
        library, self.reader = chosen(tls=target.tls)
        if library is not None:
            try:
                self.native = NativeReader(
                    library, self._loop, self._owner, self._stamper, kernel=stamped
                )
            except OSError as error:
                raise CapacityError(
                    f"the native reader needs two open files: {error.strerror}; raise the limit "
                    "(ulimit -n)"
                ) from None
            self.exchange = ChunkedExchange

    def made(self, request: Request, limits: Limits, *, keep: bool, allow_empty: bool) -> Exchange:
        """Return the exchange of a request that has not begun; whoever starts it says who waits.

        Args:
            request: what to send.
            limits: how much the server may send.
            keep: keep texts and plain answers in the record.
            allow_empty: an answer without output is `ok`.
        """
        record = Record(
            request_id=request.request_id,
            asked_input_tokens=request.asked_input_tokens,
            asked_output_tokens=request.asked_output_tokens,
            streamed=request.stream,
        )
        return self.exchange(
            request, record, _nobody, limits=limits, keep=keep, allow_empty=allow_empty
        )

    async def connect(self, target: Target) -> Connection:
        """Open one connection, TLS included.

        Raises:
            OSError: no address answers (`ssl.SSLError` for what TLS refuses).
            TimeoutError: without `errno`: the limit of connecting passed.
        """

        async def connected(sock: socket.socket) -> Connection:
            if self.native is not None:
                return NativeConnection(sock, self._owner, self.native)
            if self._tls is None:
                return Connection(sock, self._owner, self._loop, self._stamper)
            session = TLSSession(self._tls, target.host)
            await session.handshake(sock, self._loop)
            return TLSConnection(sock, self._owner, self._loop, self._stamper, session)

        async with asyncio.timeout(target.timeouts.connect):
            return await first_that_answers(self.addresses, self._loop, connected, self._sources)

    def close(self) -> None:
        """Read no more; the connections are closed already."""
        if self.native is not None:
            self.native.close()
            self.native = None


def _nobody(_record: Record) -> None:
    """Take the record of an exchange that nobody has started."""
