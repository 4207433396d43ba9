"""Trial: one try of one check at a server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from benchcore.checks.answers import (
    CheckAnswer,
    CheckFailedError,
    SkippedError,
    StreamedAnswer,
    UnsettledError,
    UnsupportedError,
    shown,
)
from benchcore.checks.subject import was_put_off
from benchcore.client.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchcore.checks.subject import Subject
    from benchcore.client.client import Client
    from benchcore.client.exchange import Exchange
    from benchcore.client.records import Record


_LOOK_SECONDS: Final = 0.005


class PendingRequest:
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


CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
OMIT: Final = object()
"""As a field's value: leave the field out of the request."""

REFUSALS: Final = frozenset({400, 403, 404, 405, 415, 422, 501})
"""Statuses by which servers say that they do not have a feature."""

MAX_TOKENS: Final = 64

H = TypeVar("H", bound=CheckAnswer)


class Attempt:
    """One try of one check: sends, keeps what came, judges.

    Args:
        subject: the server.
        on_wait: told for how many seconds a request was held back, which is not the check's time.
    """

    def __init__(
        self, subject: Subject, on_wait: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self.subject = subject
        self._on_wait = on_wait
        self.exchanges: list[CheckAnswer] = []
        self.tolerated: list[str] = []

    # Sending anything.

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> CheckAnswer:
        """Send a request and return what came, whatever its status.

        A request that the server puts off for load, with 429 or with 503 and `Retry-After`, is sent
        again when its time has come.

        Args:
            method: of HTTP.
            path: from the API's root.
            body: JSON, or bytes that are sent as they are.
            headers: over the usual ones, names in lower case; `None` leaves one out.

        Raises:
            CheckFailedError: no whole answer came.
            UnsettledError: it was put off each time.
        """
        return await self._send(CheckAnswer, method, path, body, headers or {})

    async def at_once(self, path: str, body: Mapping[str, Any]) -> CheckAnswer:
        """POST something without waiting for anything, and return also a refusal for load."""
        return await self._send_once(CheckAnswer, "POST", path, orjson.dumps(body), {})

    async def get(self, path: str, headers: Mapping[str, str | None] | None = None) -> CheckAnswer:
        """GET something."""
        return await self.send("GET", path, None, headers)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | bytes,
        headers: Mapping[str, str | None] | None = None,
    ) -> CheckAnswer:
        """POST something and return what came, whatever its status."""
        return await self.send("POST", path, body, headers)

    async def post_stream(
        self,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str | None] | None = None,
    ) -> StreamedAnswer:
        """POST something whose answer is a stream; whatever its status."""
        return await self._send(StreamedAnswer, "POST", path, body, headers or {})

    async def _send(
        self,
        form: type[H],
        method: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | bytes | None,
        headers: Mapping[str, str | None],
    ) -> H:
        sent = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        pace = self.subject.pace
        tries = 0
        while True:
            self._on_wait(await pace.turn())
            answer = await self._send_once(form, method, path, sent, headers)
            tries += 1
            if not was_put_off(answer.record):
                pace.answered()
                return answer
            if not pace.put_off(answer.record, tries):
                raise UnsettledError(
                    f"put off with status {answer.status} in each of {tries} tries: "
                    f"{answer.problem}"
                )

    async def _send_once(
        self,
        form: type[H],
        method: str,
        path: str,
        sent: bytes,
        headers: Mapping[str, str | None],
    ) -> H:
        client = self.subject.client
        request = client.prepare_raw(method, path, sent, headers)
        ended: asyncio.Future[Record] = asyncio.get_running_loop().create_future()

        def take(record: Record) -> None:
            if not ended.done():
                ended.set_result(record)

        exchange = client.start(request, time.perf_counter_ns(), take)
        try:
            record = await ended
        finally:
            # Where the check's time is up, what has come so far is what there is to show.
            client.cancel(exchange)
            answer = form(method, path, sent, headers, exchange.record)
            self.exchanges.append(answer)
        if record.outcome is not Outcome.OK:
            raise CheckFailedError("a whole answer", f"{record.outcome}: {record.error}")
        if isinstance(answer, StreamedAnswer) and answer.unended:
            raise CheckFailedError("a stream of events", "an event of the stream has no end")
        return answer

    def begin(self, path: str, body: Mapping[str, Any]) -> PendingRequest:
        """POST something and return while the answer comes; the caller ends it."""
        client = self.subject.client
        sent = orjson.dumps(body)
        request = client.prepare_raw("POST", path, sent)
        exchange = client.start(request, time.perf_counter_ns(), lambda _record: None)
        self.exchanges.append(CheckAnswer("POST", path, sent, {}, exchange.record))
        return PendingRequest(client, exchange)

    # Sending what generates.

    def chat_body(
        self, messages: str | Sequence[Mapping[str, Any]], /, **fields: Any
    ) -> dict[str, Any]:
        """Return the body of a chat: greedy and short, unless the fields say otherwise.

        Args:
            messages: a conversation, or the text of a single user turn.
            **fields: over the usual ones; `OMIT` leaves one out, `None` sends null.
        """
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return self._body({"messages": messages}, fields)

    def completion_body(self, prompt: Any, /, **fields: Any) -> dict[str, Any]:
        """Return the body of a completion: greedy and short, unless the fields say otherwise."""
        return self._body({"prompt": prompt}, fields)

    def _body(self, asked: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "model": self.subject.model,
            **asked,
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            **self.subject.target.extra_body,
            **fields,
        }
        given = {name: value for name, value in body.items() if value is not OMIT}
        return self.subject.target.adapted(given)

    async def chat(
        self, messages: str | Sequence[Mapping[str, Any]], optional: str = "", **fields: Any
    ) -> CheckAnswer:
        """Ask for a plain answer to a chat.

        Args:
            messages: a conversation, or the text of a single user turn.
            optional: the feature whose refusal means that it is not supported.
            **fields: of the body, as in `chat_body`.

        Raises:
            UnsupportedError: the optional feature was refused.
            CheckFailedError: the status is not 200.
        """
        return self.accepted(await self.post(CHAT, self.chat_body(messages, **fields)), optional)

    async def stream_chat(
        self, messages: str | Sequence[Mapping[str, Any]], optional: str = "", **fields: Any
    ) -> StreamedAnswer:
        """Ask for a streamed answer to a chat; as `chat`."""
        body = self.chat_body(messages, **{"stream": True, **fields})
        return self.accepted(await self.post_stream(CHAT, body), optional)

    async def complete(self, prompt: Any, optional: str = "", **fields: Any) -> CheckAnswer:
        """Ask for a plain completion; as `chat`."""
        body = self.completion_body(prompt, **fields)
        return self.accepted(await self.post(COMPLETIONS, body), optional)

    async def stream_complete(
        self, prompt: Any, optional: str = "", **fields: Any
    ) -> StreamedAnswer:
        """Ask for a streamed completion; as `chat`."""
        body = self.completion_body(prompt, **{"stream": True, **fields})
        return self.accepted(await self.post_stream(COMPLETIONS, body), optional)

    # Judging.

    def accepted(self, answer: H, optional: str = "") -> H:
        """Return an answer whose status is 200.

        Args:
            answer: that came.
            optional: the feature whose refusal means that it is not supported.

        Raises:
            UnsupportedError: the optional feature was refused.
            CheckFailedError: any other status.
        """
        if answer.status == 200:
            return answer
        if optional and answer.status in REFUSALS:
            raise UnsupportedError(f"{optional} is refused: {answer.status}, {answer.problem}")
        raise CheckFailedError("status 200", f"{answer.status}: {answer.problem}")

    def refused(self, answer: CheckAnswer, what: str, statuses: Sequence[int] = ()) -> None:
        """Demand that a request was refused by a 4xx with a body that says why.

        Args:
            answer: that came.
            what: the fault of the request.
            statuses: the ones that fit; none: any 4xx.

        Raises:
            CheckFailedError: it was accepted, or refused otherwise.
        """
        wanted = " or ".join(map(str, statuses)) or "4xx"
        fits = answer.status in statuses if statuses else 400 <= answer.status < 500
        self.require(fits, f"{what} to be refused with {wanted}", f"status {answer.status}")
        error = answer.find("error")
        said = error or answer.find("message") or answer.find("detail")
        self.require(said, f"{what} to be refused with a body that says why", shown(answer.json))
        self.prefer(
            isinstance(error, dict),
            f"{what} to be refused with an object error",
            shown(answer.json),
            "engines and the gateways before them have envelopes of their own",
        )

    async def healthy(self) -> None:
        """Demand that an ordinary request is answered right after.

        Raises:
            CheckFailedError: it is not.
        """
        answer = await self.post(CHAT, self.chat_body("Hello", max_tokens=2))
        self.require(answer.status == 200, "the server healthy right after", f"{answer.status}")

    def require(self, holds: object, expected: str, got: object) -> None:
        """Fail unless something holds.

        Args:
            holds: truthy where all is well.
            expected: what should be.
            got: what is: text as it is, all else as JSON.

        Raises:
            CheckFailedError: it does not hold.
        """
        if not holds:
            raise CheckFailedError(expected, got if isinstance(got, str) else shown(got))

    def prefer(
        self,
        holds: object,
        expected: str,
        got: object,
        tolerance: str,
        *,
        broken: bool = False,
    ) -> None:
        """Fail in strict mode unless something holds; otherwise note it as tolerated.

        Args:
            holds: truthy where all is well.
            expected: what the specification demands.
            got: what is.
            tolerance: why real engines may differ.
            broken: whether that is for a request that was not answered, too.

        Raises:
            CheckFailedError: it does not hold, and the mode is strict or a request was not answered
                where the tolerance is not for that.
        """
        if holds:
            return
        if self.fault and not broken:
            raise CheckFailedError(expected, self.fault)
        text = got if isinstance(got, str) else shown(got)
        if self.subject.strict:
            raise CheckFailedError(expected, text)
        self.tolerated.append(f"expected {expected}; got {text}; tolerated: {tolerance}")

    @property
    def fault(self) -> str:
        """What kept the server from answering one of the requests; empty where it answered all.

        A tolerance is for what a server says, a value or a refusal with 4xx: never for a connection
        that was refused or broke, for a time-out, or for a 5xx.
        """
        return next((fault for answer in self.exchanges if (fault := answer.fault)), "")

    def skip(self, reason: str) -> None:
        """Leave the check out.

        Raises:
            SkippedError: always.
        """
        raise SkippedError(reason)

    def unsupported(self, reason: str) -> None:
        """Say that the server does not have the feature.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(reason)
