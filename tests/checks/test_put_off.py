"""Servers that put requests off: verdicts are of the server, never of its limiter."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from benchcore import Target
from benchcore.base.errors import TargetError, VerdictError
from benchcore.checks import run
from benchcore.checks import subject as pace
from benchcore.checks.catalogue import installed_suites, select
from benchcore.checks.run import Functional, check_verdicts
from benchcore.checks.subject import Pace, Subject
from benchcore.runs.checks import CheckResult, Verdict
from benchcore.sim.app import start
from tests.checks.conftest import EXPIRED, KEY, config, options
from tests.proxy import Limiter, proxied
from tests.run_folders import ended_checks

CASES = ("smoke.*", "errors.*", "usage.*", "sse.one_done", "sse.content_type", "auth.*")


class Clock:
    """Seconds that pass only while somebody waits, and then at once."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return self.seconds

    async def sleep(self, seconds):
        until = self.seconds + seconds
        await asyncio.sleep(0)
        self.seconds = max(self.seconds, until)


@pytest.fixture
def clock(monkeypatch):
    """The clock that checks keep their pace by."""
    clock = Clock()

    def subject(*args, **fields):
        return Subject(*args, pace=Pace(clock.now, clock.sleep), **fields)

    monkeypatch.setattr(run, "Subject", subject)
    return clock


def nothing(_request, _body):
    return None


async def verdicts(url, **fields):
    checks = select(installed_suites().values(), cases=CASES)
    stage = Functional(
        Target(url, api_key=KEY), checks, config(burst=0, **fields), expired_key=EXPIRED
    )
    report = await stage()
    return {one.case_id: (one.verdict, one.expected, one.got) for one in report.results}


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}], ids=["bare", "retry_after"])
@pytest.mark.parametrize("breaks", [(), ("sse.one_done",)], ids=["well", "broken"])
async def test_behind_a_limiter_of_8_a_second_the_verdicts_are_those_without_it(
    clock, headers, breaks
):
    runner, upstream = await start(options(*breaks))
    limiter = Limiter(8, headers, clock.now)
    try:
        async with proxied(upstream, nothing) as url:
            free = await verdicts(url)
        assert clock.seconds == 0
        async with proxied(upstream, limiter) as url:
            limited = await verdicts(url)
    finally:
        await runner.cleanup()
    assert limited == free
    assert limiter.refused > 0
    assert limiter.passed > 20
    assert clock.seconds >= limiter.passed / 8 - 1
    judged = {verdict for verdict, _, _ in free.values()}
    assert judged & {Verdict.PASS, Verdict.FAIL} == (
        {Verdict.PASS, Verdict.FAIL} if breaks else {Verdict.PASS}
    )


async def test_a_server_that_puts_off_all_but_its_list_of_models_is_told_before_any_check():
    asked = []

    def refuse(request, _body):
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        asked.append(request.path)
        error = {"error": {"message": "the quota of today is used up"}}
        return web.json_response(error, status=429, headers={"Retry-After": "0"})

    async with proxied("http://127.0.0.1:1", refuse) as url:
        stage = Functional(Target(url), select(installed_suites().values(), cases=CASES), config())
        with pytest.raises(TargetError) as caught:
            await stage()
    assert str(caught.value) == (
        f"{url} answers nothing: a first request was put off with status 429 in each of 5 tries: "
        "the quota of today is used up; is its rate limit used up? Try again later"
    )
    assert asked == ["/v1/chat/completions"] * 6
    assert stage.report.summary.status == "failed"
    assert stage.report.count(Verdict.SKIP) == len(stage.report.results)


async def test_a_server_that_begins_to_put_everything_off_leaves_the_rest_unsettled(monkeypatch):
    monkeypatch.setattr(pace, "_LARGEST_GAP", 0.01)
    runner, upstream = await start(options())
    passed = []

    def refuse(request, _body):
        if request.path.endswith("completions") and len(passed) > 40:
            error = {"error": {"message": "no more"}}
            return web.json_response(error, status=429, headers={"Retry-After": "0"})
        passed.append(request.path)
        return None

    try:
        async with proxied(upstream, refuse) as url:
            found = await verdicts(url, concurrency=1)
    finally:
        await runner.cleanup()
    counts = [verdict for verdict, _, _ in found.values()]
    assert counts.count(Verdict.UNSETTLED) > 5
    assert counts.count(Verdict.PASS) > 5
    assert counts.count(Verdict.FAIL) == 0


def report_of(*verdicts):
    results = [
        CheckResult.begun(f"a.c{n}", "a", "t", verdict=verdict, reason=f"{verdict}, said {n}")
        for n, verdict in enumerate(verdicts)
    ]
    return ended_checks(results)


def test_a_report_is_held_to_a_pass_and_no_failure():
    check_verdicts(report_of(Verdict.PASS, Verdict.UNSETTLED, Verdict.SKIP))
    check_verdicts(report_of(Verdict.FLAKY))
    with pytest.raises(VerdictError, match=r"^2 of 3 checks failed: a\.c0, a\.c2$"):
        check_verdicts(report_of(Verdict.FAIL, Verdict.UNSETTLED, Verdict.FAIL))
    with pytest.raises(
        TargetError, match=r"^not one check could be judged: 2 were unsettled, said 1"
    ):
        check_verdicts(report_of(Verdict.SKIP, Verdict.UNSETTLED, Verdict.UNSETTLED))
    with pytest.raises(VerdictError, match=r"^not one check passed: there was nothing to judge$"):
        check_verdicts(report_of(Verdict.SKIP, Verdict.UNSUPPORTED))
