"""The checks as a stage of a scenario: what becomes of it where the server lets nobody check."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from benchcore.base.errors import TargetError
from benchcore.checks import subject as pace
from benchcore.config.scenario import RUN_TYPES, FunctionalSettings, Scenario
from benchcore.config.servers import Asking
from benchcore.scenario.quality_stages import FunctionalStage
from benchcore.scenario.stage import StageContext
from benchcore.sim.app import start
from tests.checks.conftest import options
from tests.proxy import proxied


@pytest.fixture
def stage_at(tmp_path):
    """A stage of the smoke checks and its context, with the lines that it tells."""

    def make(url, **settings):
        told = []
        target = {"id": "a", "model": "sim-1", "target": {"base_url": url}}
        context = StageContext(
            Scenario.model_validate(target),
            RUN_TYPES["pr"],
            tmp_path,
            tmp_path,
            tmp_path,
            "run",
            "2026-01-01T00:00:00Z",
            ["benchcore"],
            Asking(),
            base_url=url,
            environ={"BENCHCORE_API_KEY": "a-key"},
            tell=told.append,
        )
        stage = FunctionalStage(FunctionalSettings.model_validate({"suite": False, **settings}))
        return stage, context, told

    return make


def refusing(status):
    def refuse(request, _body):
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "sim-1"}]})
        error = {"error": {"message": "not today"}}
        return web.json_response(error, status=status, headers={"Retry-After": "0"})

    return refuse


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (429, "answers nothing: a first request was put off with status 429 in each of 5 tries"),
        (500, r"answers nothing but 5xx \(status 500"),
    ],
)
async def test_a_server_that_answers_nothing_fails_the_stage_and_skips_its_checks(
    stage_at, tmp_path, status, says
):
    async with proxied("http://127.0.0.1:1", refusing(status)) as url:
        stage, context, _ = stage_at(url)
        with pytest.raises(TargetError, match=says):
            await stage.run(context)
    assert (stage.facts["status"], stage.facts["total"], stage.facts["skip"]) == ("failed", 4, 4)
    assert (stage.facts["pass"], stage.facts["pass_ratio"]) == (0, None)
    summary = json.loads((tmp_path / "functional.json").read_bytes())["summary"]
    assert (summary["status"], summary["skip"]) == ("failed", 4)


@pytest.mark.parametrize("judges", [True, False], ids=["models_alone", "nothing"])
async def test_checks_that_are_put_off_are_told_and_fail_the_stage_only_where_none_is_judged(
    stage_at, monkeypatch, judges
):
    monkeypatch.setattr(pace, "_LARGEST_GAP", 0.01)
    runner, upstream = await start(options())
    busy = []

    def refuse(request, body):
        # The last of the probes before the checks asks for models without a key.
        if "authorization" not in request.headers:
            busy.append(request.path)
        if not busy or (judges and request.method == "GET"):
            return None
        error = {"error": {"message": "not today"}}
        return web.json_response(error, status=429, headers={"Retry-After": "0"})

    try:
        async with proxied(upstream, refuse) as url:
            stage, context, told = stage_at(url, concurrency=1)
            if judges:
                await stage.run(context)
            else:
                with pytest.raises(TargetError) as caught:
                    await stage.run(context)
                assert str(caught.value).startswith(
                    "not one check could be judged: 4 were put off with status 429 in each of "
                )
                assert str(caught.value).endswith(": not today")
    finally:
        await runner.cleanup()
    passed, put_off = (1, 3) if judges else (0, 4)
    assert (stage.facts["pass"], stage.facts["unsettled"]) == (passed, put_off)
    assert stage.facts["fail"] == stage.facts["error"] == 0
    line = f"{put_off} checks are unsettled: the server put them off with 429 each time"
    assert (line in told) is judges
