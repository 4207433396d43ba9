"""Connection: one socket to the target, plain or TLS, each read with its stamp."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
import time
from typing import TYPE_CHECKING, Protocol

import httptools

from benchcore.base.errors import CapacityError
from benchcore.client.exchange import CLOSED
from benchcore.client.records import Outcome
from benchcore.client.sse import EventTooLargeError
from benchcore.client.tcp_info import PathWatch

if TYPE_CHECKING:
    from benchcore.client.exchange import Exchange
    from benchcore.client.stamps import Stamper
    from benchcore.config.target import Target


SPARE_DESCRIPTORS = 64
"""File descriptors left for everything that is not a connection."""


def ensure_descriptors(connections: int) -> None:
    """Raise this process's limit of open files so that it can hold so many connections.

    Raises:
        CapacityError: the hard limit is lower.
    """
    needed = connections + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise CapacityError(
            f"{connections} connections need {needed} open files and this process may have {hard}; "
            f"raise the hard limit (ulimit -Hn {needed}) or lower the concurrency"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError) as error:
        code = error.errno if isinstance(error, OSError) else errno.EINVAL
        raise CapacityError(
            f"{connections} connections need {needed} open files and the limit of {soft} cannot "
            f"be raised ({errno.errorcode.get(code or 0, error)}); run: ulimit -n {needed}"
        ) from None


READ_BYTES = 65536
ANCILLARY_BYTES = 64

_now_ns = time.perf_counter_ns


class Owner(Protocol):
    """Whoever holds the connection: told when an exchange is over or the socket is gone."""

    due_ns: int
    """When something of the owner's falls due: looked at after every read, since loop timers run
    after readers."""

    def run_due(self) -> None:
        """Do what has fallen due."""
        ...

    def exchange_over(self, connection: Connection, exchange: Exchange, lost: str) -> None:
        """Take back the connection and end the exchange; `lost`: how the socket ended, if so."""
        ...

    def connection_lost(self, connection: Connection) -> None:
        """Forget an idle connection."""
        ...

    def stream_done(self, connection: Connection, exchange: Exchange) -> None:
        """Take notice that a stream has said all, and its HTTP body goes on."""
        ...

    def confine(self, exchange: Exchange | None, fault: Exception) -> None:
        """End the exchange whose bytes provoked a fault, and nothing but that; raise any other."""
        ...


class Connection:
    """One open socket; carries one exchange at a time.

    Reads once per callback and at once: the kernel stamps the newest segment of what a read
    returns, so what queues up cannot be taken apart again. Reading is never paused.

    Args:
        sock: connected, non-blocking.
        owner: told how exchanges end.
        loop: the running event loop.
        stamper: gives each read its stamp.
    """

    by_libuv = True
    """Whether the event loop itself watches the socket."""

    __slots__ = (
        "_loop",
        "_owner",
        "_recvmsg",
        "_remainder",
        "_sock",
        "_stamp",
        "closed",
        "exchange",
        "path",
        "stamp_ns",
        "uses",
    )

    def __init__(
        self,
        sock: socket.socket,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        stamper: Stamper,
    ) -> None:
        self._sock = sock
        self._owner = owner
        self._loop = loop
        self._recvmsg = sock.recvmsg
        self._stamp = stamper.stamp
        self._remainder: memoryview | None = None
        self.exchange: Exchange | None = None
        self.stamp_ns = 0
        self.uses = 0
        self.closed = False
        self.path = PathWatch(sock)
        stamper.attach(sock)
        self._listen()

    def _listen(self) -> None:
        """Read from now on."""
        self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def _deafen(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._sock.fileno())

    def send(self, exchange: Exchange) -> None:
        """Send a request, keeping what the socket does not take at once."""
        record = exchange.record
        self.exchange = exchange
        exchange.connection = self
        self.uses += 1
        record.reused = self.uses > 1
        record.send_end_ns = 0
        try:
            data = self._encoded(exchange.request.payload)
            if not record.sent_ns:
                record.sent_ns = _now_ns()
            self._write(data)
        except OSError as error:  # what TLS says of a session that is over
            self._lost(error.strerror or str(error))
        except Exception as fault:  # noqa: BLE001  the edge where one exchange ends
            self._owner.confine(exchange, fault)

    def _encoded(self, data: bytes) -> bytes:
        """Return what goes over the wire for `data`."""
        return data

    def _write(self, data: bytes | memoryview) -> None:
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._unsendable(data, error)
            return
        if count == len(data):
            if self.exchange is not None and not self.exchange.record.send_end_ns:
                self.exchange.record.send_end_ns = _now_ns()
            if self._remainder is not None:
                self._remainder = None
                self._loop.remove_writer(self._sock.fileno())
            return
        if self._remainder is None:
            self._loop.add_writer(self._sock.fileno(), self._on_writable)
        self._remainder = memoryview(data)[count:]

    def _unsendable(self, data: bytes | memoryview, error: OSError) -> None:
        """Take a broken send; the server may have answered, with 413 say, before it hung up."""
        self._remainder = memoryview(data)  # nothing more is sent on this connection
        while not self.closed and self._on_readable():
            pass
        if not self.closed:
            self._lost(error.strerror or str(error))

    def _on_writable(self) -> None:
        assert self._remainder is not None
        exchange = self.exchange
        try:
            self._write(self._remainder)
        except Exception as fault:  # noqa: BLE001  the edge where one exchange ends
            self._owner.confine(exchange, fault)

    def _on_readable(self) -> bool:
        """Read once; returns whether anything was there.

        Whatever the bytes of one answer provoke, here or further in, ends that exchange alone.
        """
        exchange = self.exchange
        try:
            try:
                data, ancillary, _, _ = self._recvmsg(READ_BYTES, ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                self._lost(error.strerror or str(error))
                return False
            mono_ns = _now_ns()
            if not data:
                self._lost(CLOSED)
                return False
            self.stamp_ns = self._stamp(ancillary, mono_ns, self.stamp_ns)
            self._received(data)
        except Exception as fault:  # noqa: BLE001  the edge where one exchange ends
            self._owner.confine(exchange, fault)
            return True
        # Outside: a fault of the schedule is no fault of the answer that was read before.
        if mono_ns >= self._owner.due_ns:
            self._owner.run_due()
        return True

    def _take(self, data: bytes) -> None:
        """Hand what one read brought to the exchange; `stamp_ns` is its stamp."""
        exchange = self.exchange
        if exchange is None:
            self._lost("bytes came unasked")
            return
        try:
            exchange.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._unparsable(exchange, error)
        reader = exchange.reader
        if reader.pending:
            if reader.plain and reader.pending == 1:
                reader.pending = 0
                reader.stamps.append(self.stamp_ns)
            else:
                reader.commit(self.stamp_ns)
        else:
            exchange.idle_read(len(data))
        if exchange.complete or reader.outcome is not None:
            self._over(exchange)
        elif reader.done:
            self._owner.stream_done(self, exchange)

    # What one read brought, as it came over the wire; no call more than is needed.
    _received = _take

    def stop_reading(self) -> None:
        """Read nothing more, as a slow client does; whoever measures never does that."""
        self._limit_window()
        self._deafen()

    def _limit_window(self) -> None:
        # Else the kernel would go on taking megabytes for us.
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES // 16)

    @property
    def descriptor(self) -> int:
        """The socket's number among the open files."""
        return self._sock.fileno()

    def collect(self) -> None:
        """Hand to the exchange what has been counted and not been told yet: nothing, here."""

    def drain(self, until_ns: int) -> None:
        """Read what had arrived by `until_ns`: a watchdog judges stamps and not its own delay."""
        exchange = self.exchange
        while self.exchange is exchange and not self.closed and self.stamp_ns < until_ns:
            if not self._on_readable():
                return

    def _unparsable(self, exchange: Exchange, error: Exception) -> None:
        cause = error.__context__
        if exchange.complete:
            exchange.keep_alive = False  # bytes behind the end of the answer
        elif isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            if not isinstance(cause, EventTooLargeError):
                raise cause
            exchange.reader.fail(Outcome.PROTOCOL_ERROR, "an event of the stream has no end")
        elif isinstance(error, httptools.HttpParserUpgrade):
            exchange.reader.fail(Outcome.PROTOCOL_ERROR, "not HTTP any more: 101, an upgrade")
        else:
            exchange.reader.fail(Outcome.PROTOCOL_ERROR, f"not HTTP: {error}")

    def _over(self, exchange: Exchange) -> None:
        """End the exchange if nothing more of it is to be read."""
        if exchange.complete:
            reusable = exchange.keep_alive and self._remainder is None
            self.exchange = None
            if exchange.on_done is not None:
                exchange.record.read_lag_ns = _now_ns() - self.stamp_ns
                self.path.note(exchange.record)
            if not reusable:
                self.close()
            exchange.note_done(self.stamp_ns)
            self._owner.exchange_over(self, exchange, "")
        elif exchange.reader.outcome is Outcome.PROTOCOL_ERROR:
            self.exchange = None
            self.close()
            exchange.note_done(self.stamp_ns)
            self._owner.exchange_over(self, exchange, "aborted")

    def _lost(self, how: str) -> None:
        """Take the end of the socket."""
        exchange, self.exchange = self.exchange, None
        self.close()
        if exchange is None:
            self._owner.connection_lost(self)
        else:
            exchange.note_done(_now_ns())
            self._owner.exchange_over(self, exchange, how)

    def abort(self) -> None:
        """Close at once and forget the exchange, which the caller ends."""
        self.exchange = None
        self.close()

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        if self.closed:
            return
        self.closed = True
        # Before the close: the number of the descriptor is given to the next socket.
        self._deafen()
        if self._remainder is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._remainder = None
        self._sock.close()
        del self._recvmsg


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
