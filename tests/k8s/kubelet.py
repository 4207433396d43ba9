"""A stand-in for the node: scheduler, kubelet, kube-proxy, and the operator of LeaderWorkerSets.

Pods come up, or do not, as their annotation `benchcore.dev/fate` says. Whatever is asked of a pod
or of a port of the node is answered by one server, which the caller starts.
"""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import ClientConnectionResetError, web
from control_plane import free_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.resources import (
    NODE,
    POD,
    SERVICE,
    Access,
    Json,
    Resource,
    name_of,
    namespace_of,
)
from benchcore.servers.kubernetes.watch import Watch

MERGE = "application/merge-patch+json"
FATE = "benchcore.dev/fate"
LWS = Resource("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets", True)
STEP = 0.1


class Node:
    """The node; an async context manager.

    Args:
        kubeconfig: of the cluster.
        folder: where its certificate goes.
        server: host and port of what answers for every pod.
    """

    def __init__(self, kubeconfig: Path, folder: Path, server: tuple[str, int]) -> None:
        self._cluster = Cluster(Access(str(kubeconfig)))
        self._folder = folder
        self._server = server
        self._port = free_port()
        self._tasks: list[asyncio.Task[None]] = []
        self._pods: dict[str, asyncio.Task[None]] = {}
        self._lines: dict[str, list[str]] = {}
        self._proxies: dict[int, asyncio.Server] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "Node":
        await self._cluster.__aenter__()
        await self._serve()
        await self._register()
        self._pod_watch = Watch(self._cluster, POD, None, changed=self._see_pods)
        services = Watch(self._cluster, SERVICE, None, changed=lambda: None)
        services._changed = lambda: self._see_services(services)
        for watch in (self._pod_watch, services):
            await watch.list()
            self._tasks.append(asyncio.create_task(watch.follow()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._tasks, *self._pods.values()):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._pods.values(), return_exceptions=True)
        for proxy in self._proxies.values():
            proxy.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._cluster.__aexit__()

    async def operate_leader_worker_sets(self) -> None:
        """Be the operator: make the pods that a LeaderWorkerSet asks for, and say when they are."""
        made: set[str] = set()
        watch = Watch(self._cluster, LWS, None, changed=lambda: None)

        async def operate() -> None:
            while True:
                await watch.list()
                for one in watch.objects.values():
                    await self._operate(one, made)
                await asyncio.sleep(STEP)

        await watch.list()
        self._tasks.append(asyncio.create_task(operate()))

    # The node and its own server.

    async def _register(self) -> None:
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}}
        await self._cluster.ask("POST", NODE.path(), body=body, accept={409})
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "StandIn",
                    "message": "",
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
            ],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "capacity": {"cpu": "64", "memory": "64Gi", "pods": "100", "nvidia.com/gpu": "8"},
        }
        await self._cluster.ask(
            "PATCH",
            f"{NODE.path(name='node-1')}/status",
            body={"status": status},
            content_type=MERGE,
        )

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/containerLogs/{space}/{pod}/{container}", self._logs)
        app.router.add_get("/portForward/{space}/{pod}", self._port_forward)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._port, ssl_context=_certificate(self._folder)
        )
        await site.start()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        space, pod = request.match_info["space"], request.match_info["pod"]
        lines = self._lines.get(f"{space}/{pod}", [])
        response = web.StreamResponse()
        await response.prepare(request)
        tail = int(request.query.get("tailLines", 10**6))
        sent = max(0, len(lines) - tail)
        stamped = request.query.get("timestamps") == "true"
        while True:
            for line in lines[sent:]:
                text = line if stamped else line.partition(" ")[2]
                try:
                    await response.write(f"{text}\n".encode())
                except ClientConnectionResetError:
                    return response  # whoever followed is gone
            sent = len(lines)
            there = f"{space}/{pod}" in self._lines
            if request.query.get("follow") != "true" or not there:
                return response
            await asyncio.sleep(STEP)

    async def _port_forward(self, request: web.Request) -> web.WebSocketResponse:
        """Carry a connection as kubelet does for web sockets: two channels for each port."""
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        port = int(request.query["port"])
        for channel in (b"\0", b"\1"):
            await socket.send_bytes(channel + port.to_bytes(2, "little"))
        reader, writer = await asyncio.open_connection(*self._server)

        async def down() -> None:
            while data := await reader.read(65536):
                await socket.send_bytes(b"\0" + data)
            await socket.close()

        task = asyncio.create_task(down())
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 0:
                writer.write(message.data[1:])
        task.cancel()
        writer.close()
        return socket

    # kube-proxy.

    def _see_services(self, watch: Watch) -> None:
        wanted = {
            port["nodePort"]
            for one in watch.objects.values()
            for port in one["spec"].get("ports", ())
            if "nodePort" in port
        }
        for port in wanted - self._proxies.keys():
            self._tasks.append(asyncio.create_task(self._open(port)))
        for port in self._proxies.keys() - wanted:
            self._proxies.pop(port).close()

    async def _open(self, port: int) -> None:
        if port not in self._proxies:
            self._proxies[port] = await asyncio.start_server(self._carry, "127.0.0.1", port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*self._server)
        await asyncio.gather(
            _copy(reader, inner_writer), _copy(inner_reader, writer), return_exceptions=True
        )

    # Scheduler and kubelet.

    def _see_pods(self) -> None:
        for pod in self._pod_watch.objects.values():
            uid = pod["metadata"]["uid"]
            if uid not in self._pods:
                self._pods[uid] = asyncio.create_task(self._run(pod))

    def _going(self, pod: Json) -> bool:
        now = self._pod_watch.objects.get((namespace_of(pod), name_of(pod)))
        return now is None or "deletionTimestamp" in now["metadata"]

    async def _run(self, pod: Json) -> None:
        place = f"{namespace_of(pod)}/{name_of(pod)}"
        path = POD.path(namespace_of(pod), name_of(pod))
        lines = self._lines.setdefault(place, [])
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name_of(pod)},
            "target": target,
        }
        await self._cluster.ask("POST", f"{path}/binding", body=binding, accept={404, 409})
        fate = pod["metadata"].get("annotations", {}).get(FATE, "ready")
        for phase, state, ready, restarts in _FATES[fate]:
            await asyncio.sleep(STEP)
            if "running" in state:
                stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                lines.append(f"{stamp} started, {restarts} restarts")
            status = _status(pod, phase, state, ready=ready, restarts=restarts)
            await self._cluster.ask(
                "PATCH", f"{path}/status", body={"status": status}, content_type=MERGE, accept={404}
            )
        while not self._going(pod):
            await asyncio.sleep(STEP / 4)
        stamp = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        lines.append(f"{stamp} ended")
        await asyncio.sleep(STEP)
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        await self._cluster.ask("DELETE", path, body=options, accept={404, 409})
        self._lines.pop(place, None)

    # The operator.

    async def _operate(self, one: Json, made: set[str]) -> None:
        spec, metadata = one["spec"], one["metadata"]
        if metadata["uid"] not in made:
            made.add(metadata["uid"])
            template = spec["leaderWorkerTemplate"]["workerTemplate"]
            owner = {
                "apiVersion": one["apiVersion"],
                "kind": one["kind"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
            for number in range(spec["replicas"]):
                body = {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        **template.get("metadata", {}),
                        "name": f"{metadata['name']}-{number}",
                        "ownerReferences": [owner],
                    },
                    "spec": template["spec"],
                }
                await self._cluster.ask(
                    "POST", POD.path(metadata["namespace"]), body=body, accept={404, 409}
                )
        ready = sum(
            any(found == {**found, "type": "Ready", "status": "True"} for found in _conditions(pod))
            for pod in self._pod_watch.objects.values()
            if name_of(pod).startswith(f"{metadata['name']}-")
        )
        available = {"type": "Available", "status": str(ready >= spec["replicas"])}
        status = {"readyReplicas": ready, "conditions": [available]}
        if one.get("status") != status and "deletionTimestamp" not in metadata:
            path = f"{LWS.path(metadata['namespace'], metadata['name'])}/status"
            body = {"status": status}
            await self._cluster.ask("PATCH", path, body=body, content_type=MERGE, accept={404})


def _conditions(pod: Json) -> list[Json]:
    return (pod.get("status") or {}).get("conditions") or []


_CREATING = ("Pending", {"waiting": {"reason": "ContainerCreating"}}, False, 0)
_FATES: dict[str, list[tuple[str, dict[str, Any], bool, int]]] = {
    "ready": [
        _CREATING,
        ("Running", {"running": {}}, False, 0),
        ("Running", {"running": {}}, True, 0),
    ],
    "image": [
        _CREATING,
        (
            "Pending",
            {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}},
            False,
            0,
        ),
    ],
    "crash": [
        _CREATING,
        *(
            step
            for count in range(1, 4)
            for step in (
                ("Running", {"running": {}}, False, count - 1),
                ("Running", {"waiting": {"reason": "CrashLoopBackOff"}}, False, count),
            )
        ),
    ],
    "slow": [_CREATING],
}


def _status(pod: Json, phase: str, state: Json, *, ready: bool, restarts: int) -> Json:
    last = {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": None}} if restarts else {}
    return {
        "phase": phase,
        "podIP": "10.250.1.1",
        "hostIP": "127.0.0.1",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": str(ready)},
        ],
        "containerStatuses": [
            {
                "name": one["name"],
                "image": one["image"],
                "imageID": "",
                "ready": ready,
                "restartCount": restarts,
                "state": state,
                "lastState": last,
            }
            for one in pod["spec"]["containers"]
        ],
    }


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def _certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node-1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "node.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
