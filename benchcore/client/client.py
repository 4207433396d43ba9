"""Client: sends prepared requests over a pool of connections and ends each in a record."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from benchcore.base.clock import NEVER_NS, NS
from benchcore.base.secrets import hide
from benchcore.client.addresses import Sources, connect_problem
from benchcore.client.connection import Connection, ensure_descriptors
from benchcore.client.connector import Connector
from benchcore.client.exchange import NO_END, Exchange, Limits, Request
from benchcore.client.openai import asked_tokens, request_body
from benchcore.client.records import Outcome, Phase, Record, make_harmless
from benchcore.client.request import Heads, Prompt, head_end, head_lines, request_ids
from benchcore.client.stamps import Stamper
from benchcore.client.watchdog import LATE_NS, LINGER_NS, TAIL_NS, Watchdog, too_late
from benchcore.config.target import PATHS, Target

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
        source_ips: addresses of this machine that connections come from, in turn; see `Sources`.
    """

    def __init__(
        self,
        target: Target,
        *,
        kernel_stamps: bool = True,
        limits: Limits | None = None,
        keep: bool = False,
        source_ips: Sequence[str] = (),
    ) -> None:
        self.target = target
        self.keep = keep
        sources = Sources(source_ips)
        self.stamper = Stamper(kernel=kernel_stamps)
        self._due_ns = NEVER_NS
        self.on_due: Callable[[], None] | None = None
        self.in_flight: dict[Exchange, None] = {}
        """Exchanges that have begun and not ended, oldest first."""
        self.merged_reads = 0
        """Reads, of ended exchanges, that held several token events of a choice."""
        self.client_faults = 0
        """Exchanges that ended by a fault of our own in reading their answers."""
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._tails: dict[Connection, int] = {}
        """Connections that wait for the end of a body whose request is over, and until when."""
        self._connecting: dict[Exchange, asyncio.Task[None]] = {}
        self.connector = Connector(self, self._loop, self.stamper, sources)
        self._watchdog = Watchdog(self, self._loop)
        self._made: dict[str, Exchange] = {}
        self._ids = request_ids(secrets.randbits(60))
        self._heads = Heads()
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
            ConfigError: its certificates cannot be read, or a reader is asked for that is not here.
        """
        try:
            await self.connector.open(self.target)
        except BaseException:
            self.stamper.close()
            raise
        self._watchdog.start()

    @property
    def reader(self) -> str:
        """What reads the answers: `native`, or `python` with the reason; empty before `open`."""
        return self.connector.reader

    @property
    def due_ns(self) -> int:
        """When the schedule next has something to send."""
        return self._due_ns

    @due_ns.setter
    def due_ns(self, due_ns: int) -> None:
        self._due_ns = due_ns
        if self.connector.native is not None:
            self.connector.native.due_ns = due_ns

    async def close(self) -> None:
        """Cancel what is in flight and close every connection."""
        connecting = list(self._connecting.values())
        for exchange in list(self.in_flight):
            self.cancel(exchange)
        self._watchdog.stop()
        self.close_idle()
        if connecting:  # they close their sockets
            await asyncio.wait(connecting)
        self.connector.close()
        self.stamper.close()

    def close_idle(self) -> None:
        """Close the connections that carry nothing."""
        while self._made:
            self._made.popitem()[1].release()
        while self._idle:
            self._idle.pop().close()
        for connection in list(self._tails):
            self._close_tail(connection)

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
                    self._idle.append(await self.connector.connect(self.target))
                except OSError:
                    return False
                return True

        return sum(await asyncio.gather(*(one() for _ in range(missing))))

    # Preparing.

    def prepare(
        self,
        prompt: Prompt,
        *,
        model: str | None = None,
        request_id: str | None = None,
        keep: bool = False,
    ) -> Request:
        """Return the whole request for a prompt, ready to be sent.

        Args:
            prompt: what to ask.
            model: instead of the target's.
            request_id: instead of one of the client's own.
            keep: keep the text of its answer in the record.
        """
        target = self.target
        endpoint, name = target.endpoint, model or target.model or ""
        asked = request_body(endpoint, name, prompt, stream=target.stream, extra=target.extra_body)
        fields = target.adapted(asked)
        body = orjson.dumps(fields)
        request_id = request_id or next(self._ids)
        head = self._heads.head(target, "POST", PATHS[endpoint], request_id, len(body))
        return Request(
            payload=head + body,
            request_id=request_id,
            endpoint=endpoint,
            # What was asked is what the body says, whoever wrote it there.
            stream=fields.get("stream") is True,
            asked_input_tokens=prompt.input_tokens,
            asked_output_tokens=asked_tokens(fields),
            keep=keep,
        )

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
        exchange = self._made.pop(request.request_id, None) or self._new(request)
        exchange.record.scheduled_ns = scheduled_ns
        exchange.on_done = on_done
        self.in_flight[exchange] = None
        if self._idle:
            self._idle.pop().send(exchange)
        else:
            self._open_for(exchange)
        return exchange

    def make_ready(self, request: Request) -> None:
        """Make beforehand what `start` would have to make for a request: it leaves the sooner."""
        if request.request_id not in self._made:
            self._made[request.request_id] = self._new(request)

    def _new(self, request: Request) -> Exchange:
        keep, allow_empty = self.keep or request.keep, self.target.allow_empty
        return self.connector.made(request, self._limits, keep=keep, allow_empty=allow_empty)

    def _open_for(self, exchange: Exchange) -> None:
        self._connecting[exchange] = self._loop.create_task(self._connect_and_send(exchange))

    async def _connect_and_send(self, exchange: Exchange) -> None:
        record = exchange.record
        begun_ns = _now_ns()
        try:
            connection = await self.connector.connect(self.target)
        except OSError as error:
            limit = self.target.timeouts.connect
            if isinstance(error, TimeoutError) and error.errno is None and limit is not None:
                text = f"connecting took longer than {limit:g} s"
                self._end_unsent(exchange, Outcome.TIMEOUT, text, Phase.CONNECT)
            else:
                self._end_unsent(exchange, Outcome.CONNECT_ERROR, connect_problem(error))
            return
        except Exception as fault:  # noqa: BLE001  nobody awaits this task: the exchange would never end
            self.confine(exchange, fault)
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
        head = self._heads.head(self.target, method, path, request_id, len(payload))
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

    def in_flight_now(self) -> list[Callable[[], Record]]:
        """Return of all that has begun and not ended what returns its record, brought up to date.

        That takes a moment for each, so the caller may take its time over them.
        """
        return [exchange.collected for exchange in self.in_flight]

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
        if exchange.on_done is None:  # its request was over before its body
            self._tails.pop(connection, None)
            exchange.release()
        else:
            self._conclude(exchange, lost)
        if not connection.closed:
            self._idle.append(connection)
        if exchange.on_done is not None:
            self._end(exchange)

    def stream_done(self, connection: Connection, exchange: Exchange) -> None:
        """Let a request whose stream has said all be over soon, its HTTP body or not."""
        if exchange.lingering is None and exchange.on_done is not None:
            exchange.lingering = self._loop.call_later(
                LINGER_NS / NS, self._end_of_linger, connection, exchange
            )

    def _end_of_linger(self, connection: Connection, exchange: Exchange) -> None:
        """End a request at its proper end; its connection waits for the end of the body."""
        now_ns = _now_ns()
        connection.drain(now_ns)
        if exchange not in self.in_flight:
            return
        try:
            exchange.record.done_ns = now_ns
            connection.path.note(exchange.record)
            self._conclude(exchange, NO_END)
        except Exception as fault:  # noqa: BLE001  the edge where one exchange ends
            self.confine(exchange, fault)
            return
        self._tails[connection] = now_ns + TAIL_NS
        self._end(exchange, settled=True)

    def close_tails(self, now_ns: int) -> None:
        """Wait no longer for the bodies that have not ended in time."""
        for connection in [one for one, until in self._tails.items() if now_ns > until]:
            self._close_tail(connection)

    def _close_tail(self, connection: Connection) -> None:
        """Wait no longer for the end of a body."""
        self._tails.pop(connection, None)
        exchange = connection.exchange
        connection.abort()
        if exchange is not None:
            exchange.release()

    def confine(self, exchange: Exchange | None, fault: Exception) -> None:
        """End the one exchange whose bytes provoked a fault; see `Owner`.

        Raises:
            Exception: the fault, where no exchange on its way has to do with it.
        """
        if exchange is None or exchange not in self.in_flight:
            raise fault
        task = self._connecting.pop(exchange, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        if exchange.connection is not None:
            exchange.connection.abort()
        exchange.record.done_ns = _now_ns()
        self.client_faults += exchange.blame(fault)
        with contextlib.suppress(Exception):  # it may be what has raised: the fault is told already
            exchange.reader.close()
        self._end(exchange)

    def _conclude(self, exchange: Exchange, lost: str) -> None:
        """Write how an exchange ended into its record; its stamps may say that it was too late."""
        exchange.conclude(lost=lost)
        late = too_late(exchange, self.target.timeouts)
        if late is not None:
            record, (phase, limit) = exchange.record, late
            record.outcome, record.phase = Outcome.TIMEOUT, phase
            record.error = f"{phase.value} took longer than {limit:g} s"

    def _end(self, exchange: Exchange, *, settled: bool = False) -> None:
        """Hand a record over; `settled`: the connection still waits for the end of the body."""
        del self.in_flight[exchange]
        if self.connector.native is not None:
            self.connector.native.request_ended(exchange.record)
        self.merged_reads += exchange.reader.merged_reads
        on_done, record = exchange.on_done, exchange.record
        if settled:
            exchange.settle()
        else:
            exchange.release()
        if record.tail_ns > LATE_NS:
            record.released_ns = _now_ns()
        assert on_done is not None
        try:
            make_harmless(record, self._secrets)
        except RecursionError as fault:  # it goes through all of the JSON that is kept
            record.answer = None
            exchange.blame(fault)
        on_done(record)
