"""`/tokenize` behind a proxy that takes no long texts: an estimate, and no end of the run."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

import benchcore
from benchcore import Target
from benchcore.client.client import Client
from benchcore.climbs.probe import ServerCounter
from benchcore.workload.synthetic import Synthetic
from tests.proxy import proxied

LIMIT = 600


def too_large(request, body):
    if request.path == "/tokenize" and len(body) > LIMIT:
        return web.Response(status=413, text="<html><title>413 Too Large</title></html>")
    return None


async def test_a_text_that_is_refused_is_estimated_by_the_rate_of_those_before(simulator):
    async with (
        proxied(simulator.base_url, too_large) as url,
        Client(Target(url, model="sim-1")) as client,
        Client(Target(simulator.base_url, model="sim-1")) as free,
    ):
        counter, exact = ServerCounter(client, "sim-1"), ServerCounter(free, "sim-1")
        short, long = "one two three four ", "one two three four " * 100
        counted = await counter.count(short)
        assert (counted, counter.exact) == (await exact.count(short), True)
        assert await counter.count(long) == round(len(long) * counted / len(short))
        assert (counter.exact, exact.exact) == (False, True)
        # What is short enough is counted as before.
        assert await counter.count(short) == counted


async def test_without_a_text_before_it_the_estimate_is_a_token_for_four_characters(simulator):
    async with (
        proxied(simulator.base_url, too_large) as url,
        Client(Target(url, model="sim-1")) as client,
    ):
        counter = ServerCounter(client, "sim-1")
        assert await counter.count("abcd" * 1000) == 1000


@pytest.mark.integration
async def test_a_climb_goes_on_and_says_that_lengths_are_estimated(simulator, tmp_path):
    async with proxied(simulator.base_url, too_large) as url:
        run = await benchcore.climb(
            url,
            workload=Synthetic(input_tokens=800, output_tokens=4, seed=1),
            concurrency=[2],
            requests=20,
            output=tmp_path,
        )
    (level,) = run.levels
    assert (level.ok, level.failed) == (20, 0)
    lengths = json.loads((run.folder / "run.json").read_bytes())["workload"]["lengths"]
    assert lengths["fit"] != "exact"
