"""Address: where the Service that is asked can be reached, if need be through a tunnel."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from benchcore.base.errors import ConfigError, TargetError
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.manifests import Manifest
from benchcore.servers.kubernetes.resources import (
    NODE,
    POD,
    SERVICE,
    Json,
    condition,
    is_ready,
    name_of,
    one_line,
)

PROTOCOL: Final = "v4.channel.k8s.io"
"""Each message begins with the number of its channel: 0 is the port's data, 1 its errors."""
_DATA: Final = 0
_BLOCK: Final = 65536


class PortForward:
    """Carries each connection over a web socket of its own, to the pods in turn.

    Args:
        cluster: where the pods are.
        pods: namespace, name and port of each.
        failed: takes why a connection could not be carried.
    """

    def __init__(
        self,
        cluster: Cluster,
        pods: Sequence[tuple[str, str, int]],
        *,
        failed: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._first = pods[0]
        self._turns = itertools.cycle(pods)
        self._failed = failed
        self._server: asyncio.Server | None = None
        self._carriers: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Open the port, after a try of the tunnel, and return it.

        Raises:
            TargetError: the API server refuses tunnels.
        """
        path, query = _where(self._first)
        async with self._cluster.web_socket(path, query, PROTOCOL):
            pass
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Close the port and what goes through it."""
        if self._server is not None:
            self._server.close()
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of our own: one that asyncio makes prints a traceback where it is cancelled.
        carrier = asyncio.create_task(self._carry(reader, writer))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path, query = _where(next(self._turns))
            async with self._cluster.web_socket(path, query, PROTOCOL) as socket:
                up = asyncio.create_task(_carry_up(reader, socket))
                down = asyncio.create_task(self._carry_down(socket, writer))
                try:
                    # Half of a connection cannot be closed in a web socket: one end ends both.
                    await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in (up, down):
                        way.cancel()
                    await asyncio.gather(up, down, return_exceptions=True)
        except TargetError as error:
            self._failed(str(error))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _carry_down(
        self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter
    ) -> None:
        opened: set[int] = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in opened:
                # The first message of a channel only names the port, in two bytes.
                opened.add(channel)
                data = data[2:]
            if channel == _DATA:
                writer.write(data)
                await writer.drain()
            elif data:
                self._failed(f"port-forward: {one_line(data.decode(errors='replace'))}")
                return


async def _carry_up(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(_BLOCK):
        await socket.send_bytes(bytes((_DATA,)) + data)


def _where(pod: tuple[str, str, int]) -> tuple[str, list[tuple[str, str]]]:
    namespace, name, port = pod
    return f"{POD.path(namespace, name)}/portforward", [("ports", str(port))]


_POLL_SECONDS: Final = 1.0
_NODE_TYPES: Final = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Service with pods that take requests.

    Args:
        service: as the API server has it.
        port: of it.
        pods: the ready ones behind it, by name; none where it selects none.
    """

    service: Json
    port: Mapping[str, Any]
    pods: tuple[Json, ...]

    def pod_port(self, pod: Mapping[str, Any]) -> int:
        """Return the port of a pod that the Service's leads to."""
        target = self.port.get("targetPort", self.port["port"])
        if isinstance(target, int):
            return target
        for container in pod["spec"]["containers"]:
            for port in container.get("ports") or ():
                if port.get("name") == target:
                    return int(port["containerPort"])
        raise ConfigError(
            f"Service {name_of(self.service)}: pod {name_of(pod)} has no port named {target}; "
            "correct targetPort"
        )


def chosen_port(service: Mapping[str, Any], wanted: int | str | None) -> Mapping[str, Any]:
    """Return the port of a Service that is meant: its first where none is.

    Raises:
        ConfigError: it has no such port.
    """
    ports = (service.get("spec") or {}).get("ports") or ()
    for port in ports:
        if wanted is None or wanted in {port.get("name"), port.get("port")}:
            found: Mapping[str, Any] = port
            return found
    known = ", ".join(str(port.get("name") or port.get("port")) for port in ports)
    raise ConfigError(
        f"Service {name_of(service)} has no port {wanted}; it has {known or 'none'}"
        if wanted is not None
        else f"Service {name_of(service)} has no port; give it one"
    )


def check_service(manifests: Sequence[Manifest], config: KubernetesLaunch) -> None:
    """Check the Service that is asked, where it is among the manifests.

    Raises:
        ConfigError: it has no such port, or cannot be reached the way that is asked for.
    """
    for one in manifests:
        space = one.namespace or config.namespace
        if (one.kind, one.name, space) != (SERVICE.kind, config.service, config.namespace):
            continue
        try:
            chosen_port(one.body, config.port)
            if config.address == "node_port":
                _node_type(one.body)
        except ConfigError as error:
            raise ConfigError(f"{one.at}: {error}") from None


def _node_type(service: Mapping[str, Any]) -> None:
    kind = (service.get("spec") or {}).get("type", "ClusterIP")
    if kind not in _NODE_TYPES:
        raise ConfigError(
            f"Service {name_of(service)} is of type {kind} and has no port on a node; "
            "give type: NodePort, or another address"
        )


async def wait_for_endpoint(
    cluster: Cluster, config: KubernetesLaunch, *, seconds: float
) -> Endpoint:
    """Wait until the Service is there and a pod behind it is ready.

    Raises:
        ConfigError: it has no such port.
        TargetError: nobody behind it was ready in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        path = SERVICE.path(config.namespace, config.service)
        answer = await cluster.ask("GET", path, accept={404})
        missing = "is not there; does something make it?"
        if answer.status != 404:
            service = answer.json()
            port = chosen_port(service, config.port)
            selector = (service.get("spec") or {}).get("selector")
            if not selector:
                return Endpoint(service, port, ())
            query = [("labelSelector", ",".join(f"{key}={one}" for key, one in selector.items()))]
            found, _ = await cluster.list(POD.path(config.namespace), query)
            pods = sorted(filter(is_ready, found), key=name_of)
            if pods:
                return Endpoint(service, port, tuple(pods))
            missing = f"selects {len(found)} pods, none of them ready; correct its selector"
        if loop.time() >= deadline:
            raise TargetError(
                f"{cluster.where}: Service {config.service} in namespace {config.namespace}: "
                f"{missing}"
            )
        await cluster.sleep(_POLL_SECONDS)


async def node_address(cluster: Cluster, endpoint: Endpoint, node: str | None) -> tuple[str, int]:
    """Return a node and the Service's port there.

    Args:
        cluster: where.
        endpoint: the Service.
        node: a host that the user names.

    Raises:
        ConfigError: the Service has no port on nodes, or no node can be found.
    """
    service = endpoint.service
    _node_type(service)
    port = endpoint.port.get("nodePort")
    if port is None:
        raise ConfigError(f"Service {name_of(service)} has no port on a node; give one")
    if node is not None:
        return node, int(port)
    nodes, _ = await cluster.list(NODE.path())
    ready = sorted(
        (one for one in nodes if (condition(one, "Ready") or {}).get("status") == "True"),
        key=name_of,
    )
    if service["spec"].get("externalTrafficPolicy") == "Local":
        # Other nodes drop what comes for the Service.
        holders = {pod["spec"].get("nodeName") for pod in endpoint.pods}
        ready = [one for one in ready if name_of(one) in holders]
    for one in ready:
        known = {each["type"]: each["address"] for each in one["status"].get("addresses") or ()}
        for kind in ("InternalIP", "ExternalIP", "Hostname"):
            if kind in known:
                return known[kind], int(port)
    raise ConfigError(f"{cluster.where}: no node is ready and has an address; name one as node")


def base_url(config: KubernetesLaunch, host: str, port: int) -> str:
    """Return where requests go."""
    return f"{config.scheme}://{f'[{host}]' if ':' in host else host}:{port}{config.path}"


def cluster_host(config: KubernetesLaunch) -> str:
    """Return the name of the Service inside the cluster."""
    return f"{config.service}.{config.namespace}.svc"
