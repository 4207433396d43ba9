from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest
import uvloop

from benchcore.client.client import Client
from benchcore.client.connection import Connection
from benchcore.client.exchange import Limits, Request
from benchcore.client.records import Record
from benchcore.client.request import Prompt
from benchcore.config.target import Target

PATIENCE_SECONDS = 60.0


class Wire:
    """Bytes as servers send them."""

    STREAM_HEAD = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    DONE = b"data: [DONE]\n\n"
    LAST_CHUNK = b"0\r\n\r\n"

    @staticmethod
    def chunk(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)

    @staticmethod
    def event(message: Any) -> bytes:
        return b"data: %b\n\n" % json.dumps(message, ensure_ascii=False).encode()

    @classmethod
    def delta(cls, finish: str | None = None, index: Any = 0, **delta: Any) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return cls.event({"choices": [choice]})

    @classmethod
    def usage(cls, prompt: int, completion: int) -> bytes:
        counts = {"prompt_tokens": prompt, "completion_tokens": completion}
        return cls.event({"choices": [], "usage": counts})

    @classmethod
    def stream(cls, *events: bytes) -> bytes:
        return cls.STREAM_HEAD + b"".join(map(cls.chunk, events)) + cls.LAST_CHUNK

    @classmethod
    def good(cls) -> bytes:
        return cls.stream(
            cls.delta(role="assistant", content=""),
            cls.delta(content="a"),
            cls.delta(content="b"),
            cls.delta("stop"),
            cls.usage(3, 2),
            cls.DONE,
        )

    @staticmethod
    def plain(body: Any, status: str = "200 OK", *headers: str) -> bytes:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [
            f"HTTP/1.1 {status}",
            "content-type: application/json",
            f"content-length: {len(payload)}",
            *headers,
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + payload

    @staticmethod
    def pieces(raw: bytes, size: int) -> list[bytes]:
        return [raw[i : i + size] for i in range(0, len(raw), size)]


@pytest.fixture
def wire() -> type[Wire]:
    return Wire


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Run on the loop of the command line; modules that say so also on Python's own."""
    loops: dict[str, Callable[[], Any]] = {"uvloop": uvloop.new_event_loop}
    asked = set(item.fixturenames)  # type: ignore[attr-defined]
    # A replay reads from a scripted socket, beside any loop.
    beside = "replay" in asked and not asked & {"serve", "connect"}
    if getattr(item.module, "BOTH_LOOPS", False) and not beside:  # type: ignore[attr-defined]
        loops["asyncio"] = asyncio.SelectorEventLoop
    return loops


class ScriptedSocket:
    """A socket whose reads return given pieces, one each."""

    family = socket.AF_UNIX  # the kernel knows no way to a server of it

    def __init__(self, pieces: Iterable[bytes], end: OSError | bytes | None) -> None:
        self.pieces = iter(pieces)
        self.end = end
        self.sent = bytearray()
        self.send_error: OSError | None = None
        self.closed = False

    def setsockopt(self, *_: Any) -> None:
        return

    def fileno(self) -> int:
        return 1 << 20

    def send(self, data: bytes) -> int:
        if self.send_error is not None:
            raise self.send_error
        self.sent += data
        return len(data)

    def recvmsg(self, _size: int, _ancillary: int) -> tuple[bytes, list[Any], int, None]:
        piece = next(self.pieces, None)
        if piece is not None:
            return piece, [], 0, None
        if isinstance(self.end, OSError):
            raise self.end
        if self.end is None:
            raise BlockingIOError
        return b"", [], 0, None

    def close(self) -> None:
        self.closed = True


class NoLoop:
    def add_reader(self, *_: Any) -> None:
        return

    remove_reader = add_writer = remove_writer = add_reader


Replay = Callable[..., Record]


@pytest.fixture
async def replay() -> Replay:
    """Feed an answer to the client, cut as given; return the record of the request."""

    def run(
        raw: bytes | Iterable[bytes],
        *,
        size: int | None = None,
        end: OSError | bytes | None = b"",
        limits: Limits | None = None,
        keep: bool = False,
        ask: bool = False,
        send_error: OSError | None = None,
        **target: Any,
    ) -> Record:
        if isinstance(raw, bytes):
            raw = [raw] if size is None else Wire.pieces(raw, size)
        client = Client(
            Target("http://h", model="m", **target), kernel_stamps=False, limits=limits, keep=keep
        )
        sock = ScriptedSocket(raw, end)
        sock.send_error = send_error
        connection = Connection(sock, client, NoLoop(), client.stamper)  # type: ignore[arg-type]
        client._idle.append(connection)
        ended: list[Record] = []
        if ask:
            request = Request(b"GET / HTTP/1.1\r\n\r\n", "1", endpoint=None, stream=False)
        else:
            request = client.prepare(Prompt("hi"))
        exchange = client.start(request, 1, ended.append)
        while not ended and connection._on_readable():
            pass
        if end is None and not ended:
            connection.abort()
            return exchange.record
        assert len(ended) == 1
        assert not client.in_flight
        assert connection.closed == (connection not in client._idle)
        run.kept_alive = not connection.closed  # type: ignore[attr-defined]
        return ended[0]

    return run


class Peer:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE_SECONDS)
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self) -> bytes:
        """Read one whole request, or what there is before the client hangs up."""
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = self.sock.recv(65536)
            if not more:
                return raw
            raw += more
        head, _, body = raw.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        pieces, got = [body], len(body)
        while got < length:
            more = self.sock.recv(65536)
            if not more:
                break
            pieces.append(more)
            got += len(more)
        return head + b"\r\n\r\n" + b"".join(pieces)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hung_up(self) -> bool:
        """Wait until the client closes; whether it did so without sending more."""
        try:
            return self.sock.recv(65536) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], None]


class Server:
    """Runs the n-th script for the n-th connection, the last one for all that follow."""

    def __init__(self, listener: socket.socket, scripts: tuple[Script, ...]) -> None:
        self.listener = listener
        self.accepted = 0
        self.faults: list[BaseException] = []
        self._scripts = deque(scripts)
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            script = self._scripts.popleft() if len(self._scripts) > 1 else self._scripts[0]
            thread = threading.Thread(target=self._run, args=(script, Peer(sock)), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, script: Script, peer: Peer) -> None:
        try:
            script(peer)
        except BaseException as error:
            self.faults.append(error)
        finally:
            peer.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(PATIENCE_SECONDS)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that run scripts; a script that failed fails the test."""
    servers: list[Server] = []

    def start(*scripts: Script, family: Any = socket.AF_INET, address: Any = None) -> Server:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(address or ("127.0.0.1", 0))
        listener.listen(128)
        servers.append(Server(listener, scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
    for server in servers:
        if server.faults:
            raise server.faults[0]


@pytest.fixture
def answer() -> Callable[[bytes], Script]:
    """A script that gives the same answer to every request of its connection."""

    def make(raw: bytes) -> Script:
        def script(peer: Peer) -> None:
            while peer.request():
                peer.send(raw)

        return script

    return make


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open clients; none may leave anything in flight."""
    clients: list[Client] = []

    async def make(url: str, *, keep: bool = False, limits: Any = None, **target: Any) -> Client:
        client = Client(
            Target(url, **{"model": "m", **target}), keep=keep, limits=limits or Limits()
        )
        await client.open()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
        assert client.in_flight == {}
        assert client._connecting == {}


@pytest.fixture
def post() -> Callable[..., Awaitable[Record]]:
    async def send(client: Client, text: str = "hi") -> Record:
        return await asyncio.wait_for(client.send(client.prepare(Prompt(text))), PATIENCE_SECONDS)

    return send


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def files() -> Callable[[], int]:
    return open_files
