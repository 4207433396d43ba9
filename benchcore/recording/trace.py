"""Trace: what went through the proxy as rows that can be replayed.

A row has the time of a request, the lengths that the server billed, the ids of the blocks that its
prompt begins with, and the session that it belongs to. Texts are not in it unless they are asked
for: a block's id is a salted hash of all the text up to its end, so that equal prefixes have equal
ids and the text cannot be guessed from them.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import math
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from benchcore.base.errors import ResultsError
from benchcore.base.files import GrowingFile, replace_file
from benchcore.client.openai import answer_texts, generated, plain_text, read_usage
from benchcore.client.sse import EventTooLargeError, SSEParser
from benchcore.recording.tap import Exchange, decoded

Format = Literal["benchcore", "mooncake", "weka"]

ENDINGS: Final = ("/chat/completions", "/completions", "/responses")
BLOCK_TOKENS: Final[dict[Format, int]] = {"benchcore": 64, "mooncake": 512, "weka": 64}
USUAL_CHARACTERS: Final = 4.0
"""Characters of a token, until an answer has said how many tokens its prompt had."""
REMEMBERED: Final = 100_000
"""Conversations that a later request may go on with."""
EVENTS_A_SLICE: Final = 64
_MS: Final = 1e6


@dataclass(slots=True)
class Row:
    """One request of a trace; times in ms from the first.

    Args:
        begun_ns: when its first byte came, on CLOCK_MONOTONIC.
        done_ns: when its answer had ended.
        input_tokens: of the prompt, as billed; `None`: the server did not say.
        output_tokens: of the answer, as billed, or its events; `None`: unknown.
        blocks: ids of the blocks of its prompt.
        session: number of the session.
        turn: place in it, from 1.
        delay_ns: from the end of the turn before to its own begin; `None`: there is none before.
        model: as it was asked for.
        body: of the request, where texts are kept.
        answer: its text, likewise.
    """

    begun_ns: int
    done_ns: int
    input_tokens: int | None
    output_tokens: int | None
    blocks: list[int]
    session: int
    turn: int
    delay_ns: int | None
    model: str
    body: Any = None
    answer: str = ""


class Trace:
    """Makes a trace of exchanges and writes it.

    Rows are written in the order of their begin, so that a request that takes long holds back those
    that came after it, until it has ended.

    Args:
        path: of the file.
        form: of it; `weka` is written as a whole at the end.
        texts: keep bodies and answers in it (`benchcore` alone).
        salt: of the hashes; `None`: one of its own that nobody knows.

    Raises:
        ResultsError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        form: Format = "benchcore",
        *,
        texts: bool = False,
        salt: bytes | None = None,
    ) -> None:
        self.recorded = 0
        self.passed_over = 0
        """Requests that were no generation, failed, or could not be read whole."""
        self._path = path
        self._form = form
        self._texts = texts
        self._salt = secrets.token_bytes(16) if salt is None else salt
        self._file: GrowingFile | None = None
        try:
            if form == "weka":
                path.touch()
            else:
                path.write_bytes(b"")
                self._file = GrowingFile(path)
        except OSError as error:
            raise ResultsError(f"{path}: {error.strerror}; the trace cannot be written") from None
        self._queue: deque[Exchange] = deque()
        self._wake = asyncio.Event()
        self._under_way: set[int] = set()
        self._ready: list[tuple[int, int, Row]] = []
        self._count = 0
        self._first_ns = 0
        self._characters = 0.0
        self._sessions = 0
        # By the hash of a conversation with its answer: session, turn, and when that ended.
        self._known: OrderedDict[bytes, tuple[int, int, int]] = OrderedDict()
        self._whole: list[Row] = []

    # What the taps tell.

    def begun(self, exchange: Exchange) -> None:
        """Take note of a request whose first byte has come."""
        self._under_way.add(id(exchange))
        self._first_ns = self._first_ns or exchange.begun_ns

    def ended(self, exchange: Exchange) -> None:
        """Take an exchange that has ended; it is read later, in slices."""
        self._queue.append(exchange)
        self._wake.set()

    # Making rows.

    async def run(self) -> None:
        """Make rows of what has ended, a little at a time, until cancelled.

        Raises:
            ResultsError: they cannot be written.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._take(self._queue.popleft())
                await asyncio.sleep(0)

    async def finish(self) -> None:
        """Make rows of all that is left, and write the file to its end.

        Raises:
            ResultsError: it cannot be written.
        """
        while self._queue:
            await self._take(self._queue.popleft())
        self._under_way.clear()
        self._write_ready()
        try:
            if self._file is not None:
                self._file.close()
            else:
                replace_file(self._path, orjson.dumps(_weka(self._whole)) + b"\n")
        except OSError as error:
            raise ResultsError(f"{self._path}: {error.strerror}") from None

    async def _take(self, exchange: Exchange) -> None:
        row = await self._row(exchange)
        self._under_way.discard(id(exchange))
        if row is None:
            self.passed_over += 1
        else:
            self.recorded += 1
            self._count += 1
            heapq.heappush(self._ready, (row.begun_ns, self._count, row))
        if not self._under_way:
            self._write_ready()

    def _write_ready(self) -> None:
        while self._ready:
            _, _, row = heapq.heappop(self._ready)
            if self._file is None:
                self._whole.append(row)
            else:
                self._file.write(orjson.dumps(self._fields(row)) + b"\n")
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                raise ResultsError(f"{self._path}: {error.strerror}") from None

    async def _row(self, exchange: Exchange) -> Row | None:
        path = exchange.path.partition("?")[0]
        if exchange.method != "POST" or not path.endswith(ENDINGS) or not exchange.whole:
            return None
        if exchange.status != 200:
            return None
        body = _json(decoded(exchange.body, exchange.encoding))
        answer = decoded(exchange.answer, exchange.answer_encoding)
        if not isinstance(body, dict) or answer is None:
            return None
        said = await (_read_stream(answer) if exchange.streamed else _read_plain(answer))
        if said is None:
            return None
        messages = _messages(body)
        prompt = "".join(f"{role}\n{text}\n" for role, text in messages)
        if not self._characters:
            known = said.input_tokens
            self._characters = max(len(prompt) / known, 0.5) if known else USUAL_CHARACTERS
        session, turn, ended_ns = self._session_of(messages)
        self._remember([*messages, ("assistant", said.text)], session, turn, exchange.done_ns)
        return Row(
            begun_ns=exchange.begun_ns,
            done_ns=exchange.done_ns,
            input_tokens=said.input_tokens,
            output_tokens=said.output_tokens,
            blocks=list(self._blocks(prompt, said.input_tokens)),
            session=session,
            turn=turn,
            delay_ns=None if ended_ns is None else max(exchange.begun_ns - ended_ns, 0),
            model=str(body.get("model") or ""),
            body=body if self._texts else None,
            answer=said.text if self._texts else "",
        )

    def _blocks(self, prompt: str, input_tokens: int | None) -> Iterator[int]:
        """Yield the ids of a prompt's blocks, each of all the text up to its end.

        Blocks are of so many characters as a block of tokens usually has, since equal prefixes must
        be cut alike; there are as many as the tokens that were billed fill.
        """
        size = max(round(BLOCK_TOKENS[self._form] * self._characters), 1)
        tokens = input_tokens or math.ceil(len(prompt) / self._characters)
        count = max(math.ceil(tokens / BLOCK_TOKENS[self._form]), 1)
        chained = hashlib.blake2b(key=self._salt, digest_size=6)
        for place in range(count):
            chained.update(prompt[place * size : (place + 1) * size].encode("utf-8", "replace"))
            chained.update(b"\0")
            yield int.from_bytes(chained.digest(), "big")

    def _session_of(self, messages: list[tuple[str, str]]) -> tuple[int, int, int | None]:
        """Return a request's session, its turn, and when the turn before it had ended."""
        for end in range(len(messages) - 1, 0, -1):
            if messages[end - 1][0] != "assistant":
                continue
            known = self._known.get(_digest(messages[:end]))
            if known is not None:
                return known[0], known[1] + 1, known[2]
        self._sessions += 1
        return self._sessions, 1, None

    def _remember(
        self, messages: list[tuple[str, str]], session: int, turn: int, done_ns: int
    ) -> None:
        self._known[_digest(messages)] = (session, turn, done_ns)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _fields(self, row: Row) -> dict[str, Any]:
        """Return a row as the line of a file has it."""
        fields: dict[str, Any] = {
            "timestamp": round((row.begun_ns - self._first_ns) / _MS, 3),
            "input_length": row.input_tokens,
            "output_length": row.output_tokens,
            "hash_ids": row.blocks,
            "session_id": str(row.session),
        }
        if row.delay_ns is not None:
            fields["delay"] = round(row.delay_ns / _MS, 3)
        if self._form == "mooncake":
            return fields
        fields |= {"block_size": BLOCK_TOKENS[self._form], "turn": row.turn, "model": row.model}
        if self._texts:
            fields |= {"body": row.body, "answer": row.answer}
        return fields


def _weka(rows: list[Row]) -> list[dict[str, Any]]:
    """Return rows as sessions of requests; times in seconds from a session's first."""
    sessions: dict[int, list[Row]] = {}
    for row in rows:
        sessions.setdefault(row.session, []).append(row)
    first_ns = rows[0].begun_ns if rows else 0
    return [
        {
            "id": str(name),
            "start": (turns[0].begun_ns - first_ns) / 1e9,
            "block_size": BLOCK_TOKENS["weka"],
            "hash_id_scope": "global",
            "requests": [
                {
                    "t": (row.begun_ns - turns[0].begun_ns) / 1e9,
                    "type": "s",
                    "model": row.model,
                    "in": row.input_tokens,
                    "out": row.output_tokens,
                    "hash_ids": row.blocks,
                    "think_time": (row.delay_ns or 0) / 1e9,
                }
                for row in turns
            ],
        }
        for name, turns in sessions.items()
    ]


@dataclass(slots=True)
class _Said:
    text: str
    input_tokens: int | None
    output_tokens: int | None


async def _read_plain(answer: bytes) -> _Said | None:
    found = _json(answer)
    if not isinstance(found, dict) or found.get("error"):
        return None
    try:
        text = "".join(answer_texts(found))
    except ValueError:
        return None
    usage = read_usage(found.get("usage"))
    if usage is None:
        return _Said(text, None, None)
    return _Said(text, usage.prompt_tokens, usage.completion_tokens)


async def _read_stream(answer: bytes) -> _Said | None:
    """Read a stream of events; where it has no usage, its events with output are its tokens."""
    events: list[bytes] = []
    try:
        SSEParser(lambda data, _kind: events.append(data)).feed(answer)
    except EventTooLargeError:
        return None
    texts: list[str] = []
    usage = None
    for place, data in enumerate(events):
        if place % EVENTS_A_SLICE == EVENTS_A_SLICE - 1:
            await asyncio.sleep(0)  # others are passed on meanwhile
        event = _json(data)
        if not isinstance(event, dict):
            continue
        if event.get("error"):
            return None
        inner = event.get("response")
        raw = event.get("usage") or (inner.get("usage") if isinstance(inner, dict) else None)
        usage = read_usage(raw) or usage
        text = _event_text(event)
        if text:
            texts.append(text)
    whole = "".join(texts)
    if usage is None:
        return _Said(whole, None, len(texts))
    return _Said(whole, usage.prompt_tokens, usage.completion_tokens)


def _event_text(event: dict[str, Any]) -> str:
    """Return what an event of any endpoint says."""
    if event.get("type") == "response.output_text.delta":
        return str(event.get("delta") or "")
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return ""
    delta = choices[0].get("delta")
    if isinstance(delta, dict):
        return "".join(plain_text(piece) for _, piece in generated(delta))
    return plain_text(choices[0].get("text"))


def _messages(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a body asks as roles and texts."""
    asked = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(asked, list) and asked and all(isinstance(one, dict) for one in asked):
        return [
            (str(one.get("role") or ""), _text(one.get("content"), one.get("tool_calls")))
            for one in asked
        ]
    return [("user", _text(asked))]


def _text(*contents: Any) -> str:
    return "".join(
        one if isinstance(one, str) else orjson.dumps(one).decode() for one in contents if one
    )


def _digest(messages: list[tuple[str, str]]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for role, text in messages:
        for part in (role, text):
            raw = part.encode("utf-8", "replace")
            found.update(len(raw).to_bytes(8, "big") + raw)
    return found.digest()


def _json(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
