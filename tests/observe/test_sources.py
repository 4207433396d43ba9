"""The pages of a run: which are read, what they are called, and who is shown a key."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from benchcore.base.errors import TargetError
from benchcore.config.servers import ScenarioTarget
from benchcore.config.target import Target
from benchcore.observe.sources import MetricsSources

PAGE = b"x 1\n"


@pytest.fixture
async def server():
    """Makes servers that note who asks for what."""
    made = []

    async def make(page=PAGE):
        asked = []

        async def answer(request):
            asked.append((request.path_qs, request.headers.get("Authorization")))
            return web.Response(body=page)

        app = web.Application()
        app.router.add_get("/{tail:.*}", answer)
        running = TestServer(app)
        await running.start_server()
        made.append(running)
        return str(running.make_url("")).rstrip("/"), asked

    yield make
    for running in made:
        await running.close()


def target(url, *pages):
    return Target(url, api_key=SecretStr("swordfish"), headers={"X-Team": "a"}, metrics_urls=pages)


async def test_a_key_goes_to_the_server_under_test_alone(server):
    (own, asked_own), (other, asked_other) = await server(), await server()
    pages = f"{own}/more?x=1", other, f"{other}/gpu/metrics"
    async with MetricsSources(target(f"{own}/v1", *pages)) as sources:
        await sources.read_others()
        await sources.target.read()
    assert asked_own == [("/more?x=1", "Bearer swordfish"), ("/metrics", "Bearer swordfish")]
    assert sorted(asked_other) == [("/gpu/metrics", None), ("/metrics", None)]


async def test_sources_are_called_by_their_addresses(server):
    (own, _), (other, _) = await server(), await server()
    pages = other, f"{own}/metrics", f"{other}/gpu?token=secret", f"{other}/gpu?token=other", other
    async with MetricsSources(target(own, *pages)) as sources:
        assert [source.source for source in sources.all] == [
            own,
            other,
            f"{other}/gpu",
            f"{other}/gpu #2",
        ]


async def test_what_is_new_on_a_page_is_told_with_the_time_of_day(server):
    own, _ = await server(b"x 1\ny 2\n")
    told = []

    def take(page, seconds):
        told.append((page.source, [change.text for change in page.changes], seconds, page.at_ns))

    sources = MetricsSources(target(own), take, unix_ns=lambda: 10**18, monotonic_ns=lambda: 10**9)
    async with sources:
        await sources.target.read()
        await sources.target.read()
    ((name, first, seconds, at_ns), (_, second, _, _)) = told
    assert (name, first, second) == (own, ["1", "2"], [])
    assert seconds == pytest.approx((10**18 - 10**9 + at_ns) / 1e9)


@pytest.mark.parametrize("page", [b"", b"<html></html>", b'[{"iter": 1}]'])
async def test_a_named_page_without_metrics_is_refused(server, page):
    (own, _), (other, _) = await server(), await server(page)
    async with MetricsSources(target(own, other)) as sources:
        with pytest.raises(TargetError, match="answers 200, and no metrics in Prometheus's format"):
            await sources.read_others()


async def test_a_scenario_names_pages_too():
    asking = ScenarioTarget(base_url="http://a", metrics_urls=("http://b/metrics",))
    assert asking.target("http://a", model="m", key=None).metrics_urls == ("http://b/metrics",)
