"""When a server counts as up, and when waiting is given up."""

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from benchcore.config.scenario import Health
from benchcore.config.target import Target
from benchcore.errors import TargetError
from benchcore.launch.health import Waiting, pauses, wait_until_up


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []

    def waiting(self):
        return Waiting(lambda: self.now, self.sleep, lambda: 1.0)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
async def server():
    """A server whose answers are scripted, path by path; the last one goes on."""
    asked, answers = [], {}

    async def answer(request):
        asked.append(request.path)
        found = answers.get(request.path, [404])
        return web.Response(status=found.pop(0) if len(found) > 1 else found[0])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    class Server:
        target = Target(f"http://127.0.0.1:{port}")

    Server.asked, Server.answers = asked, answers
    yield Server
    await runner.cleanup()


def asking(*answers):
    """A real request that ends in these ways, one after the other."""
    left = list(answers)

    async def request():
        return left.pop(0) if left else None

    return request


async def test_health_and_then_one_request(server):
    clock = Clock()
    server.answers["/health"] = [503, 503, 200]
    found = await wait_until_up(
        server.target, Health(), asking("loading", "loading", None), waiting=clock.waiting()
    )
    assert server.asked == ["/health"] * 5
    assert found == {"seconds": round(sum(clock.slept), 3), "tries": 5}
    assert clock.slept == pytest.approx([0.1, 0.15, 0.225, 0.3375])


async def test_a_server_without_a_health_endpoint_is_asked_for_its_models(server):
    server.answers["/v1/models"] = [503, 200]
    await wait_until_up(server.target, Health(), asking(), waiting=Clock().waiting())
    assert server.asked == ["/health", "/v1/models"] * 2


async def test_without_the_request_health_is_enough(server):
    server.answers["/up"] = [200]
    health = Health(path="/up", request=False)
    await wait_until_up(server.target, health, asking("never"), waiting=Clock().waiting())
    assert server.asked == ["/up"]


async def test_it_is_given_up_at_the_limit_with_the_last_reason(server):
    clock = Clock()
    server.answers["/health"] = [503]
    with pytest.raises(TargetError) as told:
        await wait_until_up(
            server.target, Health(limit_seconds=60), asking(), waiting=clock.waiting()
        )
    assert str(told.value) == f"{server.target.base_url}: not up after 60 s: /health answers 503"
    assert clock.now == pytest.approx(60)
    assert max(clock.slept) <= 10


async def test_a_key_that_is_refused_is_not_waited_for(server):
    server.answers["/health"] = [401]
    with pytest.raises(TargetError, match="/health answers 401: the key is missing or not taken"):
        await wait_until_up(server.target, Health(), asking(), waiting=Clock().waiting())


async def test_a_server_that_is_gone_is_not_waited_for():
    ways = iter([None, None, "it ended with status 1"])
    clock = Clock()
    with pytest.raises(TargetError, match="the server is gone: it ended with status 1"):
        await wait_until_up(
            Target("http://127.0.0.1:1"),
            Health(),
            asking(),
            ended=lambda: next(ways),
            waiting=clock.waiting(),
        )
    assert len(clock.slept) == 2


async def test_people_are_told_now_and_then(server):
    told = []
    server.answers["/health"] = [503]
    with pytest.raises(TargetError):
        await wait_until_up(
            server.target,
            Health(limit_seconds=60),
            asking(),
            tell=told.append,
            waiting=Clock().waiting(),
        )
    assert 3 <= len(told) <= 4
    assert all(line.endswith(": /health answers 503") for line in told)


async def test_what_is_loading_gives_the_servers_own_words(server):
    server.answers["/health"] = [200]
    clock = Clock()
    with pytest.raises(TargetError, match="not up after 1 s: a request ends as http_error 503"):
        await wait_until_up(
            server.target,
            Health(limit_seconds=1),
            asking(*["a request ends as http_error 503: loading"] * 99),
            waiting=clock.waiting(),
        )


@given(st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_pauses_grow_to_ten_seconds_with_jitter_of_a_half(draws):
    left = iter(draws)
    pause = pauses(lambda: next(left))
    for tries, draw in enumerate(draws):
        most = min(10.0, 0.1 * 1.5**tries)
        assert pause() == pytest.approx(most * (0.5 + draw / 2))
