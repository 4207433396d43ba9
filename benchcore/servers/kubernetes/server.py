"""Kubernetes: a server under test that is made of manifests on a cluster."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.base.secrets import masked_text, secret_values
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.health import Served
from benchcore.servers.kubernetes.address import (
    Endpoint,
    base_url,
    check_service,
    cluster_host,
    node_address,
    wait_for_endpoint,
)
from benchcore.servers.kubernetes.cluster import Cluster, Sleep
from benchcore.servers.kubernetes.manifests import (
    Manifest,
    kept_copy,
    labelled,
    manifest_secrets,
    read_manifests,
)
from benchcore.servers.kubernetes.placement import Placement
from benchcore.servers.kubernetes.pods import last_lines
from benchcore.servers.kubernetes.removal import Placed, look_for, remove
from benchcore.servers.kubernetes.resources import RUN, Access, label_selector, name_of, run_labels
from benchcore.servers.kubernetes.rollout import Rollout
from benchcore.servers.kubernetes.sidecar import SidecarProcess, SidecarTask

KEPT = "manifests.yaml"


class KubernetesServer:
    """Applies manifests, waits for what they start, and removes it again; a `Launcher`.

    Args:
        config: what a scenario says.
        base: the folder that its manifests are relative to.
        logs: where `service_<pod>_<container>.log` go.
        labels: what every object carries, such as the run; made legal.
        tell: takes progress, a line each.
        sleep: waits between two looks or tries.
        attend: makes what follows logs and carries connections.
    """

    def __init__(
        self,
        config: KubernetesLaunch,
        *,
        base: Path,
        logs: Path,
        labels: Mapping[str, str],
        tell: Callable[[str], None],
        sleep: Sleep = asyncio.sleep,
        attend: Callable[[SidecarTask], SidecarProcess] = SidecarProcess,
    ) -> None:
        self._config = config
        self._base = base
        self._logs = logs
        self._labels = run_labels(labels)
        self._tell = tell
        self._sleep = sleep
        self._new_sidecar = attend
        self._access = Access(_file(config.kubeconfig, base), config.context)
        self._placement: Placement | None = None
        self._sidecar: SidecarProcess | None = None
        self._tunnel = False

    def kept(self) -> Mapping[str, bytes]:
        """Return the objects as they will be applied, secrets masked.

        Raises:
            ConfigError: a manifest is not there, or is wrong; a line for each fault.
        """
        return {KEPT: kept_copy([one.body for one in self._manifests()])}

    async def start(self) -> Served:
        """Apply the manifests, wait for what they start, and return where it is.

        Raises:
            ConfigError: something is wrong with the manifests, the account or the cluster's kinds.
            TargetError: it did not come up, or the cluster did not answer; says why.
        """
        manifests = self._manifests()
        known = {*manifest_secrets([one.body for one in manifests]), *secret_values(os.environ)}
        # The longest first: one may hold another.
        secrets = sorted(known, key=lambda value: (-len(value), value))
        try:
            return await self._start(manifests, secrets)
        except BenchcoreError as error:
            # The API server shows the values that it does not like.
            raise type(error)(masked_text(str(error), secrets)) from None

    def ended(self) -> str | None:
        """Return which pod is lost, or that the tunnel is; `None` while all is as it was."""
        if self._sidecar is None:
            return None
        ended = self._sidecar.ended()
        if ended is None and self._tunnel and self._sidecar.failed:
            return "the tunnel to the cluster ended"
        return ended

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the last lines of the log that was written last, secrets masked."""
        return last_lines(self._logs, count)

    async def stop(self) -> list[str]:
        """Remove what was applied and what came of it; return what is left, a line each."""
        left: list[str] = []
        try:
            if self._placement is not None and self._placement.begun:
                left = await self._remove(self._placement)
            # Only now: a stop that was interrupted, or did not get there, can be tried again.
            self._placement = None
        except BenchcoreError as error:
            run = self._labels.get(RUN)
            clean = f"benchcore clean --run {run}" if run else "benchcore clean"
            left = [f"what was applied is not removed: {error}; later: {clean}"]
        finally:
            self._tunnel = False
            sidecar, self._sidecar = self._sidecar, None
            if sidecar is not None:
                # After the removal, so that the logs hold the last words.
                if sidecar.failed:
                    self._tell("what follows the logs ended early: they may not be whole")
                await sidecar.stop()
                for note in sidecar.notes:
                    self._tell(note)
        return left

    def _manifests(self) -> list[Manifest]:
        found = read_manifests(self._config.manifests, self._base)
        found = [replace(one, body=labelled(one.body, self._labels)) for one in found]
        check_service(found, self._config)
        return found

    async def _start(self, manifests: list[Manifest], secrets: list[str]) -> Served:
        config = self._config
        loop = asyncio.get_running_loop()
        async with Cluster(self._access, sleep=self._sleep) as cluster:
            version = await cluster.version()
            self._placement = Placement(
                cluster,
                manifests,
                namespace=config.namespace,
                labels=self._labels,
                tell=self._tell,
            )
            begin = loop.time()
            await self._placement.place(
                create_namespace=config.create_namespace,
                ready=config.ready_seconds,
                gone=config.delete_seconds,
            )
            placed = self._placement.placed
            selector = label_selector(self._labels.get(RUN))
            await self._attend(placed, selector, secrets)
            await Rollout(
                cluster, placed, selector=selector, tell=self._tell, secrets=secrets
            ).wait(config.ready_seconds, left=begin + config.ready_seconds - loop.time())
            endpoint = await wait_for_endpoint(
                cluster, config, seconds=begin + config.ready_seconds - loop.time()
            )
            url, notes = await self._reach(cluster, endpoint)
            seconds = loop.time() - begin
        assert self._sidecar is not None
        await self._sidecar.guard()
        self._tell(f"ready after {seconds:.0f} s: {url}")
        return Served(
            base_url=url,
            facts=_facts(config, version, placed, endpoint, seconds),
            notes=notes,
        )

    async def _attend(self, placed: list[Placed], selector: str, secrets: list[str]) -> None:
        spaces = {one.namespace for one in placed if one.namespace is not None}
        self._logs.mkdir(parents=True, exist_ok=True)
        self._sidecar = self._new_sidecar(
            SidecarTask(
                kubeconfig=self._access.kubeconfig,
                context=self._access.context,
                namespaces=tuple(sorted(spaces | {self._config.namespace})),
                selector=selector,
                folder=str(self._logs),
                secrets=tuple(secrets),
            )
        )
        await self._sidecar.start()

    async def _reach(self, cluster: Cluster, endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
        config = self._config
        match config.address:
            case "node_port":
                host, port = await node_address(cluster, endpoint, config.node)
                return base_url(config, host, port), ()
            case "in_cluster":
                return base_url(config, cluster_host(config), int(endpoint.port["port"])), ()
            case "port_forward":
                if not endpoint.pods:
                    raise ConfigError(
                        f"Service {config.service} selects no pods, and a tunnel leads to pods; "
                        "give another address"
                    )
                assert self._sidecar is not None
                port = await self._sidecar.forward(
                    [
                        (config.namespace, name_of(pod), endpoint.pod_port(pod))
                        for pod in endpoint.pods
                    ]
                )
                self._tunnel = True
                many = len(endpoint.pods)
                spread = f"; connections go to {many} pods in turn" if many > 1 else ""
                return base_url(config, "127.0.0.1", port), (
                    "asked through a tunnel of the API server, whose time is in every figure"
                    + spread,
                )

    async def _remove(self, placement: Placement) -> list[str]:
        seconds = self._config.delete_seconds
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        async with Cluster(self._access, sleep=self._sleep) as cluster:
            left = await remove(cluster, placement.placed, seconds=seconds, tell=self._tell)
            run = self._labels.get(RUN)
            if run is None:
                return left
            # What operators and StatefulSets made, and what was applied while we were stopped.
            spaces = {one.namespace for one in placement.placed if one.namespace is not None}
            for space in sorted(spaces | {self._config.namespace}):
                found = await look_for(cluster, namespace=space, run=run)
                # Of what is held nothing more is said for what it owns.
                known = {one.uid for one in placement.placed} if left else set()
                objects = [
                    one for one in found.objects if not left or not (one.owned or one.uid in known)
                ]
                left += await remove(
                    cluster,
                    objects,
                    seconds=max(deadline - loop.time(), 1.0),
                    tell=self._tell,
                )
            return left


def _file(kubeconfig: str | None, base: Path) -> str | None:
    return None if kubeconfig is None else str(base / Path(kubeconfig).expanduser())


def _facts(
    config: KubernetesLaunch,
    version: str,
    placed: list[Placed],
    endpoint: Endpoint,
    seconds: float,
) -> dict[str, Any]:
    return {
        "cluster_version": version,
        "context": config.context,
        "namespace": config.namespace,
        "address": config.address,
        "objects": [one.place for one in placed],
        "ready_seconds": round(seconds, 3),
        "pods": [
            {
                "name": name_of(pod),
                "node": pod["spec"].get("nodeName"),
                "images": {
                    one["name"]: one.get("imageID") or one.get("image")
                    for one in pod["status"].get("containerStatuses") or ()
                },
            }
            for pod in endpoint.pods
        ],
    }
