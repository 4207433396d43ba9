"""TLS: an encrypted connection whose reads carry kernel stamps all the same."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from benchcore.client.connection import READ_BYTES, Connection, Owner
from benchcore.client.exchange import CLOSED

if TYPE_CHECKING:
    from benchcore.client.stamps import Stamper
    from benchcore.config.target import Target


def tls_context(target: Target) -> ssl.SSLContext:
    """Return the context that checks the server as the target says.

    Raises:
        OSError: the file of certificates cannot be read.
        ssl.SSLError: it holds none.
    """
    context = ssl.create_default_context(cafile=target.ca_file)
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class TLSSession:
    """The encrypted side of a connection: two memory buffers and OpenSSL between them."""

    __slots__ = ("incoming", "outgoing", "ssl")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    async def handshake(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Shake hands over a connected socket.

        Raises:
            ssl.SSLError: the certificate is not trusted, or the server speaks no TLS.
            OSError: the connection broke.
        """
        while True:
            try:
                self.ssl.do_handshake()
            except ssl.SSLWantReadError:
                # What is to be sent goes out before waiting for the answer to it.
                await loop.sock_sendall(sock, self.outgoing.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ConnectionResetError("closed during the TLS handshake") from None
                self.incoming.write(data)
            else:
                if self.outgoing.pending:
                    await loop.sock_sendall(sock, self.outgoing.read())
                return


class TLSConnection(Connection):
    """A connection whose bytes pass through OpenSSL in memory."""

    __slots__ = ("_session",)

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        stamper: Stamper,
        session: TLSSession,
    ) -> None:
        self._session = session
        super().__init__(sock, owner, loop, stamper)

    def _encoded(self, data: bytes) -> bytes:
        self._session.ssl.write(data)
        return self._session.outgoing.read()

    def _flush(self) -> None:
        data = self._session.outgoing.read()
        if self._remainder is not None:
            self._remainder = memoryview(bytes(self._remainder) + data)
        elif data:
            self._write(data)

    def _received(self, data: bytes) -> None:
        session = self._session
        session.incoming.write(data)
        # One read may hold several records, or part of one: take all that has become readable.
        pieces = []
        how = ""
        while True:
            try:
                piece = session.ssl.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError as error:
                how = f"TLS: {error.reason or error}"
                break
            if not piece:
                how = CLOSED
                break
            pieces.append(piece)
        if pieces:
            self._take(b"".join(pieces))
        if how and not self.closed:
            self._lost(how)
        elif session.outgoing.pending and not self.closed:
            self._flush()
