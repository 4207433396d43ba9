"""What the server has: how it says so, and that no answer stops the checks."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from benchcore import Client, Target
from benchcore.checks.attempt import REFUSALS
from benchcore.checks.probing import PROBES, probe
from benchcore.checks.subject import UNKNOWN, Subject
from benchcore.sim.app import start
from tests.checks.conftest import KEY, options


@pytest.fixture
async def refusing():
    """Starts a server that has plain chats, and refuses all else with this status."""
    runners = []

    async def serve(status):
        async def answer(request):
            body = json.loads(await request.read() or b"{}")
            known = request.path == "/v1/chat/completions" and "stream_options" not in body
            message = {"role": "assistant", "content": "zephyr"}
            if known:
                return web.json_response({"choices": [{"index": 0, "message": message}]})
            return web.json_response({"error": {"message": "no such thing"}}, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize("status", sorted(REFUSALS))
async def test_what_is_refused_is_not_there(refusing, status):
    async with Client(Target(await refusing(status))) as client:
        found = await probe(Subject(client, "m", UNKNOWN))
    assert list(found) == list(PROBES)
    usage = found["usage_in_stream"]
    assert usage.available is False
    assert usage.how == f"stream_options is refused: {status}, no such thing"


async def test_what_fails_is_unknown(refusing):
    async with Client(Target(await refusing(500))) as client:
        found = await probe(Subject(client, "m", UNKNOWN))
    assert found["usage_in_stream"].available is None
    assert found["instructions"].available is True


async def test_the_simulator_has_them_all():
    runner, base_url = await start(options())
    try:
        async with Client(Target(base_url, api_key=KEY)) as client:
            found = await probe(Subject(client, "sim-1", UNKNOWN))
    finally:
        await runner.cleanup()
    assert {name for name, one in found.items() if one.available is not True} == set()
