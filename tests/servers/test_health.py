"""When a server counts as up, and when waiting is given up."""

import asyncio
import errno
import socket
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from benchcore.base.errors import TargetError
from benchcore.config.scenario import Health
from benchcore.config.target import Target
from benchcore.servers.health import Waiting, _fault, wait_until_up


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = 0.0
        self.slept = []
        self.limits = []
        self._timer = None

    def waiting(self):
        return Waiting(lambda: self.now, self.sleep, lambda: 1.0, self.timeout)

    @asynccontextmanager
    async def timeout(self, seconds):
        """No limit in real time: what hangs says so by `hang`."""
        self.limits.append(seconds)
        try:
            async with asyncio.timeout(None) as self._timer:
                yield
        except TimeoutError:
            self.now += seconds
            raise

    async def hang(self):
        """Do not answer, until the time is up at once."""
        self._timer.reschedule(0)
        await asyncio.Event().wait()

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
async def server():
    """A server whose answers are scripted, path by path; the last one goes on."""
    asked, answers, clock = [], {}, Clock()

    async def answer(request):
        asked.append(request.path)
        found = answers.get(request.path, [404])
        status = found.pop(0) if len(found) > 1 else found[0]
        if status == "hangs":
            clock._timer.reschedule(0)
            await over.wait()
        return web.Response(status=500 if status == "hangs" else status)

    over = asyncio.Event()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]

    class Server:
        target = Target(f"http://127.0.0.1:{port}")

    Server.asked, Server.answers, Server.clock = asked, answers, clock
    yield Server
    over.set()
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


@pytest.mark.parametrize("health", [401, 404])
@pytest.mark.parametrize("refused", [401, 403])
async def test_a_key_that_is_refused_is_not_waited_for(server, health, refused):
    server.answers |= {"/health": [health], "/v1/models": [refused]}
    fault = f"/v1/models answers {refused}: the key is missing or was not accepted"
    with pytest.raises(TargetError, match=fault):
        await wait_until_up(server.target, Health(), asking(), waiting=Clock().waiting())
    assert server.asked == ["/health", "/v1/models"]


@pytest.mark.parametrize("refused", [401, 403])
async def test_a_gateway_may_guard_the_health_endpoint_alone(server, refused):
    server.answers |= {"/health": [refused], "/v1/models": [503, 200]}
    found = await wait_until_up(server.target, Health(), asking(), waiting=Clock().waiting())
    assert found["tries"] == 2


async def test_where_health_is_refused_and_there_are_no_models_both_are_told(server):
    server.answers["/health"] = [403]
    with pytest.raises(TargetError, match=r"1 s: /health answers 403, /v1/models answers 404$"):
        await wait_until_up(
            server.target, Health(limit_seconds=1), asking(), waiting=Clock().waiting()
        )


async def test_a_health_endpoint_that_is_the_list_of_models_is_asked_once(server):
    server.answers["/v1/models"] = [404, 200]
    health = Health(path="/v1/models")
    found = await wait_until_up(server.target, health, asking(), waiting=Clock().waiting())
    assert found["tries"] == 2
    assert server.asked == ["/v1/models"] * 2


async def test_a_request_that_hangs_is_given_up_at_the_limit(server):
    server.answers["/health"] = [200]
    clock = Clock()
    with pytest.raises(TargetError) as told:
        await wait_until_up(
            server.target, Health(limit_seconds=6), clock.hang, waiting=clock.waiting()
        )
    assert str(told.value) == (
        f"{server.target.base_url}: not up after 6 s: a request does not answer within 6 s"
    )
    assert clock.now == 6


async def test_a_request_that_hangs_is_made_again_and_told(server):
    server.answers["/health"] = [200]
    clock, told, tries = Clock(), [], []

    async def request():
        tries.append(clock.now)
        if len(tries) < 3:
            await clock.hang()

    found = await wait_until_up(
        server.target,
        Health(request_seconds=30),
        request,
        tell=told.append,
        waiting=clock.waiting(),
    )
    assert found["tries"] == 3
    assert clock.limits == [30, 30, 30]
    assert tries == pytest.approx([0, 30.1, 60.25])
    url = server.target.base_url
    assert told == [
        f"waiting for {url}, {seconds} s: a request does not answer within 30 s"
        for seconds in (30, 60)
    ]


async def test_a_server_that_ends_while_a_request_hangs_is_told(server):
    server.answers["/health"] = [200]
    clock = Clock()
    with pytest.raises(TargetError, match="the server is gone: it ended with status 1"):
        await wait_until_up(
            server.target,
            Health(),
            clock.hang,
            ended=lambda: "it ended with status 1",
            waiting=clock.waiting(),
        )


async def test_an_endpoint_that_hangs_is_named(server):
    server.answers |= {"/health": [404], "/v1/models": ["hangs"]}
    with pytest.raises(TargetError, match=r"2 s: /v1/models does not answer within 2 s$"):
        await wait_until_up(
            server.target, Health(limit_seconds=2), asking(), waiting=server.clock.waiting()
        )


async def test_the_last_try_begins_at_the_limit_and_has_a_second(server):
    server.answers["/health"] = [503]
    clock = Clock()
    with pytest.raises(TargetError, match="not up after 60 s: /health answers 503"):
        await wait_until_up(
            server.target, Health(limit_seconds=60), asking(), waiting=clock.waiting()
        )
    assert clock.limits[0] == 60
    assert clock.limits[-1] == 1


async def test_nobody_listening_is_said_in_a_few_words():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TargetError, match=r"1 s: /health: connection refused$"):
        await wait_until_up(
            Target(f"http://127.0.0.1:{port}"),
            Health(limit_seconds=1),
            asking(),
            waiting=Clock().waiting(),
        )


def connector_error(cause):
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, cause)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            connector_error(OSError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)")),
            "connection refused",
        ),
        (connector_error(OSError("Multiple exceptions: a, b")), "Multiple exceptions: a, b"),
        (
            connector_error(socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            "name or service not known",
        ),
        (
            ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
            "connection reset by peer",
        ),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (aiohttp.ClientPayloadError(), "ClientPayloadError"),
    ],
)
def test_faults_of_connections_are_in_the_words_of_the_system(error, words):
    assert _fault(error) == words


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
