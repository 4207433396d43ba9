"""A server that remembers what it was asked and what it answered to the end."""

import asyncio
import contextlib
import json
import threading
import time

import pytest
from aiohttp import web


class Receiver:
    """A small OpenAI-like server on a thread of its own.

    Args:
        tokens_seconds: between two tokens.
    """

    def __init__(self, token_seconds=0.001):
        self.token_seconds = token_seconds
        self.bodies = {}
        """By request, what was asked."""
        self.begun = {}
        """By request, when it had come."""
        self.ended = {}
        """By request, when the last byte of its answer had been handed to the system."""
        self.connections = {}
        """By the address that asked, its requests in turn."""
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.base_url = ""

    def __enter__(self):
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *exc):
        self.close_at_once()

    def close_at_once(self):
        """Take no more requests and end those that are on their way; a second time does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._listening.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _open(self):
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"

    async def _models(self, _request):
        return web.json_response({"data": [{"id": "m"}]})

    async def _chat(self, request):
        asked = request.headers["x-request-id"]
        body = await request.read()
        self.begun[asked] = time.perf_counter_ns()
        self.bodies[asked] = body
        self.connections.setdefault(request.transport.get_extra_info("peername"), []).append(asked)
        fields = json.loads(body)
        count = fields.get("max_tokens", 4)
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with contextlib.suppress(ConnectionResetError):  # whoever asked has gone
            await reply.prepare(request)
            for place in range(count):
                await asyncio.sleep(self.token_seconds)
                choice = {"index": 0, "delta": {"content": "x "}}
                event = {"choices": [choice]}
                if place == count - 1:
                    choice["finish_reason"] = "length"
                    event["usage"] = {"prompt_tokens": 7, "completion_tokens": count}
                await reply.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            await reply.write(b"data: [DONE]\n\n")
            await reply.write_eof()
            self.ended[asked] = time.perf_counter_ns()
        return reply


@pytest.fixture
def receiver():
    with Receiver() as one:
        yield one


@pytest.fixture
def receiver_with():
    """Start such servers with options of their own, stopped at the end."""
    started = []

    def start(**options):
        started.append(Receiver(**options).__enter__())
        return started[-1]

    yield start
    for one in started:
        one.__exit__()
