"""Streams that something between holds back: lumps are no stream, at a real socket."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from aiohttp import web

from benchcore import Target
from benchcore.checks.catalogue import installed_suites, select
from benchcore.checks.run import Functional
from benchcore.checks.suites import streams
from benchcore.config.checks import FunctionalConfig
from benchcore.runs.checks import Verdict
from tests.checks.test_gone import served

EVENTS = 60
GAP = 0.005


def event(content, finish=None):
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'x', 'choices': [choice]})}\n\n".encode()


def server_that_writes(lumps, *first):
    """A server whose answers come as so many events at a time, evenly spread over their time.

    Args:
        lumps: how many at a time.
        *first: the same for the first answers, where those are others.
    """
    answers = itertools.chain(first, itertools.repeat(lumps))

    async def handle(request):
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        if request.method != "POST":
            return web.Response(status=404)
        body = json.loads(await request.read())
        if not body.get("stream"):
            choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}
            return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice]})
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        # What finds out about the server is no answer to the check.
        for count in next(answers) if "story" in str(body["messages"]) else lumps:
            await asyncio.sleep(count * GAP)
            await answer.write(event("word ") * count)
        await answer.write(event("", "stop") + b"data: [DONE]\n\n")
        await answer.write_eof()
        return answer

    return handle


async def judged(handle):
    """Return what the check makes of a server."""
    checks = select(installed_suites().values(), cases=["sse.spread_in_time"])
    async with served(handle) as (url, _):
        stage = Functional(Target(url), checks, FunctionalConfig(seconds=300))
        (result,) = (await stage()).results
    return result


@pytest.mark.parametrize(
    ("lumps", "verdict", "says"),
    [
        ([1] * EVENTS, Verdict.PASS, ""),
        ([4] * (EVENTS // 4), Verdict.PASS, ""),
        ([EVENTS // 2] * 2, Verdict.FAIL, "60 pieces of text in 2 reads"),
        ([1, EVENTS - 1], Verdict.FAIL, "60 pieces of text in 2 reads: 59 of them in one tenth"),
        ([20, 20, 20], Verdict.FAIL, "60 pieces of text in 3 reads"),
        ([EVENTS], Verdict.FAIL, "the first piece of text after"),
    ],
    ids=["each", "fours", "halves", "one_first", "thirds", "all_at_once"],
)
async def test_a_stream_is_judged_by_its_lumps(lumps, verdict, says):
    result = await judged(server_that_writes(lumps))
    if verdict is Verdict.PASS:
        # A machine that is busy with other things may hold back a try, but not three.
        assert result.verdict in (Verdict.PASS, Verdict.FLAKY)
    else:
        assert result.verdict is Verdict.FAIL
        assert result.reason == "passed none of 3 tries"
        assert result.got.startswith(says)


async def test_an_answer_that_came_in_lumps_is_asked_for_again(monkeypatch):
    """A busy machine makes lumps of some answers, what buffers makes lumps of all."""
    monkeypatch.setattr(streams, "_ENOUGH_NS", 10**12)
    result = await judged(server_that_writes([1] * EVENTS, *[[12]] * 5))
    assert (result.verdict, result.tries) == (Verdict.PASS, 1)


async def test_lumps_over_a_longer_time_are_not_asked_for_again(monkeypatch):
    monkeypatch.setattr(streams, "_ENOUGH_NS", 0)
    # A fourth answer would be a good one.
    result = await judged(server_that_writes([1] * EVENTS, *[[12]] * 3))
    assert (result.verdict, result.tries) == (Verdict.FAIL, 3)
