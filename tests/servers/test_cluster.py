import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

from benchcore.base.errors import ConfigError, TargetError
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.address import Endpoint, PortForward, base_url, node_address
from benchcore.servers.kubernetes.cluster import BACKOFF, ApiAnswer, Cluster
from benchcore.servers.kubernetes.pods import PodLogs, log_file
from benchcore.servers.kubernetes.resources import (
    POD,
    Access,
    Resource,
    is_custom,
    preferred_versions,
)
from benchcore.servers.kubernetes.watch import Watch
from tests.servers.api_server import Fault, running, terminated
from tests.servers.written import Waits

pytest_plugins = ("tests.servers.cluster",)


@pytest.fixture
async def cluster(api, tmp_path):
    """A connection to the fake API server."""
    access = Access(api.kubeconfig(tmp_path / "kubeconfig"), "fake")
    async with Cluster(access, sleep=Waits()) as one:
        yield one


def pods(api, *names):
    for name in names:
        body = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        api.put("v1", "pods", "bench", body, {})


def test_paths():
    assert POD.path("a", "b") == "/api/v1/namespaces/a/pods/b"
    assert POD.path() == "/api/v1/pods"
    role = Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False)
    assert role.path("a", "system:b/c") == (
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Ab%2Fc"
    )


def test_what_belongs_to_kubernetes_itself():
    assert [is_custom(one) for one in ("v1", "apps/v1", "networking.k8s.io/v1")] == [False] * 3
    assert is_custom("leaderworkerset.x-k8s.io/v1")
    assert is_custom("nvidia.com/v1alpha1")
    assert preferred_versions({}) == []


def test_waits_grow_to_a_bound():
    waits = [BACKOFF.seconds(failures) for failures in range(1, 8)]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 8]


def test_an_answer_that_is_no_json_is_shown_as_it_is():
    assert ApiAnswer(502, b"<html>\nBad  Gateway").message == "<html> Bad Gateway"
    assert ApiAnswer(200, b"[1]").json() == {}


async def test_it_says_where_it_asks(cluster, api):
    assert repr(cluster) == f"Cluster(cluster {api.url} (context fake))"
    with pytest.raises(ConfigError, match=r"\(context fake\): GET /none: 404"):
        await cluster.ask("GET", "/none")


async def test_a_context_that_is_not_there_is_one_line(api, tmp_path):
    access = Access(api.kubeconfig(tmp_path / "kubeconfig"), "other")
    with pytest.raises(ConfigError) as fault:
        await Cluster(access).__aenter__()
    assert str(fault.value) == (
        f"kubeconfig {tmp_path}/kubeconfig: Invalid kube-config file. Expected object with name "
        f"other in {tmp_path}/kubeconfig/contexts list; correct it"
    )


async def test_a_server_without_tls_is_one_line(api, tmp_path):
    path = tmp_path / "kubeconfig"
    api.kubeconfig(path)
    path.write_text(path.read_text().replace("http:", "https:"))
    waits = Waits()
    async with Cluster(Access(str(path)), sleep=waits) as cluster:
        with pytest.raises(TargetError) as fault:
            await cluster.version()
    assert str(fault.value).startswith(f"cluster https://127.0.0.1:{api.port}: ClientConnector")
    assert str(fault.value).endswith("; correct server and certificate-authority in the kubeconfig")
    assert waits.seconds == []


async def test_the_account_of_a_pod_is_used_inside_a_cluster(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ConfigError) as fault:
        await Cluster(Access()).__aenter__()
    assert str(fault.value) == "the account of the pod: Service host/port is not set.; correct it"


async def test_all_pages_are_read_and_begun_anew_where_they_are_too_old(cluster, api):
    pods(api, *(f"p{number}" for number in range(7)))
    api.faults.append(Fault("GET", "continue=4", 410, reason="Expired"))
    items, _ = await cluster.list(POD.path("bench"))
    assert [one["metadata"]["name"] for one in items] == [f"p{number}" for number in range(7)]
    assert api.asked("GET", "/pods$") == 3 + 4


@pytest.mark.parametrize("asked", ["90", "Fri, 01 Jan 2100 00:00:00 GMT"])
async def test_a_wait_that_is_asked_for_has_a_bound(cluster, api, asked):
    api.faults.append(Fault("GET", "version", 429, headers={"Retry-After": asked}))
    await cluster.version()
    assert cluster.sleep.seconds == [30.0 if asked == "90" else 0.25]


async def test_that_it_is_there_already_does_not_pass(cluster, api):
    api.faults.append(Fault("GET", "version", 409, reason="AlreadyExists"))
    with pytest.raises(ConfigError, match="409: of the test"):
        await cluster.version()
    assert cluster.sleep.seconds == []


async def test_a_watch_keeps_its_list_up_to_date(cluster, api):
    pods(api, "old", "kept")
    seen = asyncio.Event()
    watch = Watch(cluster, POD, "bench", changed=seen.set)
    await watch.list()
    assert {one["kind"] for one in watch.objects.values()} == {"Pod"}
    follow = asyncio.create_task(watch.follow())

    async def until(*names):
        while sorted(name for _, name in watch.objects) != sorted(names):
            await asyncio.wait_for(seen.wait(), 60)
            seen.clear()

    api.gone_watches = 1
    pods(api, "new")
    await until("old", "kept", "new")
    assert api.gone_watches == 0
    api.drop_watches = 1
    api.drop(("v1", "pods", "bench", "old"))
    await until("kept", "new")
    assert api.drop_watches == 0
    follow.cancel()


async def test_a_watch_that_is_refused_midway_is_said(tmp_path, api):
    async def refuse(request):
        return web.Response(text='{"type": "ERROR", "object": {"code": 400, "message": "no"}}\n')

    app = web.Application()
    app.router.add_get("/{tail:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    async with Cluster(Access(api.kubeconfig(tmp_path / "other"))) as cluster:
        watch = Watch(cluster, POD, "bench", changed=lambda: None)
        with pytest.raises(TargetError, match=r"watch of .*/pods: .*'code': 400"):
            await watch.follow()
    await runner.cleanup()


async def test_logs_go_on_when_a_container_is_started_again(cluster, api, tmp_path):
    pods(api, "p")
    notes = []
    logs = PodLogs(cluster, tmp_path, ["sesame-1"], notes.append)
    log = tmp_path / log_file("p", "c")

    def see(step):
        api.change_pods("p", step)
        pod = api.get("pods", "p")
        logs.see({pod["metadata"]["uid"]: pod})

    async def until(text):
        for _ in range(6000):
            if log.exists() and log.read_text() == text:
                return
            await asyncio.sleep(0.01)
        assert log.read_text() == text

    see(running(ready=True))
    api.say("p", "c", "one sesame-1")
    await until("one ***\n")
    api.end_log("p", "c")
    await asyncio.sleep(0.02)
    see(terminated(1, "Error"))
    api.say("p", "c", "two")
    await asyncio.sleep(0.02)
    assert log.read_text() == "one ***\n"
    see(running(ready=True, restarts=1))
    await until("one ***\ntwo\n")
    api.drop(("v1", "pods", "bench", "p"))
    logs.see({})
    await logs.close()
    assert notes == []


async def test_a_log_that_must_not_be_read_is_noted(cluster, api, tmp_path):
    pods(api, "p")
    api.change_pods("p", running(ready=True))
    api.faults.append(Fault("GET", "/log", 403))
    notes = []
    logs = PodLogs(cluster, tmp_path, [], notes.append)
    logs.see({"uid": api.get("pods", "p")})
    await logs.close()
    (note,) = notes
    assert note.startswith("the log of p/c is not followed: cluster ")


async def test_a_tunnel_closes_silently_with_a_connection_open(cluster, api, caplog):
    async def greet(reader, writer):
        writer.write(b"hello")
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()

    target = await asyncio.start_server(greet, "127.0.0.1", 0)
    api.ports["p"] = target.sockets[0].getsockname()
    failures = []
    tunnel = PortForward(cluster, [("bench", "p", 80)], failed=failures.append)
    reader, writer = await asyncio.open_connection("127.0.0.1", await tunnel.start())
    assert await reader.readexactly(5) == b"hello"
    await tunnel.close()
    assert await reader.read() == b""
    writer.close()
    target.close()
    assert (failures, caplog.messages) == ([], [])


def endpoint(**port):
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort"}}
    return Endpoint(service, {"port": 80, **port}, ())


def test_the_port_of_a_pod_may_have_a_name():
    ports = [{"name": "http", "containerPort": 8000}]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": ports}]}}
    assert endpoint().pod_port(pod) == 80
    assert endpoint(targetPort=8080).pod_port(pod) == 8080
    assert endpoint(targetPort="http").pod_port(pod) == 8000
    with pytest.raises(ConfigError) as fault:
        endpoint(targetPort="https").pod_port(pod)
    assert str(fault.value) == ("Service s: pod p has no port named https; correct targetPort")


async def test_a_port_on_a_node_needs_a_port_and_a_node(cluster, api):
    with pytest.raises(ConfigError, match="Service s has no port on a node; give one"):
        await node_address(cluster, endpoint(), None)
    api.drop(("v1", "nodes", None, "node-1"))
    with pytest.raises(ConfigError, match="no node is ready and has an address; name one as node"):
        await node_address(cluster, endpoint(nodePort=30080), None)


def test_addresses():
    config = KubernetesLaunch(manifests=("a",), service="s", scheme="https", path="/llm")
    assert base_url(config, "10.0.0.1", 1) == "https://10.0.0.1:1/llm"
    assert base_url(config, "fd00::1", 1) == "https://[fd00::1]:1/llm"
