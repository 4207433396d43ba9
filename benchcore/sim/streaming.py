"""Streaming: tokens in from the engine's steps, events out on the wire."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from benchcore.sim.formats import Usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence as Many

    from aiohttp import web

    from benchcore.sim.answer import Answer
    from benchcore.sim.batching import Sequence
    from benchcore.sim.engine import Engine
    from benchcore.sim.faults import Faults
    from benchcore.sim.formats import Dialect
    from benchcore.sim.telemetry import Account

_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Wire:
    """Writes a prepared response's body from plain functions, without a task switch.

    Goes to the transport, past aiohttp's writer, whose ``write`` is a coroutine; asyncio's and
    uvloop's transports both hand the bytes to the socket within the call.

    Raises:
        ConnectionResetError: the client has left already.
    """

    __slots__ = ("_chunked", "_protocol", "_transport", "lost")

    def __init__(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before the headers")
        self._transport: asyncio.Transport = transport
        self._protocol = request.protocol
        self._chunked = response.chunked
        self.lost = False

    @property
    def blocked(self) -> bool:
        """The client reads too slowly: wait for the payload writer's drain."""
        return self._protocol.writing_paused

    def write(self, data: bytes) -> None:
        """Writes a piece of the body; nothing once the connection is lost."""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._transport.is_closing():
            self.lost = True
        if not self.lost:
            self._transport.write(data)

    def cut(self, data: bytes) -> None:
        """Begins a piece and closes the connection in its middle."""
        framed = b"%x\r\n%b" % (len(data), data) if self._chunked else data
        self._transport.write(framed[: len(framed) // 2 + 1])
        self.lost = True
        self._transport.close()

    def close(self) -> None:
        """Closes the connection once what was written has gone."""
        self.lost = True
        self._transport.close()

    def reset(self) -> None:
        """Closes the connection with a reset (RST)."""
        self.lost = True
        raw = self._transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(raw.fileno())) as duplicate:
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


_BURST_EVENTS: Final = 64
"""Events in one write at most, when a slow client has let them pile up."""

_STRIKES: Final = ("error_event", "truncate", "cut", "reset", "stall")


class Pause(Enum):
    """Why a stream gives its task the word."""

    BLOCKED = "blocked"
    ENDED = "ended"


class Stream:
    """Owner of a request's sequences that writes each token in the engine step that made it.

    A client that stops reading costs no memory: what it has not been sent is a count per
    choice, not bytes.
    """

    __slots__ = (
        "_account",
        "_answers",
        "_available",
        "_continuous",
        "_damaged",
        "_dialect",
        "_engine",
        "_events",
        "_faults",
        "_finish_with_last",
        "_group",
        "_held",
        "_include_usage",
        "_metrics_of",
        "_multi",
        "_strikes",
        "_unfinished",
        "_waiter",
        "_wire",
        "_written",
        "finish",
        "sequences",
    )

    def __init__(
        self,
        wire: Wire,
        dialect: Dialect,
        answers: Many[Answer],
        sequences: list[Sequence],
        faults: Faults,
        account: Account,
        engine: Engine,
        *,
        include_usage: bool,
        continuous_usage: bool,
        metrics_of: Callable[[list[Sequence]], dict[str, float | None] | None],
        finish_with_last_token: bool,
    ) -> None:
        self._wire = wire
        self._dialect = dialect
        self._answers = answers
        self.sequences = sequences
        self._faults = faults
        self._metrics_of = metrics_of
        self._account = account
        self._engine = engine
        self._include_usage = include_usage and "no_usage" not in faults
        self._continuous = continuous_usage and "no_usage" not in faults
        self._finish_with_last = finish_with_last_token
        self._damaged = faults.count("bad_utf8", 0)
        self._multi = faults.count("multi_token", 1)
        self._group = max(self._multi, faults.count("merge", 1))
        self._available = [0] * len(answers)
        self._written = [0] * len(answers)
        self._unfinished = len(answers)
        self._events = 0
        self._held = False
        self._waiter: asyncio.Future[Pause] | None = None
        self._strikes = sorted((faults.count(name, 0), name) for name in _STRIKES if name in faults)
        self.finish: str | None = None

    def open(self) -> None:
        """Writes the events before the first token; faults at token 0 strike here."""
        opening = b"" if "empty" in self._faults else self._dialect.opening()
        if opening:
            self._account.first_write_ns = time.monotonic_ns()
            self._wire.write(opening)
        self._strike()

    def end_without_output(self) -> None:
        """Ends properly with no token at all."""
        for answer in self._answers:
            answer.tokens.clear()
            answer.finish = "stop"
            answer.reasoning_tokens = 0
        tail = b"".join(
            self._dialect.finish(choice, answer) for choice, answer in enumerate(self._answers)
        )
        self._unfinished = 0
        self._wire.write(tail + self._closing())
        self._end("stop")

    def emit(self, choice: int) -> None:
        """One more token of a choice exists."""
        self._available[choice] += 1
        if not self._held:
            self._flush()

    def unblock(self) -> None:
        """The client reads again: writes what has piled up."""
        if self.finish is None:
            self._held = False
            self._flush()

    async def pause(self) -> Pause:
        """Waits until the client is too slow or the stream has ended."""
        if self.finish is not None:
            return Pause.ENDED
        if self._held:
            return Pause.BLOCKED
        self._waiter = asyncio.get_running_loop().create_future()
        return await self._waiter

    def usage(self) -> Usage:
        """Tokens written so far."""
        return Usage(
            prompt_tokens=self._account.prompt_tokens,
            completion_tokens=sum(self._written),
            cached_tokens=sum(sequence.cached_tokens for sequence in self.sequences),
            reasoning_tokens=sum(
                min(written, answer.reasoning_tokens)
                for written, answer in zip(self._written, self._answers, strict=True)
            ),
        )

    def _flush(self) -> None:
        while not self._held:
            events = self._burst()
            if not events:
                return
            tail = self._closing() if self._unfinished == 0 else b""
            stamp = time.monotonic_ns()
            account = self._account
            if account.first_write_ns is None:
                account.first_write_ns = stamp
            account.writes_ns.extend([stamp] * len(events))
            self._wire.write(b"".join(events) + tail)
            if self._wire.lost:
                self._end("cancelled")
            elif self._unfinished == 0:
                self._end(self._answers[0].finish)
            else:
                self._strike()
                if self._wire.blocked and self.finish is None:
                    self._held = True
                    self._wake(Pause.BLOCKED)

    def _burst(self) -> list[bytes]:
        """The next events, up to where a fault strikes."""
        room = _BURST_EVENTS
        if self._strikes:
            room = min(room, self._strikes[0][0] - self._events)
        events: list[bytes] = []
        for choice, answer in enumerate(self._answers):
            total = len(answer.tokens)
            available = self._available[choice]
            if available - self._written[choice] < self._group and available < total:
                continue
            while self._written[choice] < available and len(events) < room:
                events.append(self._event(choice, answer, available))
        return events

    def _event(self, choice: int, answer: Answer, available: int) -> bytes:
        start = self._written[choice]
        end = start + 1
        if self._multi > 1:
            end = answer.run_end(start, min(self._multi, available - start))
        text = answer.tokens[start] if end == start + 1 else "".join(answer.tokens[start:end])
        self._written[choice] = end
        last = end == len(answer.tokens)
        damage = self._damaged == self._events + 1
        written = self._dialect.token(
            choice,
            answer,
            start,
            end,
            text + "\ufffd" if damage else text,
            finish=answer.finish if last and self._finish_with_last else None,
            usage=self.usage() if self._continuous else None,
        )
        self._events += 1
        if damage:
            written = written.replace("\ufffd".encode(), b"\xff\xfe")
        if last:
            self._unfinished -= 1
            if not self._finish_with_last:
                written += self._dialect.finish(choice, answer)
        return written

    def _closing(self) -> bytes:
        usage = None
        if self._include_usage:
            usage = replace(self.usage(), metrics=self._metrics_of(self.sequences))
        error = b""
        if "error_after_finish" in self._faults:
            error = self._dialect.error("simulated fault after the finish")
        return self._dialect.closing(usage, done="no_done" not in self._faults, error=error)

    def _strike(self) -> None:
        while self._strikes and self._strikes[0][0] <= self._events:
            if self.finish is not None:
                return
            _at, name = self._strikes.pop(0)
            match name:
                case "stall":
                    self._stall(self._faults.seconds("stall"))
                case "error_event":
                    message = f"simulated fault after {self._events} events"
                    self._wire.write(self._dialect.error(message, last=True))
                    self._end("error")
                case "truncate":
                    self._end("truncated")
                case "cut":
                    self._wire.cut(self._dialect.error("this line is cut"))
                    self._end("cut")
                case _:
                    self._wire.reset()
                    self._end("reset")

    def _stall(self, seconds: float) -> None:
        for sequence in self.sequences:
            sequence.paused = True
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        for sequence in self.sequences:
            sequence.paused = False
        self._engine.wake()

    def _end(self, finish: str) -> None:
        self.finish = finish
        self._held = True
        self._wake(Pause.ENDED)

    def _wake(self, why: Pause) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(why)
