"""The scraper: reads while a level runs, and ends when it is told to."""

import asyncio
import socket

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from benchcore.config.target import Target
from benchcore.observe.scraper import Scraper, ServerMetrics
from benchcore.observe.server import busy, columns, parse
from benchcore.sim import SimOptions, SimProfile
from benchcore.sim.app import start

PAGE = (
    b"vllm:num_requests_running %d\n"
    b"vllm:request_queue_time_seconds_sum %d\n"
    b"vllm:request_queue_time_seconds_count %d\n"
)


def page_of(running=3):
    """Return a page of vLLM's, with lines that nobody asks for."""
    return (
        b"# HELP vllm:num_requests_running Number of requests in model execution batches.\n"
        b"# TYPE vllm:num_requests_running gauge\n"
        b'vllm:num_requests_running{model_name="m"} %d\n'
        b'vllm:num_requests_waiting{model_name="m"} 2\n'
        b'vllm:num_requests_waiting_by_reason{model_name="m",reason="capacity"} 77.0\n'
    ) % running


class Server:
    available = True

    def __init__(self):
        self.reads = 0

    async def read(self):
        self.reads += 1
        return PAGE % (self.reads, 10 * self.reads, self.reads)


async def test_it_ends_however_its_end_meets_its_waking():
    for rounds in range(200):
        server = Server()
        scraper = Scraper(server)
        task = asyncio.create_task(scraper.run())
        for _ in range(rounds % 5):
            await asyncio.sleep(0)
        scraper.at_once()
        if rounds % 2:
            await asyncio.sleep(0)
        scraper.stop()
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=600)
        assert done == {task}


async def test_gauges_are_of_the_window_and_counters_across_it(monkeypatch):
    from benchcore.observe import scraper as module

    instants = iter([100, 200, 300, 400, 500])
    monkeypatch.setattr(module.time, "perf_counter_ns", lambda: next(instants))
    scraper = Scraper(Server())
    for _ in range(5):
        await scraper.read()
    found = scraper.columns(200, 300)
    assert found["server_running_max"] == 3
    assert found["server_queue_seconds_avg"] == 10
    assert scraper.columns(310, 390)["server_running_max"] == -1
    assert scraper.columns(310, 390)["server_queue_seconds_avg"] == 10


# Over the wire.


@pytest.fixture
async def metrics():
    """Makes readers of a target's page, and closes them."""
    made = []

    def make(target):
        made.append(ServerMetrics(target))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def pages():
    """A server whose answers a test sets, one after the other."""
    answers, asked = [], []

    async def page(request):
        asked.append(request.headers.get("Authorization"))
        status, body = answers.pop(0)
        if status is None:  # it breaks off
            reply = web.StreamResponse(headers={"Content-Length": "1000"})
            await reply.prepare(request)
            await reply.write(body)
            request.transport.abort()
            return reply
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_get("/metrics", page)
    server = TestServer(app)
    await server.start_server()
    yield Target(str(server.make_url("/"))), answers, asked
    await server.close()


async def test_a_reading_keeps_the_lines_that_matter(pages, metrics):
    target, answers, asked = pages
    answers.append((200, page_of()))
    server = metrics(target.model_copy(update={"api_key": SecretStr("swordfish")}))
    assert server.available is None
    text = await server.read()
    assert parse(text) == parse(page_of())
    assert len(text) < len(page_of()) * 0.7
    assert (server.available, asked) == (True, ["Bearer swordfish"])


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"no"),
        (200, b"<html><body>metrics are 1</body></html>\n"),
        (200, page_of() * 60_000),
        (500, page_of()),
        (None, page_of()[:50]),
    ],
)
async def test_a_server_without_such_a_page_is_asked_once(pages, metrics, answer):
    target, answers, asked = pages
    answers.append(answer)
    server = metrics(target)
    assert await server.read() is None
    assert server.available is False
    assert await server.read() is None
    assert len(asked) == 1


async def test_a_server_that_is_not_known_is_read_again(pages, metrics):
    target, answers, asked = pages
    answers += [(200, b"go_goroutines 1\n"), (200, b"go_goroutines 2\n")]
    server = metrics(target)
    for value in (1, 2):
        assert await server.read() is None
        assert server.available is True
        assert server.reader.values == [value]
    assert len(asked) == 2


@pytest.mark.parametrize("answer", [(503, b"busy"), (None, b"vllm"), (200, b"")])
async def test_a_page_that_was_there_is_asked_again(pages, metrics, answer):
    target, answers, _ = pages
    answers += [(200, page_of()), answer, (200, page_of(running=8))]
    server = metrics(target)
    assert await server.read() is not None
    assert await server.read() is None
    assert server.available is True
    assert busy(parse(await server.read())) == 10


async def test_nobody_listening_is_no_page(metrics):
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        server = metrics(Target(f"http://127.0.0.1:{bound.getsockname()[1]}"))
        assert await server.read() is None
    assert server.available is False


async def test_a_page_behind_a_unix_socket(tmp_path, metrics):
    async def page(_request):
        return web.Response(body=page_of())

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app)
    await runner.setup()
    path = str(tmp_path / "s")
    await web.UnixSite(runner, path).start()
    try:
        server = metrics(Target(f"unix:{path}"))
        assert busy(parse(await server.read())) == 5
    finally:
        await runner.cleanup()


async def test_the_simulators_page_has_every_column_it_can_have(metrics):
    profile = SimProfile.named("fast", decode_base_seconds=0.001)
    runner, url = await start(SimOptions(profile=profile))
    try:
        server = metrics(Target(url))
        first = parse(await server.read())
        body = {"messages": [{"role": "user", "content": "say " * 50}], "max_tokens": 8}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{url}/v1/chat/completions", json=body) as reply,
        ):
            assert reply.status == 200
        last = parse(await server.read())
    finally:
        await runner.cleanup()
    assert server.block_tokens == profile.block_tokens == 16
    assert busy(first) == busy(last) == 0
    found = columns([first, last])
    assert found["server_preemptions"] == found["server_running_max"] == 0
    assert found["server_prefix_cache_hit_ratio"] == 0
    for name in ("queue", "prefill", "decode"):
        assert found[f"server_{name}_seconds_avg"] >= 0, name
    assert found["server_decode_seconds_avg"] > 0
    assert found["server_kv_cache_usage_max"] >= 0


@pytest.mark.parametrize(
    ("base", "location"),
    [("", "/metrics/"), ("", "{origin}/metrics/"), ("/gateway", "/gateway/metrics/")],
)
async def test_a_redirect_to_the_page_is_followed(metrics, base, location):
    async def away(request):
        origin = f"http://{request.host}"
        headers = {"Location": location.format(origin=origin)}
        return web.Response(status=307, headers=headers)

    async def page(_request):
        return web.Response(body=page_of())

    app = web.Application()
    app.router.add_get(f"{base}/metrics", away)
    app.router.add_get(f"{base}/metrics/", page)
    server = TestServer(app)
    await server.start_server()
    try:
        reader = metrics(Target(str(server.make_url(base or "/"))))
        assert busy(parse(await reader.read())) == 5
    finally:
        await server.close()


@pytest.mark.parametrize("location", ["/metrics", "http://elsewhere.invalid/metrics", ""])
async def test_a_redirect_that_leads_nowhere_is_no_page(metrics, location):
    async def away(_request):
        return web.Response(status=307, headers={"Location": location})

    app = web.Application()
    app.router.add_get("/metrics", away)
    server = TestServer(app)
    await server.start_server()
    try:
        reader = metrics(Target(str(server.make_url("/"))))
        assert await reader.read() is None
        assert reader.available is False
    finally:
        await server.close()


async def test_one_connection_serves_all_readings(metrics):
    connections = set()

    async def page(request):
        connections.add(request.transport.get_extra_info("peername"))
        return web.Response(body=page_of())

    app = web.Application()
    app.router.add_get("/metrics", page)
    server = TestServer(app)
    await server.start_server()
    try:
        reader = metrics(Target(str(server.make_url("/"))))
        for _ in range(3):
            assert await reader.read() is not None
    finally:
        await server.close()
    assert len(connections) == 1
