"""Servers that go, or answer nothing but 5xx: nothing of that is a pass."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchcore import Client, SimOptions, SimProfile, Target
from benchcore.base.errors import BenchcoreError, TargetError
from benchcore.checks import run
from benchcore.checks.answers import CheckFailedError
from benchcore.checks.attempt import Attempt
from benchcore.checks.catalogue import installed_suites, select
from benchcore.checks.run import Functional
from benchcore.checks.subject import UNKNOWN, Subject
from benchcore.config.checks import FunctionalConfig
from benchcore.publish.junit import write_functional
from benchcore.runs.checks import Verdict
from benchcore.show.text import render_functional
from benchcore.sim.app import start

NEVER_A_PASS = (Verdict.PASS, Verdict.FLAKY)


@asynccontextmanager
async def served(handler):
    """A server with one handler for every path, and its address."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}", runner
    finally:
        await runner.cleanup()


def machine(base_url, *, model=None, on_result=lambda result: None, **fields):
    suites = installed_suites()
    checks = select([suites["smoke"], suites["errors"]])
    config = FunctionalConfig.model_validate({"seconds": 300, "burst": 40, **fields})
    return Functional(Target(base_url, model=model), checks, config, on_result=on_result)


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch):
    """Whether a server is there is asked as often as ever, without the seconds between."""
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.01)


@pytest.mark.parametrize("status", [500, 502])
async def test_a_proxy_that_answers_5xx_to_everything_lets_no_check_pass(status):
    async def handler(request):
        await request.read()
        return web.Response(status=status, text="upstream is down")

    async with served(handler) as (base_url, _):
        stage = machine(base_url, model="m")
        with pytest.raises(BenchcoreError) as caught:
            await stage()
    assert caught.value.exit_code == 3
    assert stage.report.summary.status == "failed"
    assert stage.report.count(*NEVER_A_PASS, Verdict.FAIL) == 0


async def test_a_server_that_goes_in_mid_run_ends_the_run_and_what_was_found_is_kept():
    options = SimOptions(profile=SimProfile.named("fast"))
    runner, base_url = await start(options)
    closing = []

    def close(result):
        if result.verdict is Verdict.PASS and not closing:
            closing.append(asyncio.ensure_future(runner.cleanup()))

    stage = machine(base_url, on_result=close, concurrency=1)
    try:
        with pytest.raises(TargetError, match="does not answer"):
            await stage()
    finally:
        await asyncio.gather(*closing)
    report = stage.report
    assert report.summary.status == "failed"
    assert report.count(Verdict.ERROR) >= 1
    assert report.passed >= 1
    assert not report.ok
    assert "the server had gone" in render_functional(report, color=False)


async def test_a_server_whose_answers_cannot_be_read_is_told_as_such():
    async def handler(request):
        await request.read()
        return web.Response(body=b"\x1f\x8b", headers={"content-encoding": "gzip"})

    async with served(handler) as (base_url, _):
        stage = machine(base_url, model="m")
        with pytest.raises(TargetError) as caught:
            await stage()
    assert str(caught.value).startswith(f"{base_url} gives no whole answer (protocol_error: ")
    assert stage.report.summary.status == "failed"


@pytest.mark.parametrize("whole", [True, False])
async def test_only_a_whole_answer_is_taken_apart(whole):
    async def handler(request):
        await request.read()
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        answer.content_length = len(STREAM) + (not whole)
        await answer.prepare(request)
        await answer.write(STREAM)
        request.transport.close()
        return answer

    async with served(handler) as (base_url, _), Client(Target(base_url, model="m")) as client:
        trial = Attempt(Subject(client, "m", UNKNOWN))
        if whole:
            stream = await trial.post_stream("/v1/chat/completions", {})
            assert [event.data for event in stream.events] == [b'{"a":1}', b"[DONE]"]
            assert stream.chunks == [{"a": 1}]
            return
        with pytest.raises(CheckFailedError) as caught:
            await trial.post_stream("/v1/chat/completions", {})
    (stream,) = trial.exchanges
    assert caught.value.got.startswith("truncated: ")
    # It stands in the evidence as it came, and nobody reads its events.
    assert (stream.body, stream.events, stream.chunks) == (STREAM, [], [])


STREAM = b': a comment\n\ndata: {"a":1}\n\ndata: [DONE]\n\n'
RAW = "\x1b]0;pwned\x07\x1b[2J\u202e\x85\x7f =cmd|calc <script>alert(1)</script>"


async def test_what_a_server_says_stands_in_no_file_as_it_came(tmp_path):
    asked = []

    async def handler(request):
        await request.read()
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        asked.append(request.path)
        if len(asked) < 3:
            choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": RAW}
            return web.json_response({"id": RAW, "choices": [choice]})
        if len(asked) % 2:
            return web.Response(status=418, text=RAW)
        return web.json_response({"error": {"message": RAW, "code": RAW}}, status=409)

    async with served(handler) as (base_url, _):
        stage = machine(base_url, model="m")
        report = await stage()
    write_functional(tmp_path, report)
    assert report.count(Verdict.FAIL) > 5
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(written) == {"functional.json", "functional.prom", "junit.xml"}
    for name, text in written.items():
        assert "pwned" in text or name == "functional.prom"
        raw = {char for char in text if not (char.isprintable() or char in "\n\t")}
        assert raw == set(), name
