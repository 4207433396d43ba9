"""Client: sends prepared requests over a pool of connections and ends each in a record."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from benchcore.client.connection import Connection
from benchcore.client.descriptors import ensure_descriptors
from benchcore.client.exchange import Exchange, Limits, Request
from benchcore.client.head import head_end, head_lines
from benchcore.client.ids import request_ids
from benchcore.client.openai import PATHS, request_body
from benchcore.client.prompt import Prompt
from benchcore.client.records import Outcome, Phase, Record, make_harmless
from benchcore.client.stamps import Stamper
from benchcore.client.tls import TLSConnection, TLSSession, tls_context
from benchcore.client.watchdog import broken, overdue
from benchcore.clock import NEVER_NS
from benchcore.config.target import Target
from benchcore.errors import ConfigError, TargetError
from benchcore.secrets import hide

OPENING_AT_ONCE = 16
"""Connections opened at a time: an overflowing backlog costs a whole second."""

_now_ns = time.perf_counter_ns


class Client:
    """The one async client.

    Every request that is measured, checked or scored goes through it. Use it inside a running
    event loop: `async with Client(target) as client: …`.

    Args:
        target: the server, and what to send with each request.
        kernel_stamps: ask for the kernel's receive stamps.
        limits: how much the server may send.
        keep: keep texts and plain answers in the records.
    """

    def __init__(
        self,
        target: Target,
        *,
        kernel_stamps: bool = True,
        limits: Limits | None = None,
        keep: bool = False,
    ) -> None:
        self.target = target
        self.keep = keep
        self.stamper = Stamper(kernel=kernel_stamps)
        self.due_ns = NEVER_NS
        self.on_due: Callable[[], None] | None = None
        self.in_flight: dict[Exchange, None] = {}
        """Exchanges that have begun and not ended, oldest first."""
        self.merged_reads = 0
        """Reads, of ended exchanges, that held several token events of a choice."""
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._connecting: dict[Exchange, asyncio.Task[None]] = {}
        self._addresses: list[tuple[socket.AddressFamily, Any]] = []
        self._tls: ssl.SSLContext | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        shortest = min((limit for _, limit in target.timeouts if limit is not None), default=1.0)
        self._watch_seconds = min(0.25, max(0.02, shortest / 10))
        self._ids = request_ids(secrets.randbits(60))
        self._heads: dict[tuple[str, str], bytes] = {}
        self._secrets = tuple(target.secrets)
        hide(target.credentials)

    async def __aenter__(self) -> Client:
        """Find the address and begin to watch the time."""
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close everything."""
        await self.close()

    # Opening and closing.

    async def open(self) -> None:
        """Find the address of the target.

        Raises:
            TargetError: its name is not known.
            ConfigError: its certificates cannot be read.
        """
        try:
            await self._find()
            if self.target.uds is None:
                await self.stamper.ready()
        except BaseException:
            self.stamper.close()
            raise
        self._watch()

    async def _find(self) -> None:
        target = self.target
        if target.tls:
            try:
                self._tls = tls_context(target)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"--ca-file {target.ca_file}: {error}") from None
        if target.uds is not None:
            self._addresses = [(socket.AF_UNIX, target.uds)]
        else:
            try:
                found = await self._loop.getaddrinfo(
                    target.host, target.port, type=socket.SOCK_STREAM
                )
            except (OSError, UnicodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no host name"
                raise TargetError(
                    f"{target.base_url}: the name {target.host!r} is not known "
                    f"({why}); check --base-url"
                ) from None
            self._addresses = [(family, address) for family, _, _, _, address in found]

    async def close(self) -> None:
        """Cancel what is in flight and close every connection."""
        connecting = list(self._connecting.values())
        for exchange in list(self.in_flight):
            self.cancel(exchange)
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        self.close_idle()
        self.stamper.close()
        if connecting:  # they close their sockets
            await asyncio.wait(connecting)

    def close_idle(self) -> None:
        """Close the connections that carry nothing."""
        while self._idle:
            self._idle.pop().close()

    async def connect_ahead(self, count: int) -> int:
        """Open connections until `count` are idle; returns how many could be opened.

        Raises:
            CapacityError: this process may not open that many.
        """
        ensure_descriptors(count)
        missing = count - len(self._idle)
        gate = asyncio.Semaphore(OPENING_AT_ONCE)

        async def one() -> bool:
            async with gate:
                try:
                    self._idle.append(await self._connect())
                except OSError:
                    return False
                return True

        return sum(await asyncio.gather(*(one() for _ in range(missing))))

    async def _connect(self) -> Connection:
        """Open one connection, TLS included.

        Raises:
            OSError: no address answers (`ssl.SSLError` for what TLS refuses).
            TimeoutError: without `errno`: the limit of connecting passed.
        """
        async with asyncio.timeout(self.target.timeouts.connect):
            problem: OSError | None = None
            for family, address in self._addresses:
                try:
                    sock = socket.socket(family, socket.SOCK_STREAM)
                except OSError as error:
                    problem = problem or error
                    continue
                try:
                    sock.setblocking(False)
                    if family != socket.AF_UNIX:
                        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await self._loop.sock_connect(sock, address)
                    if self._tls is None:
                        return Connection(sock, self, self._loop, self.stamper)
                    session = TLSSession(self._tls, self.target.host)
                    await session.handshake(sock, self._loop)
                    return TLSConnection(sock, self, self._loop, self.stamper, session)
                except OSError as error:
                    sock.close()
                    problem = problem or error
                except BaseException:
                    sock.close()
                    raise
            assert problem is not None
            raise problem

    # Preparing.

    def prepare(
        self, prompt: Prompt, *, model: str | None = None, request_id: str | None = None
    ) -> Request:
        """Return the whole request for a prompt, ready to be sent."""
        target = self.target
        body = request_body(
            target.endpoint,
            model or target.model or "",
            prompt,
            stream=target.stream,
            extra=target.extra_body,
        )
        request_id = request_id or next(self._ids)
        return Request(
            payload=self._head("POST", PATHS[target.endpoint], request_id, len(body)) + body,
            request_id=request_id,
            endpoint=target.endpoint,
            stream=target.stream,
            asked_input_tokens=prompt.input_tokens,
            asked_output_tokens=prompt.output_tokens,
        )

    def _head(self, method: str, path: str, request_id: str, length: int) -> bytes:
        head = self._heads.get((method, path))
        if head is None:
            head = self._heads[method, path] = head_lines(self.target, method, path)
        return head + head_end(request_id, length)

    def prepare_raw(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str | None] | None = None,
    ) -> Request:
        """Return any request at all; its record will hold the answer as a `Reply`, unread.

        Args:
            method: of HTTP.
            path: from the API's root, `/v1/…`.
            body: sent as it is.
            headers: over the usual ones, names in lower case; `None` leaves one out.
        """
        request_id = (headers or {}).get("x-request-id") or next(self._ids)
        over = {name: value for name, value in (headers or {}).items() if name != "x-request-id"}
        head = head_lines(self.target, method, path, over) + head_end(request_id, len(body))
        return Request(head + body, request_id, endpoint=None, stream=False, raw=True)

    # Sending.

    def start(
        self, request: Request, scheduled_ns: int, on_done: Callable[[Record], None]
    ) -> Exchange:
        """Send a request at once; `on_done` is called with its record when it has ended.

        Args:
            request: what to send.
            scheduled_ns: when it should have been sent.
            on_done: may be called before this returns, where the send itself fails.
        """
        record = Record(
            request_id=request.request_id,
            scheduled_ns=scheduled_ns,
            asked_input_tokens=request.asked_input_tokens,
            asked_output_tokens=request.asked_output_tokens,
            streamed=request.stream,
        )
        exchange = Exchange(
            request,
            record,
            on_done,
            limits=self._limits,
            keep=self.keep,
            allow_empty=self.target.allow_empty,
        )
        self.in_flight[exchange] = None
        if self._idle:
            self._idle.pop().send(exchange)
        else:
            self._open_for(exchange)
        return exchange

    def _open_for(self, exchange: Exchange) -> None:
        self._connecting[exchange] = self._loop.create_task(self._connect_and_send(exchange))

    async def _connect_and_send(self, exchange: Exchange) -> None:
        record = exchange.record
        begun_ns = _now_ns()
        try:
            connection = await self._connect()
        except OSError as error:
            limit = self.target.timeouts.connect
            if isinstance(error, TimeoutError) and error.errno is None and limit is not None:
                text = f"connecting took longer than {limit:g} s"
                self._end_unsent(exchange, Outcome.TIMEOUT, text, Phase.CONNECT)
            else:
                self._end_unsent(exchange, Outcome.CONNECT_ERROR, connect_problem(error))
            return
        finally:
            self._connecting.pop(exchange, None)
        record.connect_ns += _now_ns() - begun_ns
        connection.send(exchange)

    def _end_unsent(
        self, exchange: Exchange, outcome: Outcome, error: str, phase: Phase | None = None
    ) -> None:
        record = exchange.record
        record.outcome, record.error, record.phase = outcome, error, phase
        record.done_ns = _now_ns()
        self._end(exchange)

    async def send(self, request: Request, scheduled_ns: int | None = None) -> Record:
        """Send a request and return its record once it has ended; cancelling cancels it."""
        ended: asyncio.Future[Record] = self._loop.create_future()

        def done(record: Record) -> None:
            if not ended.done():
                ended.set_result(record)

        exchange = self.start(request, scheduled_ns or _now_ns(), done)
        try:
            return await ended
        except asyncio.CancelledError:
            self.cancel(exchange)
            raise

    async def ask(self, method: str, path: str, body: Any = None) -> Record:
        """Send something else than generation, such as GET `/v1/models`.

        The record's `answer` holds the JSON of the reply, or its `text` what was not JSON.
        """
        payload = b"" if body is None else orjson.dumps(body)
        request_id = next(self._ids)
        head = self._head(method, path, request_id, len(payload))
        return await self.send(Request(head + payload, request_id, endpoint=None, stream=False))

    def cancel(
        self,
        exchange: Exchange,
        outcome: Outcome = Outcome.CANCELLED,
        phase: Phase | None = None,
        error: str = "cancelled",
    ) -> None:
        """End an exchange now and free its connection; nothing happens where it has ended."""
        if exchange not in self.in_flight:
            return
        task = self._connecting.pop(exchange, None)
        if task is not None:
            task.cancel()
        if exchange.connection is not None:
            exchange.connection.abort()
        exchange.record.done_ns = _now_ns()
        exchange.reader.close()
        record = exchange.record
        record.outcome, record.phase, record.error = outcome, phase, error
        self._end(exchange)

    # What connections tell: see `Owner`.

    def run_due(self) -> None:
        """Let the schedule send what has fallen due."""
        if self.on_due is not None:
            self.on_due()

    def connection_lost(self, connection: Connection) -> None:
        """Forget an idle connection that the server closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def exchange_over(self, connection: Connection, exchange: Exchange, lost: str) -> None:
        """End an exchange, or send it again where only its old connection was dead."""
        record = exchange.record
        if lost and record.reused and not record.first_byte_ns and not record.retried:
            record.retried = True
            exchange.connection = None
            self._open_for(exchange)
            return
        if not connection.closed:
            self._idle.append(connection)
        exchange.conclude(lost=lost)
        late = exchange.late(self.target.timeouts)
        if late is not None:
            self._time_out(record, *late)
        self._end(exchange)

    @staticmethod
    def _time_out(record: Record, phase: Phase, limit: float) -> None:
        record.outcome, record.phase = Outcome.TIMEOUT, phase
        record.error = f"{phase.value} took longer than {limit:g} s"

    def _end(self, exchange: Exchange) -> None:
        del self.in_flight[exchange]
        self.merged_reads += exchange.reader.merged_reads
        on_done, record = exchange.on_done, exchange.record
        exchange.release()
        assert on_done is not None
        make_harmless(record, self._secrets)
        on_done(record)

    # Watching the time.

    def _watch(self) -> None:
        self.stamper.tick()
        self._watchdog = self._loop.call_later(self._watch_seconds, self._watch)
        now_ns = _now_ns()
        # Their readers are not called any more: see `broken`.
        for connection in broken(self.in_flight, now_ns):
            connection.drain(now_ns)
        timeouts = self.target.timeouts
        for exchange in [e for e in self.in_flight if overdue(e, timeouts, now_ns)]:
            carrier = exchange.connection
            if carrier is not None:
                carrier.drain(now_ns)
            if exchange not in self.in_flight:
                continue
            late = overdue(exchange, timeouts, now_ns)
            if late is None:
                continue
            if exchange.reader.ended_ns:
                # It has said all: only the end of its HTTP body is missing.
                if carrier is not None:
                    carrier.abort()
                    exchange.record.done_ns = carrier.stamp_ns
                    self.exchange_over(carrier, exchange, "the stream's body has no end")
                continue
            phase, limit = late
            self.cancel(
                exchange, Outcome.TIMEOUT, phase, f"{phase.value} took longer than {limit:g} s"
            )


def connect_problem(error: OSError) -> str:
    """Return in a few words why a connection could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted ({error.verify_message}); "
            "--ca-file names a CA, --insecure trusts anything"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    # asyncio puts its own sentence, with the address, into strerror.
    return os.strerror(error.errno) if error.errno else str(error)
