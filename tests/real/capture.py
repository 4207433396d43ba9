"""Saves what real servers put on the wire, byte for byte, for the unit tests to replay.

    python tests/real/capture.py [NAME ...]

For each server: every exchange of `EXCHANGES` goes to `captures/NAME-EXCHANGE.http`, which holds
the response from its status line to its last byte, chunk sizes included, with the path of this
checkout masked at the same length. What else was seen, of connections mostly, is printed as JSON.
"""

import argparse
import json
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from servers import HERE, MODEL, SERVERS, Running, started

CAPTURES = HERE / "captures"
LIMIT = 20_000
# Answers like llama-cpp, but for a stream that a second request cuts.
SECOND_ONLY = {"llama-cpp-interrupt"}
CHAT = {"messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 6, "seed": 1}
TEXT = {"prompt": "Tell me", "max_tokens": 6, "seed": 1}
STREAM = {"stream": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
EACH = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to capture the answer of; without a body it is a GET."""

    name: str
    path: str
    body: dict[str, object] | None = None


EXCHANGES = (
    Exchange("models", "/v1/models"),
    Exchange("health", "/health"),
    Exchange("tokenize", "/tokenize", {"prompt": "Tell me"}),
    Exchange("chat-plain", "/v1/chat/completions", CHAT),
    Exchange("chat-stream", "/v1/chat/completions", CHAT | STREAM),
    Exchange("chat-stream-usage", "/v1/chat/completions", CHAT | USAGE),
    Exchange("chat-stream-continuous", "/v1/chat/completions", CHAT | EACH),
    Exchange("chat-stream-two", "/v1/chat/completions", CHAT | USAGE | {"n": 2}),
    Exchange("chat-ignore-eos", "/v1/chat/completions", CHAT | {"ignore_eos": True}),
    Exchange("chat-min-tokens", "/v1/chat/completions", CHAT | {"min_tokens": 6}),
    Exchange(
        "chat-max-completion-tokens", "/v1/chat/completions", CHAT | {"max_completion_tokens": 3}
    ),
    Exchange("completions-plain", "/v1/completions", TEXT),
    Exchange("completions-stream-usage", "/v1/completions", TEXT | USAGE),
    Exchange(
        "responses-stream", "/v1/responses", {"input": "Tell me", "max_output_tokens": 16, **STREAM}
    ),
    Exchange("unknown-model", "/v1/chat/completions", CHAT | STREAM | {"model": "nope"}),
    Exchange("bad-value", "/v1/chat/completions", CHAT | STREAM | {"max_tokens": "many"}),
    Exchange("too-long", "/v1/completions", TEXT | STREAM | {"prompt": "one two " * 4000}),
    Exchange("no-such-path", "/v1/nothing", {}),
)


class Connection:
    """One keep-alive connection that hands out whole raw responses."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)

    def send(
        self, path: str, body: dict[str, object] | None = None, request_id: str | None = None
    ) -> None:
        """Sends a request.

        Its id is a UUID of its own unless one is given. llama-cpp-python refuses what is no UUID,
        and of two requests with one id transformers with continuous batching answers only one.
        """
        payload = b"" if body is None else json.dumps({"model": MODEL} | body).encode()
        head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"X-Request-Id: {request_id or uuid.uuid4()}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        self.socket.sendall(head.encode() + b"\r\n" + payload)

    def receive(self) -> bytes:
        """The raw response; ends where its framing says, or when the server closes."""
        raw = b""
        while not complete(raw) and (more := self.socket.recv(65_536)):
            raw += more
        return raw

    def ask(
        self, path: str, body: dict[str, object] | None = None, request_id: str | None = None
    ) -> bytes:
        """Sends a request and returns its raw response."""
        self.send(path, body, request_id)
        return self.receive()

    def closed_after(self, limit_seconds: float) -> float | None:
        """Seconds until the server closes the idle connection; None if it does not."""
        before = time.monotonic()
        self.socket.settimeout(limit_seconds)
        try:
            rest = self.socket.recv(1)
        except TimeoutError:
            return None
        if rest:
            raise RuntimeError("bytes after the end of a response")
        return time.monotonic() - before


def complete(raw: bytes) -> bool:
    """Whether `raw` is a whole response by its own framing."""
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return False
    if re.search(rb"(?mi)^transfer-encoding: *chunked\r?$", head + b"\r"):
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"(?mi)^content-length: *(\d+)", head)
    return length is not None and len(body) >= int(length[1])


def events(raw: bytes) -> list[dict[str, object]]:
    """The JSON events of a captured stream, whatever its chunks are."""
    return [json.loads(data) for data in re.findall(rb"(?m)^data: (\{.*\})\r?$", raw)]


def held_back(raw: bytes) -> bool:
    """Whether a chunk before the last one that has a finish reason carries an empty text."""
    texts = [
        choice.get("text", choice.get("delta", {}).get("content"))
        for event in events(raw)
        for choice in event.get("choices", ())
        if not choice.get("finish_reason")
    ]
    return "" in texts[1:]


def replaced(raw: bytes) -> bool:
    """Whether a text holds U+FFFD, raw or escaped."""
    return b"\xef\xbf\xbd" in raw or b"\\ufffd" in raw


def save(running: Running, name: str, raw: bytes) -> None:
    """Writes one capture; a long one is not kept."""
    path = CAPTURES / f"{running.server.name}-{name}.http"
    if len(raw) > LIMIT:
        print(f"{path.name}: {len(raw)} bytes, not kept", file=sys.stderr)
        return
    here = str(HERE.parents[1]).encode()
    path.write_bytes(raw.replace(here, b"/" + b"x" * (len(here) - 1)))
    status = raw.partition(b"\r\n")[0].decode()
    print(f"{path.name}: {status}, {len(raw)} bytes", file=sys.stderr)


def exchanges(running: Running, port: int) -> list[str]:
    """Saves what can be asked on one connection; returns after what the server hung up at once."""
    hung_up = []
    for exchange in EXCHANGES:
        connection = Connection(port)
        save(running, exchange.name, connection.ask(exchange.path, exchange.body))
        if connection.closed_after(0.3) is not None:
            hung_up.append(exchange.name)
    awkward: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        ("held-back", held_back),
        ("replaced", replaced),
    )
    raw = Connection(port).ask("/v1/chat/completions", CHAT, request_id="capture-1")
    save(running, "request-id", raw)
    for path, body in (("chat", CHAT), ("completions", TEXT)):
        url = "/v1/chat/completions" if path == "chat" else "/v1/completions"
        for name, wanted in awkward:
            for seed in range(60):
                raw = Connection(port).ask(url, body | USAGE | {"max_tokens": 16, "seed": seed})
                if wanted(raw):
                    save(running, f"{path}-{name}", raw)
                    break
    return hung_up


def capture(running: Running) -> dict[str, object]:
    """Saves the captures of a running server and says what its connections do."""
    port = int(running.base_url.rsplit(":", 1)[1])
    alone = running.server.name in SECOND_ONLY
    hung_up = [] if alone else exchanges(running, port)
    first = Connection(port)
    first.send("/v1/chat/completions", CHAT | STREAM | {"max_tokens": 300})
    first.socket.recv(1, socket.MSG_PEEK)
    Connection(port).ask("/v1/chat/completions", CHAT)
    save(running, "chat-second-request", first.receive())
    connection = Connection(port)
    connection.ask("/v1/chat/completions", CHAT | STREAM)
    again = connection.ask("/v1/chat/completions", CHAT | STREAM)
    idle = connection.closed_after(15)
    metrics = Connection(port).ask("/metrics").decode()
    names = sorted(set(re.findall(r"(?m)^(vllm:[a-z0-9_]+)", metrics)))
    if names:
        (CAPTURES / f"{running.server.name}-metrics.txt").write_text("\n".join(names) + "\n")
    return {
        "server": running.server.name,
        "ready_seconds": round(running.ready_seconds, 1),
        "reused_after_stream": again.startswith(b"HTTP/1.1 200"),
        "closed_at_once_after": hung_up,
        "idle_closed_after_seconds": idle and round(idle, 1),
        "metrics_status": metrics.split("\r\n", 1)[0],
        "vllm_metrics": len(names),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="capture what real servers answer")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERVERS))
    names = parser.parse_args().names or list(SERVERS)
    CAPTURES.mkdir(exist_ok=True)
    for name in names:
        with started(SERVERS[name]) as running:
            print(json.dumps(capture(running)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
