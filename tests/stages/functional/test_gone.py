"""Servers that go, or answer nothing but 5xx: nothing of that is a pass."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchcore import SimOptions, SimProfile, Target
from benchcore.config.functional import FunctionalConfig
from benchcore.errors import BenchcoreError, TargetError
from benchcore.metrics.functional import Verdict
from benchcore.report.functional import render_functional
from benchcore.sim.server import start
from benchcore.stages.functional.catalogue import installed_suites, select
from benchcore.stages.functional.functional import Functional

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
    config = FunctionalConfig.model_validate({"seconds": 20, "burst": 40, **fields})
    return Functional(Target(base_url, model=model), checks, config, on_result=on_result)


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
    assert stage.report.status == "failed"
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
    assert report.status == "failed"
    assert report.count(Verdict.ERROR) >= 1
    assert report.passed >= 1
    assert not report.ok
    assert "the server had gone" in render_functional(report, color=False)
