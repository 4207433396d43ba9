"""What is found out before any load: where the API is, what it takes, which model it has."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from aiohttp import web

import benchcore
from benchcore.base.errors import TargetError
from benchcore.client.client import Client
from benchcore.client.request import Prompt
from benchcore.climbs import probe, watch
from benchcore.climbs.climb import TARGET_GONE
from benchcore.climbs.probe import RefusedError, find_model, try_prompt
from benchcore.config.target import Target

TINY = {"input_tokens": 4, "output_tokens": 3, "seed": 1}


class Habits:
    """A small server; `models` and `refuse` say what it does."""

    def __init__(self):
        self.root = "/v1"
        self.models = lambda: web.json_response({"data": [{"id": "m", "max_model_len": 99}]})
        self.refuse = lambda _body: None
        self.bodies = []
        self.asked = []

    async def handle(self, request):
        self.asked.append(f"{request.method} {request.path_qs}")
        if request.path == f"{self.root}/models":
            return self.models()
        if request.path != f"{self.root}/chat/completions":
            return web.json_response({"error": "Not Found", "path": request.path}, status=404)
        body = await request.json()
        self.bodies.append(body)
        refusal = self.refuse(body)
        if refusal is not None:
            return refusal
        count = body.get("max_tokens") or body.get("max_completion_tokens") or 2
        events = [{"choices": [{"index": 0, "delta": {"content": "x "}}]}] * count
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        return web.Response(
            text="".join([*lines, "data: [DONE]\n\n"]),
            headers={"content-type": "text/event-stream"},
        )


@pytest.fixture
async def habits():
    made = Habits()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    made.stop = runner.cleanup
    yield made
    await runner.cleanup()


async def found(url, **target):
    async with Client(Target(url, **target)) as client:
        return await find_model(client), client.target


def refusal(text, status=400, **fields):
    return web.json_response({"error": {"message": text, **fields}}, status=status)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (lambda: web.Response(status=401), "http_error 401"),
        (lambda: web.Response(status=403, text="no"), "http_error 403: no"),
        (lambda: web.Response(status=404), "http_error 404"),
        (lambda: web.Response(status=500, text="boom"), "http_error 500: boom"),
        (lambda: web.json_response({"data": []}), "it lists none"),
        (lambda: web.Response(text="<html><title>hi</title>"), "the answer is not JSON"),
        (lambda: web.json_response([1]), "it lists none"),
        (
            lambda: web.Response(body=b"\x1f\x8b", headers={"content-encoding": "gzip"}),
            "compressed (gzip)",
        ),
        (lambda: web.json_response({"data": [{"id": "other"}]}), "does not list 'm:nitro'"),
    ],
)
async def test_whatever_the_list_of_models_says_is_a_note_where_a_model_is_named(
    habits, models, says
):
    habits.models = models
    run = await benchcore.climb(
        Target(habits.url, model="m:nitro"),
        concurrency=[1],
        requests=3,
        idle_seconds=0,
        workload=benchcore.Synthetic(**TINY),
    )
    assert run.levels[0].ok == 3
    assert {body["model"] for body in habits.bodies} == {"m:nitro"}
    assert says in run.to_json()["target"]["probe"]["notes"][0]


async def test_a_list_of_models_that_never_comes_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(probe, "LISTING_SECONDS", 0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        model, _ = await found(url, model="m")
        (note,) = model.notes
        assert note.startswith("/v1/models listed nothing (timeout: no answer within 0.05 s): 'm' ")
        with pytest.raises(TargetError, match="does not name a model"):
            await found(url)


async def test_without_a_model_the_list_must_name_one(habits):
    habits.models = lambda: web.Response(status=401)
    with pytest.raises(RefusedError, match="refuses the key"):
        await found(habits.url)
    habits.models = lambda: web.Response(status=404)
    with pytest.raises(TargetError, match=f"{habits.url}/v1/models does not name a model"):
        await found(habits.url)


async def test_the_context_is_that_of_the_model_asked_for(habits):
    model, _ = await found(habits.url)
    assert (model.model, model.max_model_len) == ("m", 99)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    ("root", "given"),
    [("/api", "/api"), ("", ""), ("/deep/api", "/deep/api/"), ("/api/v3/v1", "/api/v3")],
)
async def test_an_api_that_lies_without_a_version_or_below_one_is_found(
    habits, root, given, listed
):
    habits.root = root
    if not listed:
        habits.models = lambda: web.Response(status=404)
    async with Client(Target(habits.url + given, model="m")) as client:
        model = await find_model(client)
        await try_prompt(client, Prompt("hi", output_tokens=2), model)
        assert f"the API is at {habits.url}{root}" in model.notes
        assert habits.asked[-1] == f"POST {root}/chat/completions"


async def test_a_404_says_what_was_asked(habits):
    habits.root = "/elsewhere"
    async with Client(Target(habits.url, model="m")) as client:
        with pytest.raises(TargetError) as caught:
            await try_prompt(client, Prompt("hi"), await find_model(client))
    assert f"(POST {habits.url}/v1/chat/completions) ended as http_error 404" in str(caught.value)
    assert "--path" in str(caught.value)


async def test_what_the_server_takes_is_found_out_once_and_kept(habits):
    def refuse(body):
        if "stream_options" in body:
            return refusal("Unrecognized request argument supplied: stream_options")
        if "max_tokens" in body:
            return refusal("Use 'max_completion_tokens' instead.", param="max_tokens")
        return None

    habits.refuse = refuse
    run = await benchcore.climb(
        Target(habits.url),
        concurrency=[2],
        requests=6,
        idle_seconds=0,
        workload=benchcore.Synthetic(**TINY),
    )
    assert run.levels[0].outcomes == {"ok": 6}
    assert [record.asked_output_tokens for record in run.levels[0].records] == [3] * 6
    facts = run.to_json()["target"]
    assert facts["omit"] == ["stream_options"]
    assert facts["rename"] == {"max_tokens": "max_completion_tokens"}
    lines = facts["probe"]["notes"]
    assert any("--omit stream_options" in line for line in lines)
    assert any("--rename max_tokens=max_completion_tokens" in line for line in lines)
    refused = [body for body in habits.bodies if "stream_options" in body or "max_tokens" in body]
    assert len(refused) == 2


async def test_what_was_asked_is_read_from_the_body(habits):
    run = await benchcore.climb(
        Target(habits.url, extra_body={"max_tokens": 5, "model": "n"}),
        concurrency=[1],
        requests=3,
        idle_seconds=0,
        workload=benchcore.Synthetic(**TINY),
    )
    assert run.to_json()["workload"]["output_tokens"] == "5"
    assert run.to_json()["workload"]["output_tokens_by"] == "extra_body"
    assert run.to_json()["target"]["model"] == "n"
    assert [record.asked_output_tokens for record in run.levels[0].records] == [5] * 3


async def test_a_server_that_refuses_everything_is_told_with_its_status_and_advice(habits):
    habits.refuse = lambda _body: web.Response(status=429)
    async with Client(Target(habits.url)) as client:
        with pytest.raises(TargetError, match=r'http_error 429 "Too Many Requests".*advice'):
            await try_prompt(client, Prompt("hi"), await find_model(client))


async def test_a_target_that_goes_in_a_level_ends_it_and_the_climb(habits, monkeypatch):
    monkeypatch.setattr(watch, "GONE_PAUSE_SECONDS", 0.01)

    def leave(_body):
        if len(habits.bodies) == 30:
            habits.leaving = asyncio.ensure_future(habits.stop())

    habits.refuse = leave
    run = await benchcore.climb(
        Target(habits.url),
        concurrency=[4, 8],
        duration_seconds=600,
        idle_seconds=0,
        workload=benchcore.Synthetic(**TINY),
    )
    assert (run.status, run.stopped) == ("failed", TARGET_GONE)
    assert "has gone in c4" in run.error
    (level,) = run.levels
    assert level.interrupted
    assert level.ok >= 10
    assert level.findings[0].startswith("target_gone: ")


async def test_a_target_that_goes_at_the_end_of_a_level_ends_the_climb(habits, monkeypatch):
    # The level is over before enough of its requests have found nobody.
    monkeypatch.setattr(watch, "GONE_PAUSE_SECONDS", 0.01)

    def leave(_body):
        if len(habits.bodies) == 8:
            habits.leaving = asyncio.ensure_future(habits.stop())

    habits.refuse = leave
    run = await benchcore.climb(
        Target(habits.url),
        concurrency=[1, 2],
        requests=8,
        idle_seconds=0,
        workload=benchcore.Synthetic(**TINY),
    )
    assert (run.status, run.stopped) == ("failed", TARGET_GONE)
    assert "has gone in c1" in run.error
    (level,) = run.levels
    assert 0 < level.failed < watch.GONE_ERRORS


async def test_a_server_on_the_other_family_of_localhost_is_found():
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6")
    answer = b'HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n{"data": [{"id":"m"}]}'

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Client(Target(f"http://localhost:{port}")) as client:
        client.connector.addresses = [
            one for one in client.connector.addresses if one[0] != socket.AF_INET6
        ] + [(socket.AF_INET6, ("::1", port, 0, 0))]
        assert (await find_model(client)).model == "m"
        assert client.connector.addresses[0][0] is socket.AF_INET6
    server.close()


async def test_localhost_has_both_families_whatever_the_names_say(monkeypatch):
    async with Client(Target("http://localhost:9")) as client:
        assert {family for family, _ in client.connector.addresses} == {
            socket.AF_INET,
            socket.AF_INET6,
        }


async def test_a_name_that_is_not_known_behind_a_proxy_says_that_proxies_are_passed_by(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    with pytest.raises(TargetError, match="HTTP_PROXY is set and passed by on purpose"):
        await found("http://no-such-host.invalid")
