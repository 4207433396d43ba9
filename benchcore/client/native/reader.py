"""NativeReader: drives the reader in C; one call reads every ready socket of a client."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING, Final

from benchcore.client.connection import READ_BYTES, Connection
from benchcore.client.exchange import CLOSED, Exchange
from benchcore.client.records import Outcome, Record

if TYPE_CHECKING:
    import asyncio
    import socket

    from benchcore.client.connection import Owner
    from benchcore.client.stamps import Stamper
    from benchcore.client.template import Shape

# Places of the shared array, and how wide entries are: see `reader.c`.
_DUE, _OFFSET, _USERSPACE, _STEPS, _LAGS, _COUNT, _MORE, _PACE, _SHORTEST, _PLAIN = range(10)
_SHARED: Final = 10
_ENTRIES: Final = 512
_STRIDE: Final = 6
_DATA, _END = 0, 1
_OUT_BYTES: Final = 16 * READ_BYTES
_COLUMN: Final = 4096
_AT_A_GO: Final = 16
"""So often sockets are read in one callback where more are ready than one call takes."""

_now_ns = time.perf_counter_ns

Entry = tuple[int, int, int, int, bytes, int]
"""What came of a connection: its name, the kind, the stamp, the size or the error's number, the
bytes, and how many arrivals before it wait to be taken."""


class NativeReader:
    """An epoll set of its own for the connections of a client, read in C.

    The event loop sees one descriptor. Where tokens come fast that is a timer instead, which ticks
    at a pace: with the kernel's stamps reading late costs no truth, and one call then serves many
    sockets.

    Args:
        library: see `library.load`.
        loop: the running event loop.
        owner: has something due, as a `Connection` is told.
        stamper: takes over what was counted here.
        kernel: the kernel stamps what arrives.

    Raises:
        OSError: no descriptors are left.
    """

    def __init__(
        self,
        library: ctypes.PyDLL,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        stamper: Stamper,
        *,
        kernel: bool,
    ) -> None:
        self._library = library
        self.loop = loop
        self._owner = owner
        self.stamper = stamper
        self._connections: dict[int, NativeConnection] = {}
        self._queue: deque[Entry] = deque()
        self._shared = array("q", bytes(8 * _SHARED))
        self._entries = array("q", bytes(8 * _STRIDE * _ENTRIES))
        self._out = bytearray(_OUT_BYTES)
        self._view = memoryview(self._out)
        self._columns = array("q", bytes(8 * 3 * _COLUMN))
        self._columns_at = self._columns.buffer_info()[0]
        self._shared[_DUE] = owner.due_ns
        out = (ctypes.c_char * _OUT_BYTES).from_buffer(self._out)
        handle = library.bc_open(
            self._shared.buffer_info()[0],
            self._entries.buffer_info()[0],
            ctypes.addressof(out),
            _OUT_BYTES,
            kernel,
        )
        if not handle:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._handle: int | None = handle
        self._poll = library.bc_poll
        self._pace_ns = 0
        self._descriptor = library.bc_epoll(handle)
        stamper.native = self
        loop.add_reader(self._descriptor, self._on_ready)

    @property
    def due_ns(self) -> int:
        """When something of the owner's falls due: reading stops for it."""
        return self._shared[_DUE]

    @due_ns.setter
    def due_ns(self, due_ns: int) -> None:
        self._shared[_DUE] = due_ns

    @property
    def plain_events(self) -> int:
        """Token events that were counted in C."""
        return self._shared[_PLAIN]

    @property
    def pace_ns(self) -> int:
        """The pace of reading that fits what came of late; 0: by event."""
        return self._shared[_PACE]

    def request_ended(self, record: Record) -> None:
        """Take note how long a stream took: what follows one is not to be held back by much."""
        if record.streamed and record.outcome is Outcome.OK:
            self._library.bc_ended(self._handle, record.done_ns - record.sent_ns)

    # Reading.

    def _on_ready(self) -> None:
        shared = self._shared
        for _ in range(_AT_A_GO):
            self._poll(self._handle)
            if shared[_COUNT]:
                self._queue.extend(self._gather())
                self._dispatch()
                if self._handle is None:
                    return  # closed by what came
            if _now_ns() >= shared[_DUE]:
                self._owner.run_due()
            if not shared[_MORE]:
                break
        if shared[_PACE] != self._pace_ns:
            self._set_pace(shared[_PACE])

    def _set_pace(self, pace_ns: int) -> None:
        """Look at the sockets when a timer ticks; 0: when one of them is ready."""
        library, handle, loop = self._library, self._handle, self.loop
        if bool(pace_ns) != bool(self._pace_ns):
            loop.remove_reader(self._descriptor)
            which = library.bc_timer if pace_ns else library.bc_epoll
            self._descriptor = which(handle)
            loop.add_reader(self._descriptor, self._on_ready)
        library.bc_pace(handle, pace_ns)
        self._pace_ns = pace_ns

    def _gather(self) -> list[Entry]:
        """Copy out what came: the arrays are written anew by the next call."""
        view = self._view
        numbers = iter(self._entries[: self._shared[_COUNT] * _STRIDE])
        return [
            (
                name,
                kind,
                stamp_ns,
                size,
                bytes(view[begin : begin + size]) if kind == _DATA else b"",
                waiting,
            )
            for name, kind, stamp_ns, begin, size, waiting in zip(*[numbers] * _STRIDE, strict=True)
        ]

    def _dispatch(self) -> None:
        queue, connections, shared = self._queue, self._connections, self._shared
        while queue:
            name, kind, stamp_ns, size, data, waiting = queue.popleft()
            connection = connections.get(name)
            if connection is not None:
                connection.came(kind, stamp_ns, size, data, waiting)
            # Outside of all answers: a fault of the schedule is no fault of theirs.
            if _now_ns() >= shared[_DUE]:
                self._owner.run_due()

    def read(self, name: int) -> bool:
        """Read one connection once, behind what of it waits; returns whether anything was there."""
        queue = self._queue
        came = [entry for entry in queue if entry[0] == name]
        if came:
            others = [entry for entry in queue if entry[0] != name]
            queue.clear()
            queue.extend(others)
        elif self._library.bc_read(self._handle, name):
            came = self._gather()
        else:
            return False
        for _, kind, stamp_ns, size, data, waiting in came:
            connection = self._connections.get(name)
            if connection is not None:
                connection.came(kind, stamp_ns, size, data, waiting)
        return True

    # Connections.

    def add(self, connection: NativeConnection, descriptor: int) -> int:
        """Read a connection from now on; returns its name here.

        Raises:
            OSError: it cannot be watched.
        """
        if self._handle is None:
            raise OSError(errno.EBADF, "the client has been closed")
        name: int = self._library.bc_add(self._handle, descriptor)
        if name < 0:
            raise OSError(-name, os.strerror(-name))
        self._connections[name] = connection
        return name

    def remove(self, name: int) -> None:
        """Forget a connection."""
        if self._connections.pop(name, None) is not None:
            self._library.bc_remove(self._handle, name)

    def deafen(self, name: int) -> None:
        """Leave what arrives on a connection where it is."""
        self._library.bc_deafen(self._handle, name)

    def learn(self, name: int, shape: Shape) -> None:
        """Teach the template of a stream.

        Raises:
            MemoryError: there is none left.
        """
        lengths = array("q", map(len, shape.literals))
        if self._library.bc_learn(
            self._handle,
            name,
            len(shape.holes),
            bytes(shape.holes),
            lengths.buffer_info()[0],
            b"".join(shape.literals),
        ):
            raise MemoryError

    def arm(self, name: int) -> None:
        """Count what is plain: the connection stands at the boundary of an HTTP chunk."""
        self._library.bc_arm(self._handle, name)

    def stamp_ns(self, name: int) -> int:
        """Return the stamp of the newest read of a connection."""
        stamp_ns: int = self._library.bc_stamp(self._handle, name)
        return stamp_ns

    def feed(self, name: int, data: bytes, stamp_ns: int) -> None:
        """Take bytes as if a read had brought them: for tests."""
        self._library.bc_feed(self._handle, name, data, len(data), stamp_ns)
        self._queue.extend(self._gather())
        self._dispatch()

    def take(self, name: int, exchange: Exchange) -> None:
        """Hand the arrivals of a connection that were counted here to its exchange."""
        count = _COLUMN
        columns = self._columns
        while count == _COLUMN:
            count = self._library.bc_take(self._handle, name, self._columns_at, _COLUMN)
            if count:
                stamps, events, said = (
                    columns[begin : begin + count] for begin in (0, _COLUMN, 2 * _COLUMN)
                )
                assert exchange.taught is not None
                exchange.reader.arrived(stamps, events, said, exchange.taught.usage)

    # What the stamper takes over.

    @property
    def userspace(self) -> int:
        """Reads stamped by the clock at the read."""
        return self._shared[_USERSPACE]

    @property
    def clock_steps(self) -> int:
        """Steps of the wall clock that were noticed."""
        return self._shared[_STEPS]

    def take_lags(self) -> array[int]:
        """Return the time from stamp to read in ns, of each read with a stamp; and forget them."""
        lags = array("q", bytes(8 * self._shared[_LAGS]))
        if lags:
            self._library.bc_take_lags(self._handle, lags.buffer_info()[0])
        return lags

    @property
    def offset_ns(self) -> int:
        """The wall clock less the monotonic one, as the last read saw it, in ns."""
        return self._shared[_OFFSET]

    @offset_ns.setter
    def offset_ns(self, offset_ns: int) -> None:
        self._shared[_OFFSET] = offset_ns

    def close(self) -> None:
        """Read no more."""
        if self._handle is not None:  # else it is closed
            self.loop.remove_reader(self._descriptor)
            self.stamper.take_over()
            handle, self._handle = self._handle, None
            self._connections.clear()
            self._library.bc_close(handle)


class ChunkedExchange(Exchange):
    """An exchange that is told when llhttp stands between two chunks."""

    __slots__ = ()

    def on_chunk_header(self) -> None:
        """Take notice that a chunk begins."""
        self.between_chunks = False

    def on_chunk_complete(self) -> None:
        """Take notice that a chunk, its line end included, has been read."""
        self.between_chunks = True


class NativeConnection(Connection):
    """A connection whose sockets are read in C; what is not plain comes here as bytes."""

    by_libuv = False

    __slots__ = ("_name", "_native")

    def __init__(self, sock: socket.socket, owner: Owner, native: NativeReader) -> None:
        self._native = native
        super().__init__(sock, owner, native.loop, native.stamper)

    def _listen(self) -> None:
        self._name = self._native.add(self, self._sock.fileno())

    def _deafen(self) -> None:
        self._native.remove(self._name)

    def stop_reading(self) -> None:
        """Read nothing more, as a slow client does."""
        self._limit_window()
        self._native.deafen(self._name)

    def came(self, kind: int, stamp_ns: int, size: int, data: bytes, waiting: int) -> None:
        """Take what a read brought that was not plain, or how the socket ended."""
        exchange = self.exchange
        try:
            if waiting:
                self.collect()
            if kind == _DATA:
                self.stamp_ns = stamp_ns
                self._received(data)
            else:
                self._lost(CLOSED if kind == _END else os.strerror(size))
        except Exception as fault:  # noqa: BLE001  the edge where one exchange ends
            self._owner.confine(exchange, fault)

    def _received(self, data: bytes) -> None:
        self._take(data)
        exchange = self.exchange
        # A line end that is the chunk's own: nothing of the next chunk has been fed.
        if exchange is not None and exchange.between_chunks and data[-2:] == b"\r\n":
            shape = exchange.countable()
            if shape is not None:
                if shape is not exchange.taught:
                    self._native.learn(self._name, shape)
                    exchange.taught = shape
                self._native.arm(self._name)

    def collect(self) -> None:
        """Hand the arrivals that were counted in C to the exchange."""
        exchange = self.exchange
        if exchange is not None and exchange.taught is not None:
            self._native.take(self._name, exchange)

    def _on_readable(self) -> bool:
        return self._native.read(self._name)

    def drain(self, until_ns: int) -> None:
        """Read what had arrived by `until_ns`."""
        exchange = self.exchange
        while (
            self.exchange is exchange
            and not self.closed
            and self._native.stamp_ns(self._name) < until_ns
        ):
            if not self._on_readable():
                break
        if not self.closed:
            self.collect()

    def abort(self) -> None:
        """Close at once and forget the exchange, which the caller ends."""
        if not self.closed:
            self.collect()
        super().abort()
