"""The simulator's endpoints."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp import HttpVersion11, web

from benchcore.sim.answer import sequences_of
from benchcore.sim.batching import Owner, Sequence
from benchcore.sim.breaks.spoiling import SPOIL, SpoiltWire
from benchcore.sim.faults import HEADER, FaultDice, Faults
from benchcore.sim.formats import Chat, Completions, Dialect, Usage
from benchcore.sim.requests import (
    Ask,
    read_chat,
    read_completion,
    read_object,
    read_response,
)
from benchcore.sim.responses import Responses
from benchcore.sim.streaming import Pause, Stream, Wire
from benchcore.sim.telemetry import Account, TruthLog, request_metrics
from benchcore.sim.validation import ApiError, unknown_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

    from benchcore.sim.answer import Answer, Answerer
    from benchcore.sim.breaks.breakage import Spoil
    from benchcore.sim.engine import Engine
    from benchcore.sim.options import SimProfile
    from benchcore.sim.telemetry import Metrics

REQUEST_ID: Final = "x-request-id"
"""Header by which a request is known in answers and in the truth log."""

_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
}
_LINE_PIECE: Final = b"x" * 65_536
_NOT_HTTP: Final = b"\x15\x03\x03\x00\x02\x02\x46 this is not HTTP\r\n\r\n"


class _DialectMaker(Protocol):
    def __call__(self, ask: Ask, profile: SimProfile, name: str, created: int) -> Dialect: ...


class _Gathered:
    """Owner of the sequences of a plain answer: waits for the last token of all."""

    __slots__ = ("_missing", "done")

    def __init__(self, tokens: int) -> None:
        self._missing = tokens
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def emit(self, choice: int) -> None:  # noqa: ARG002  the protocol's; all choices count
        """One more token has come."""
        self._missing -= 1
        if self._missing == 0 and not self.done.done():
            self.done.set_result(None)


class Handlers:
    """Answers requests with tokens from one engine."""

    def __init__(
        self,
        profile: SimProfile,
        engine: Engine,
        metrics: Metrics,
        answerer: Answerer,
        dice: FaultDice,
        truth: TruthLog | None,
        max_waiting: int | None = None,
    ) -> None:
        self._max_waiting = max_waiting
        self._profile = profile
        self._engine = engine
        self._metrics = metrics
        self._answerer = answerer
        self._dice = dice
        self._truth = truth
        self._stalled = False
        self._in_hand = 0
        self._numbers = count(1)

    def routes(self) -> list[web.RouteDef]:
        """Every path and what answers it."""
        return [
            web.post("/v1/chat/completions", self.chat),
            web.post("/v1/completions", self.completions),
            web.post("/v1/responses", self.responses),
        ]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await self._answer(request, read_chat, Chat)

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/completions."""
        return await self._answer(request, read_completion, Completions)

    async def responses(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses."""
        return await self._answer(request, read_response, Responses)

    async def _answer(
        self,
        request: web.Request,
        read: Callable[[dict[str, Any]], Ask],
        make_dialect: _DialectMaker,
    ) -> web.StreamResponse:
        account = Account(
            request_id=request.headers.get(REQUEST_ID) or f"sim-{next(self._numbers)}",
            received_ns=time.monotonic_ns(),
            endpoint=request.path,
        )
        admitted = 0
        try:
            faults = self._draw_faults(request)
            await self._fail_before_headers(request, faults)
            body = read_object(await request.read())
            if SPOIL in request:
                body = request[SPOIL].asked(body)
            ask = read(body)
            self._check(ask)
            self._refuse_overload()
            self._in_hand += 1
            admitted = 1
            ask.batch = account.batch = self._in_hand
            dialect = make_dialect(ask, self._profile, account.request_id, int(time.time()))
            answers = self._answers(ask)
            account.prompt_tokens = ask.prompt_tokens
            account.worth = answers[0].worth
            account.finish = "cancelled"
            if ask.stream:
                return await self._stream(request, ask, dialect, answers, faults, account)
            return await self._plain(request, ask, dialect, answers, faults, account)
        except ApiError as error:
            account.status = error.status
            account.finish = "http_error"
            raise
        except ConnectionError:
            # The client is gone; aiohttp finds that out by itself when it is given an answer,
            # and logs a traceback when it is given the exception.
            return web.Response()
        finally:
            self._in_hand -= admitted
            if self._truth is not None:
                self._truth.write(account)

    def _draw_faults(self, request: web.Request) -> Faults:
        try:
            return self._dice.draw(request.headers.get(HEADER))
        except ValueError as error:
            raise ApiError(400, f"{HEADER}: {error}", param=HEADER) from None

    async def _fail_before_headers(self, request: web.Request, faults: Faults) -> None:
        if not faults:
            return
        await asyncio.sleep(faults.seconds("slow_headers"))
        if "garbage" in faults and request.transport is not None:
            request.transport.write(_NOT_HTTP)
            request.transport.close()
            raise ConnectionAbortedError("closed on purpose")
        if "status" in faults or "retry_after" in faults:
            headers = {}
            if "retry_after" in faults:
                headers["Retry-After"] = f"{faults.seconds('retry_after'):g}"
            status = faults.count("status", 429)
            raise ApiError(
                status, f"simulated status {status}", kind="SimulatedFault", headers=headers
            )

    def _check(self, ask: Ask) -> None:
        profile = self._profile
        if ask.model is not None and ask.model != profile.model:
            raise unknown_model(ask.model, profile.model)
        wanted = ask.max_tokens or 1
        if ask.min_tokens > wanted and ask.max_tokens is not None:
            raise ApiError(400, "min_tokens is greater than max_tokens", param="min_tokens")
        longest = max(len(prompt) for prompt in ask.prompts)
        if longest + max(wanted, ask.min_tokens) > profile.max_model_len:
            raise ApiError(
                400,
                f"this model's maximum context length is {profile.max_model_len} tokens; the "
                f"request has {longest} in the prompt and asks for {wanted}",
                param="messages",
            )

    def _refuse_overload(self) -> None:
        # Counted here and not in the engine's queue, which a burst enters a turn of the loop later.
        if self._max_waiting is None:
            return
        if self._in_hand >= self._profile.max_running + self._max_waiting:
            raise ApiError(
                429,
                f"{self._max_waiting} requests are waiting already; try again later",
                kind="RateLimitError",
                code="rate_limit_exceeded",
                headers={"Retry-After": "1"},
            )

    def _answers(self, ask: Ask) -> list[Answer]:
        longest = self._profile.max_model_len
        return [
            self._answerer.answer(ask, prompt, choice, ask.max_tokens or longest - len(prompt))
            for prompt in ask.prompts
            for choice in range(ask.choices)
        ]

    def _submit(self, sequences: list[Sequence], owner: Owner, faults: Faults) -> None:
        for sequence in sequences:
            sequence.owner = owner
            sequence.queue_ns = round(faults.seconds("slow_queue") * 1e9)
            sequence.prefill_ns = round(faults.seconds("slow_prefill") * 1e9)
            sequence.paused = self._stalled
            self._engine.submit(sequence)

    def _metrics_of(self, sequences: list[Sequence]) -> dict[str, float | None] | None:
        """What is said of a request; nothing where the figures of several would be meant."""
        if not self._profile.request_metrics or len(sequences) > 1:
            return None
        return request_metrics(sequences[0])

    def _stall(self, spoil: Spoil | None, *, stalled: bool) -> None:
        """Let everybody wait for one slow client, where that is the fault asked for."""
        if spoil is not None and spoil.flag("stall_together"):
            self._stalled = stalled

    def _settle(self, sequences: list[Sequence], answers: list[Answer], account: Account) -> None:
        for sequence, answer in zip(sequences, answers, strict=True):
            self._engine.abort(sequence)
            account.cached_tokens += sequence.cached_tokens
            account.preemptions += sequence.preemptions
            self._metrics.finished(sequence, answer.finish if sequence.finished_ns else "abort")

    async def _stream(
        self,
        request: web.Request,
        ask: Ask,
        dialect: Dialect,
        answers: list[Answer],
        faults: Faults,
        account: Account,
    ) -> web.StreamResponse:
        spoil = request.get(SPOIL)
        status = 200 if spoil is None else spoil.status(200)
        response = web.StreamResponse(status=status, headers=_STREAM_HEADERS)
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        writer = await response.prepare(request)
        assert writer is not None
        writer.send_headers()
        wire = Wire(request, response) if spoil is None else SpoiltWire(request, response, spoil)
        sequences = sequences_of(ask, answers, self._profile.block_tokens)
        stream = Stream(
            wire,
            dialect,
            answers,
            sequences,
            faults,
            account,
            self._engine,
            include_usage=ask.include_usage,
            continuous_usage=ask.continuous_usage,
            metrics_of=self._metrics_of,
            finish_with_last_token=(
                self._profile.finish_with_last_token and not isinstance(dialect, Responses)
            ),
        )
        try:
            stream.open()
            if "empty" in faults or "role_only" in faults:
                stream.end_without_output()
            elif "huge_line" in faults:
                await self._huge_line(faults.count("huge_line", 0), wire, writer)
                stream.finish = "huge_line"
            elif stream.finish is None:
                if "stall_first" in faults:
                    await asyncio.sleep(faults.seconds("stall_first"))
                self._submit(sequences, stream, faults)
            while await stream.pause() is Pause.BLOCKED:
                self._stall(spoil, stalled=True)
                await writer.drain()
                stream.unblock()
        finally:
            self._stall(spoil, stalled=False)
            # Whether our own write or aiohttp notices first that the client has gone is a race.
            gone = stream.finish in (None, "cancelled")
            if spoil is None or not gone or not spoil.flag("leak"):
                self._settle(sequences, answers, account)
            else:
                for sequence in sequences:
                    sequence.paused = True
            account.completion_tokens = stream.usage().completion_tokens
            account.finish = stream.finish or "cancelled"
        if not wire.lost:
            await response.write_eof()
            if "close_after" in faults:
                wire.close()
        return response

    async def _huge_line(self, size: int, wire: Wire, writer: AbstractStreamWriter) -> None:
        wire.write(b"data: ")
        while size > 0 and not wire.lost:
            wire.write(_LINE_PIECE[:size])
            size -= len(_LINE_PIECE)
            await writer.drain()

    async def _plain(
        self,
        request: web.Request,
        ask: Ask,
        dialect: Dialect,
        answers: list[Answer],
        faults: Faults,
        account: Account,
    ) -> web.StreamResponse:
        sequences = sequences_of(ask, answers, self._profile.block_tokens)
        gathered = _Gathered(sum(len(answer.tokens) for answer in answers))
        await asyncio.sleep(faults.seconds("stall_first") + faults.seconds("stall"))
        try:
            self._submit(sequences, gathered, faults)
            await gathered.done
        finally:
            self._settle(sequences, answers, account)
        if "empty" in faults or "role_only" in faults:
            for answer in answers:
                answer.tokens.clear()
                answer.reasoning_tokens, answer.calls, answer.finish = 0, (), "stop"
        if "error_event" in faults:
            raise ApiError(500, "simulated fault", kind="InternalServerError")
        usage = Usage(
            prompt_tokens=ask.prompt_tokens,
            completion_tokens=sum(len(answer.tokens) for answer in answers),
            cached_tokens=account.cached_tokens,
            reasoning_tokens=sum(answer.reasoning_tokens for answer in answers),
            metrics=self._metrics_of(sequences),
        )
        body = dialect.body(answers, None if "no_usage" in faults else usage)
        if "bad_utf8" in faults:
            body = body[:-1] + b',"damage":"\xff\xfe"}'
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        if (spoil := request.get(SPOIL)) is not None:
            body = spoil.plain(body)
            response.set_status(spoil.status(200))
        response.content_length = len(body)
        writer = await response.prepare(request)
        assert writer is not None
        writer.send_headers()
        wire = Wire(request, response)
        account.first_write_ns = time.monotonic_ns()
        account.completion_tokens = usage.completion_tokens
        if "cut" in faults or "truncate" in faults:
            account.finish = "cut"
            wire.cut(body)
        elif "reset" in faults:
            account.finish = "reset"
            wire.write(body[: len(body) // 2])
            wire.reset()
        else:
            account.finish = answers[0].finish
            await response.write(body)
            await response.write_eof()
            if "close_after" in faults:
                wire.close()
        return response
