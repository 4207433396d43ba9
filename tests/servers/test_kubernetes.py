import asyncio
import base64
import json
import os
import subprocess
import sys

import aiohttp
import pytest
import yaml
from aiohttp import web

from benchcore.base.errors import ConfigError, TargetError
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.health import Launcher
from benchcore.servers.kubernetes.address import wait_for_endpoint
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.resources import Access
from benchcore.servers.kubernetes.server import KubernetesServer
from benchcore.servers.kubernetes.sidecar import SidecarTask
from tests.servers.api_server import Fault, running, terminated, waiting
from tests.servers.written import DEPLOYMENT, SERVICE, Waits

pytest_plugins = ("tests.servers.cluster",)

RUN = "20261121T0800Z-a"
OURS = {
    "app.kubernetes.io/managed-by": "benchcore",
    "benchcore.dev/run": RUN,
    "benchcore.dev/scenario": "hybrid-one",
}


async def until(true, *, tries=6000):
    """Give the loop turns until something is true."""
    for _ in range(tries):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come")


async def test_it_applies_waits_and_says_where_the_server_is(server, api):
    launcher: Launcher = server()
    served = await launcher.start()
    assert served.base_url == "http://127.0.0.1:30080"
    assert served.notes == ()
    assert served.facts["cluster_version"] == "v1.99.0"
    assert served.facts["objects"] == [
        "Deployment vllm in namespace bench",
        "Service vllm in namespace bench",
    ]
    assert served.facts["pods"] == [
        {
            "name": "vllm-5d9-0",
            "node": "node-1",
            "images": {"server": "vllm/vllm-openai:v0.11.0@sha256:0"},
        }
    ]
    deployment = api.get("deployments", "vllm")
    assert deployment["metadata"]["labels"] == OURS
    assert deployment["spec"]["template"]["metadata"]["labels"] == {"app": "vllm", **OURS}
    assert api.get("services", "vllm")["metadata"]["labels"] == OURS
    assert launcher.ended() is None
    assert launcher.told[0] == "applied Deployment vllm, Service vllm"
    assert "Deployment vllm: 0 of 1 ready" in launcher.told
    assert launcher.told[-2] == "Deployment vllm: 1 of 1 ready"


async def test_stop_removes_everything_and_waits_for_it(server, api):
    launcher = server()
    await launcher.start()
    assert await launcher.stop() == []
    assert api.names("deployments", "replicasets", "pods", "services", "endpoints") == []
    assert api.names("namespaces") == ["bench", "default"]
    assert await launcher.stop() == []


async def test_stop_before_a_start_touches_nothing(server, api):
    assert await server().stop() == []
    assert api.requests == []


async def test_stop_after_a_start_that_was_cancelled_removes_what_was_applied(server, api):
    api.fate["vllm"] = [waiting("ContainerCreating")]
    launcher = server()
    start = asyncio.create_task(launcher.start())
    await until(lambda: "Deployment vllm: 0 of 1 ready" in launcher.told)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert await launcher.stop() == []
    assert api.names("deployments", "pods", "services") == []


async def test_what_does_not_go_is_said(server, api):
    launcher = server(delete_seconds=0.03)
    await launcher.start()
    api.stuck.add("vllm")
    left = await launcher.stop()
    assert sorted(left) == [
        f"{kind} vllm in namespace bench: still there after 0.03 s, held by finalizers "
        "example.com/held"
        for kind in ("Deployment", "Service")
    ]


async def test_a_cluster_that_is_gone_in_the_end_is_said(server, api):
    launcher = server()
    await launcher.start()
    api.faults.append(Fault("GET", "^/apis$", 403, times=99))
    api.faults.append(Fault("DELETE", ".", 403, times=99))
    left = await launcher.stop()
    assert len(left) == 1
    assert left[0].startswith("what was applied is not removed: cluster http://127.0.0.1:")
    assert left[0].endswith(f"; later: benchcore clean --run {RUN}")
    api.faults.clear()
    assert await launcher.stop() == []
    assert api.names("deployments", "services") == []


async def test_the_namespace_is_made_and_removed(server, api):
    launcher = server(namespace="mine", create_namespace=True)
    await launcher.start()
    assert api.get("namespaces", "mine", None)["metadata"]["labels"] == OURS
    assert api.get("deployments", "vllm", "mine") is not None
    assert await launcher.stop() == []
    assert api.names("namespaces") == ["bench", "default"]


async def test_a_namespace_that_was_there_stays(server, api):
    launcher = server(create_namespace=True)
    await launcher.start()
    assert await launcher.stop() == []
    assert api.names("namespaces") == ["bench", "default"]


async def test_a_namespace_that_is_not_there_is_one_line(server, api):
    with pytest.raises(ConfigError) as fault:
        await server(namespace="mine").start()
    assert str(fault.value) == (
        f"cluster {api.url} (context fake): there is no namespace mine; "
        "make it, or set create_namespace"
    ).replace(" (context fake)", "")
    assert api.names("deployments") == []


async def test_somebody_elses_object_is_left_alone(server, api, tmp_path):
    api.put("v1", "services", "bench", {"metadata": {"name": "vllm", "labels": {"a": "b"}}})
    launcher = server()
    with pytest.raises(ConfigError) as fault:
        await launcher.start()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:19: Service vllm in namespace bench exists already and does not "
        "belong to benchcore, which would remove it in the end; give another name or namespace, "
        "or take it out"
    )
    assert await launcher.stop() == []
    assert api.names("deployments") == []
    assert api.names("services") == ["vllm"]


async def test_what_an_earlier_run_left_makes_room(server, api):
    left = {"name": "vllm", "labels": {**OURS, "benchcore.dev/run": "before"}}
    api.put("v1", "services", "bench", {"metadata": left})
    old = api.put("apps/v1", "deployments", "bench", {"metadata": left}, {})
    launcher = server()
    await launcher.start()
    assert launcher.told[:2] == [
        "Deployment vllm in namespace bench is left from run before: removing it",
        "Service vllm in namespace bench is left from run before: taken over",
    ]
    assert api.get("deployments", "vllm")["metadata"]["uid"] != old["metadata"]["uid"]
    assert await launcher.stop() == []
    assert api.names("deployments", "services") == []


async def test_what_an_earlier_run_left_and_does_not_go_is_said(server, api, tmp_path):
    left = {"name": "vllm", "labels": {**OURS, "benchcore.dev/run": "before"}}
    api.put("apps/v1", "deployments", "bench", {"metadata": left}, {})
    api.stuck.add("vllm")
    with pytest.raises(TargetError) as fault:
        await server(delete_seconds=0.02).start()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:1: Deployment vllm in namespace bench: still there after 0.02 s, "
        "held by finalizers example.com/held; find out why, then run again"
    )


async def test_what_is_being_removed_is_waited_for(server, api):
    metadata = {"name": "vllm", "labels": OURS, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.put("v1", "services", "bench", {"metadata": metadata})
    launcher = server()
    start = asyncio.create_task(launcher.start())
    await until(lambda: launcher.told)
    assert launcher.told == ["Service vllm in namespace bench is being removed: waiting"]
    api.drop(("v1", "services", "bench", "vllm"))
    await start
    assert "deletionTimestamp" not in api.get("services", "vllm")["metadata"]


async def test_what_does_not_go_away_for_us_is_said(server, api, tmp_path):
    metadata = {"name": "vllm", "labels": OURS, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    api.put("v1", "services", "bench", {"metadata": {**metadata, "finalizers": ["a/b"]}})
    with pytest.raises(TargetError) as fault:
        await server(delete_seconds=0.02).start()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:19: Service vllm in namespace bench: still there after 0.02 s, "
        "held by finalizers a/b; find out why, then run again"
    )


async def test_a_namespace_that_is_being_removed_is_said(server, api):
    api.put("v1", "namespaces", None, {"metadata": {"name": "bench"}}, {"phase": "Terminating"})
    with pytest.raises(ConfigError, match="namespace bench is being removed; wait until it is"):
        await server().start()


async def test_a_namespace_that_must_not_be_looked_at_is_taken_to_be_there(server, api):
    api.faults.append(Fault("GET", "namespaces/bench$", 403))
    await server().start()


async def test_a_namespace_that_an_earlier_run_left_is_taken_over(server, api):
    left = {"metadata": {"name": "mine", "labels": {**OURS, "benchcore.dev/run": "before"}}}
    api.put("v1", "namespaces", None, left, {"phase": "Active"})
    launcher = server(namespace="mine", create_namespace=True)
    await launcher.start()
    assert launcher.told[0] == "Namespace mine is left from run before: taken over"
    assert await launcher.stop() == []
    assert api.names("namespaces") == ["bench", "default"]


async def test_faults_that_pass_are_got_over(server, api):
    api.faults += [
        Fault("GET", "^/version", 500),
        Fault("GET", "/apis/apps/v1$"),
        Fault("PATCH", "deployments/vllm", 409, reason="Conflict"),
        Fault("PATCH", "services/vllm", 429, headers={"Retry-After": "7"}),
        Fault("GET", "deployments.*watch=true", 503),
        Fault("GET", "/events", 504, times=2),
    ]
    launcher = server()
    await launcher.start()
    assert [fault.times for fault in api.faults] == [0] * 6
    # The connection that was dropped is no wait: it was an old one, which is tried again at once.
    assert sorted(launcher.waits.seconds) == [0.25, 0.25, 0.25, 0.25, 0.5, 7.0]


async def test_watches_that_break_or_are_too_old_are_begun_anew(server, api):
    api.drop_watches = 3
    api.gone_watches = 2
    await server().start()
    assert (api.drop_watches, api.gone_watches) == (0, 0)


async def test_a_fault_that_stays_is_said_after_six_tries(server, api):
    api.faults.append(Fault("GET", "^/version", 503, times=99))
    launcher = server()
    with pytest.raises(TargetError) as fault:
        await launcher.start()
    assert str(fault.value) == f"cluster {api.url}: GET /version: 503: of the test"
    assert launcher.waits.seconds == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert api.asked("GET", "/version") == 6


@pytest.mark.parametrize(
    ("status", "reason", "hint"),
    [
        (401, "Unauthorized", "log in anew, or give another kubeconfig or context"),
        (403, "Forbidden", "give this account the right, or give another context"),
        (404, "NotFound", "is this the right cluster?"),
    ],
)
async def test_refusals_are_one_line_and_not_tried_again(server, api, status, reason, hint):
    api.faults.append(Fault("GET", "^/version", status, times=99, reason=reason))
    launcher = server()
    with pytest.raises(ConfigError) as fault:
        await launcher.start()
    said = f"cluster {api.url}: GET /version: {status}: of the test; {hint}"
    assert str(fault.value) == said
    assert launcher.waits.seconds == []


async def test_a_token_that_ran_out_is_renewed_once(server, api):
    api.faults.append(Fault("GET", "^/version", 401, reason="Unauthorized"))
    await server().start()
    assert api.asked("GET", "/version") == 2


async def test_a_wrong_token_is_one_line(server, api):
    api.token = "another"
    with pytest.raises(ConfigError, match="401: Unauthorized; log in anew"):
        await server().start()


async def test_a_cluster_that_is_not_there_is_one_line(server, api, tmp_path):
    launcher = server()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubeconfig.read_text().replace(str(api.port), "9"))
    with pytest.raises(TargetError) as fault:
        await launcher.start()
    assert str(fault.value).startswith(
        "cluster http://127.0.0.1:9: cannot be reached: ClientConnectorError: "
    )
    assert str(fault.value).endswith("; is it running, and is the network open to it?")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a kubeconfig; correct it"),
        ("clusters: [", "while parsing"),
        ("contexts: []\nclusters: []\nusers: []\ncurrent-context: a", "Expected object with name"),
    ],
)
async def test_a_kubeconfig_that_is_none_is_one_line(server, tmp_path, text, said):
    launcher = server()
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(ConfigError) as fault:
        await launcher.start()
    assert str(fault.value).startswith(f"kubeconfig {tmp_path}/kubeconfig: ")
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


async def test_a_kubeconfig_that_is_not_there_is_one_line(server, tmp_path):
    launcher = server()
    (tmp_path / "kubeconfig").unlink()
    with pytest.raises(ConfigError, match="kubeconfig: does not exist; give a file"):
        await launcher.start()


async def test_without_any_cluster_it_is_said(manifests, tmp_path, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = KubernetesLaunch(manifests=(manifests(),), service="vllm")
    launcher = KubernetesServer(config, base=tmp_path, logs=tmp_path, labels={}, tell=print)
    with pytest.raises(ConfigError, match="no cluster is known; give kubeconfig, set KUBECONFIG"):
        await launcher.start()


async def test_without_the_library_it_is_said(server, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("kubernetes_asyncio")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(ConfigError, match=r"pip install 'benchcore-llm\[k8s\]'"):
        await server().start()


async def test_a_kind_that_the_cluster_does_not_know_is_said_before_anything_is_applied(
    server, api, tmp_path
):
    strange = "apiVersion: example.com/v1\nkind: Strange\nmetadata: {name: one}\n"
    with pytest.raises(ConfigError) as fault:
        await server(DEPLOYMENT, SERVICE, strange).start()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:29: Strange one: cluster {api.url} knows no Strange of "
        "example.com/v1; install what defines it, or correct apiVersion and kind"
    )
    assert api.names("deployments") == []


async def test_what_the_server_refuses_names_file_and_line(server, api, tmp_path):
    message = 'Deployment.apps "vllm" is invalid:\n spec.replicas: must be greater'
    api.faults.append(Fault("PATCH", "deployments", 422, reason="Invalid", message=message))
    with pytest.raises(ConfigError) as fault:
        await server().start()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:1: Deployment vllm: cluster {api.url}: "
        "PATCH /apis/apps/v1/namespaces/bench/deployments/vllm: 422: "
        'Deployment.apps "vllm" is invalid: spec.replicas: must be greater'
    )


async def test_what_the_server_shows_of_a_secret_is_masked(server, api):
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {a: sesame-1}\n"
    message = 'Invalid value: "sesame-1"'
    api.faults.append(Fault("PATCH", "secrets", 422, reason="Invalid", message=message))
    with pytest.raises(ConfigError) as fault:
        await server(DEPLOYMENT, SERVICE, secret).start()
    assert str(fault.value).endswith('422: Invalid value: "***"')


DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: leaderworkersets.leaderworkerset.x-k8s.io}
spec:
  group: leaderworkerset.x-k8s.io
  scope: Namespaced
  names: {kind: LeaderWorkerSet, plural: leaderworkersets}
  versions: [{name: v1, served: true, storage: true}]
"""
LEADER_WORKER_SET = """\
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: decode}
spec:
  replicas: 2
  leaderWorkerTemplate:
    size: 1
    workerTemplate:
      spec:
        containers: [{name: server, image: "vllm:1"}]
"""


async def test_custom_resources_come_after_their_definition(server, api):
    api.unlisted = 2
    launcher = server(LEADER_WORKER_SET, DEPLOYMENT, SERVICE, DEFINITION)
    served = await launcher.start()
    assert served.facts["objects"][0] == (
        "CustomResourceDefinition leaderworkersets.leaderworkerset.x-k8s.io"
    )
    assert api.get("pods", "decode-1")["metadata"]["labels"] == OURS
    assert "LeaderWorkerSet decode: Available" in launcher.told
    assert await launcher.stop() == []
    assert api.names("leaderworkersets", "customresourcedefinitions", "pods") == []
    deleted = [path for method, path, _ in api.requests if method == "DELETE"]
    assert deleted[-1].endswith(
        "customresourcedefinitions/leaderworkersets.leaderworkerset.x-k8s.io"
    )


async def test_claims_of_a_stateful_set_go_too(server, api):
    stateful = DEPLOYMENT.replace("kind: Deployment", "kind: StatefulSet") + (
        "  volumeClaimTemplates:\n"
        "    - metadata: {name: data}\n"
        "      spec: {resources: {requests: {storage: 1Gi}}}\n"
    )
    launcher = server(stateful, SERVICE)
    await launcher.start()
    assert api.names("persistentvolumeclaims") == ["data-vllm-0"]
    assert await launcher.stop() == []
    assert api.names("statefulsets", "persistentvolumeclaims") == []


async def test_the_address_inside_the_cluster(server):
    served = await server(address="in_cluster", scheme="https", path="/llm", port=80).start()
    assert served.base_url == "https://vllm.bench.svc:80/llm"


async def test_a_node_that_is_named_is_taken(server):
    served = await server(node="fd00::1").start()
    assert served.base_url == "http://[fd00::1]:30080"


async def test_a_local_service_is_asked_where_its_pods_are(server, api):
    ready = [{"type": "Ready", "status": "True"}]
    status = {"conditions": ready, "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    api.put("v1", "nodes", None, {"metadata": {"name": "node-0"}}, status)
    assert (await server().start()).base_url == "http://10.0.0.1:30080"
    local = SERVICE.replace("NodePort\n", "NodePort\n  externalTrafficPolicy: Local\n")
    again = server(DEPLOYMENT, local, labels={"benchcore.dev/run": RUN})
    assert (await again.start()).base_url == "http://127.0.0.1:30080"


async def test_the_service_must_have_a_port_on_a_node(server, tmp_path):
    with pytest.raises(ConfigError) as fault:
        server(DEPLOYMENT, SERVICE.replace("NodePort", "ClusterIP")).kept()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:19: Service vllm is of type ClusterIP and has no port on a node; "
        "give type: NodePort, or another address"
    )


async def test_the_service_must_have_the_port(server, tmp_path):
    with pytest.raises(ConfigError) as fault:
        server(port="metrics").kept()
    assert str(fault.value) == (
        f"{tmp_path}/server.yaml:19: Service vllm has no port metrics; it has http"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vllm", "selects 0 pods, none of them ready; correct its selector"),
        ("other", "is not there; does something make it?"),
    ],
)
async def test_a_service_with_nobody_behind_it_is_said(server, api, tmp_path, name, said):
    server()
    spec = {"selector": {"app": "vlm"}, "ports": [{"port": 80}]}
    api.put("v1", "services", "bench", {"metadata": {"name": "vllm"}, "spec": spec})
    config = KubernetesLaunch(manifests=("a",), service=name, namespace="bench")
    access = Access(str(tmp_path / "kubeconfig"))
    async with Cluster(access, sleep=Waits()) as cluster:
        with pytest.raises(TargetError) as fault:
            await wait_for_endpoint(cluster, config, seconds=0.02)
    assert str(fault.value) == (f"cluster {api.url}: Service {name} in namespace bench: {said}")


async def test_a_tunnel_carries_requests_to_the_pods_in_turn(server, api):
    hits = []

    async def answer(request):
        hits.append(request.path)
        return web.Response(text="hello " * 20_000)

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    api.ports = {f"vllm-5d9-{number}": ("127.0.0.1", port) for number in range(2)}
    two = DEPLOYMENT.replace("replicas: 1", "replicas: 2")
    launcher = server(two, SERVICE, address="port_forward", attended=True)
    served = await launcher.start()
    (note,) = served.notes
    assert note == (
        "asked through a tunnel of the API server, whose time is in every figure; "
        "connections go to 2 pods in turn"
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        for _ in range(2):
            async with session.get(f"{served.base_url}/v1/models") as response:
                assert await response.text() == "hello " * 20_000
    assert hits == ["/v1/models"] * 2
    asked = [path for _, path, query in api.requests if query.get("ports") == "8000"]
    pods = [path.split("/")[-2] for path in asked]
    assert pods == ["vllm-5d9-0", "vllm-5d9-0", "vllm-5d9-1"]
    assert launcher.ended() is None
    assert await launcher.stop() == []
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", int(served.base_url.rsplit(":", 1)[1]))
    await runner.cleanup()


async def test_a_tunnel_that_leads_nowhere_is_noted(server, api):
    launcher = server(address="port_forward", attended=True)
    served = await launcher.start()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{served.base_url}/v1/models")
    await launcher.stop()
    assert "port-forward: connection refused" in launcher.told


async def test_a_tunnel_that_is_refused_is_one_line(server, api):
    api.faults.append(Fault("GET", "portforward", 403, times=9))
    with pytest.raises(TargetError) as fault:
        await server(address="port_forward", attended=True).start()
    assert str(fault.value).endswith(
        "/portforward: 403: a tunnel was refused; allow get and create of pods/portforward, "
        "or use address: node_port"
    )


async def test_logs_are_followed_without_secrets_and_without_gaps(server, api, tmp_path):
    secret = "hf_" + "x" * 20
    env = f"          env: [{{name: HF_TOKEN, value: {secret}}}]\n"
    api.cut_logs = 2
    launcher = server(DEPLOYMENT + env, SERVICE, attended=True)
    await launcher.start()
    log = tmp_path / "logs" / "service_vllm-5d9-0_server.log"
    api.say("vllm-5d9-0", "server", "loading", f"token {secret}")
    await until(lambda: log.exists() and log.read_text() == "loading\ntoken ***\n")
    api.say("vllm-5d9-0", "server", "ready", "schön")
    await until(lambda: log.read_text() == "loading\ntoken ***\nready\nschön\n")
    assert launcher.last_lines(2) == ["ready", "schön"]
    api.say("vllm-5d9-0", "server", "bye")
    await launcher.stop()
    assert log.read_text() == "loading\ntoken ***\nready\nschön\nbye\n"


async def test_there_are_no_last_lines_before_there_are_logs(server):
    assert server().last_lines() == []


def test_the_sidecar_ends_when_its_pipe_does(api, tmp_path):
    line = SidecarTask(None, None, ("bench",), "a=b", str(tmp_path)).line()
    command = [sys.executable, "-m", "benchcore.servers.kubernetes.sidecar"]
    silent = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=600)
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, b"", b"")
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    lost = subprocess.run(
        command, input=line, env=environment, capture_output=True, check=False, timeout=600
    )
    said = {"error": f"KUBECONFIG={tmp_path}/none: does not exist; name a file"}
    assert (lost.returncode, json.loads(lost.stdout), lost.stderr) == (2, said, b"")


async def test_the_sidecar_ends_when_the_other_process_is_killed(server, api):
    launcher = server(attended=True)
    await launcher.start()
    api.drop(("v1", "pods", "bench", "vllm-5d9-0"))
    process = launcher._sidecar._process
    process.stdin.close()  # as the kernel does
    assert await asyncio.to_thread(process.wait, 30) == 0


async def test_logs_that_ended_early_are_told(server, api):
    launcher = server(attended=True)
    await launcher.start()
    launcher._sidecar._process.kill()
    await until(lambda: launcher._sidecar.failed)
    assert launcher.ended() is None
    assert await launcher.stop() == []
    assert launcher.told[-1] == "what follows the logs ended early: they may not be whole"


async def test_a_tunnel_that_ends_is_told(server, api):
    launcher = server(address="port_forward", attended=True)
    await launcher.start()
    launcher._sidecar._process.kill()
    await until(launcher.ended)
    assert launcher.ended() == "the tunnel to the cluster ended"


async def test_a_container_that_is_started_again_is_told(server, api):
    launcher = server(attended=True)
    await launcher.start()
    last = {"exitCode": 137, "reason": "OOMKilled"}
    api.change_pods("vllm", running(ready=True, restarts=1, last=last))
    await until(launcher.ended)
    assert launcher.ended() == (
        "pod vllm-5d9-0: container server was started again: OOMKilled, exit code 137"
    )


async def test_a_pod_that_is_gone_is_told(server, api):
    launcher = server(attended=True)
    await launcher.start()
    api.drop(("v1", "pods", "bench", "vllm-5d9-0"))
    await until(launcher.ended)
    assert launcher.ended() == "pod vllm-5d9-0 is gone"


async def test_a_container_that_ended_is_told(server, api):
    launcher = server(attended=True)
    await launcher.start()
    api.change_pods("vllm", terminated(1, "Error"))
    await until(launcher.ended)
    assert launcher.ended() == "pod vllm-5d9-0: container server ended: Error, exit code 1"


def test_what_is_kept_holds_no_secret_and_asks_nobody(server, api):
    value = base64.b64encode(b"correct horse").decode()
    secret = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: key}}\ndata: {{api: {value}}}\n"
    args = '          args: ["--api-key=correct horse", "--model", "correct horse battery"]\n'
    kept = server(DEPLOYMENT + args, SERVICE, secret).kept()
    assert list(kept) == ["manifests.yaml"]
    assert b"correct horse" not in kept["manifests.yaml"]
    assert value.encode() not in kept["manifests.yaml"]
    deployment, service, masked = yaml.safe_load_all(kept["manifests.yaml"])
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["--api-key=***", "--model", "*** battery"]
    assert masked["data"] == {"api": "***"}
    assert service["metadata"]["labels"] == OURS
    assert api.requests == []
