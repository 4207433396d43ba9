"""Removal: objects that a run put on a cluster, and what killed runs left there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from benchcore.base.errors import BenchcoreError, TargetError
from benchcore.config.servers import KubernetesLaunch
from benchcore.servers.kubernetes.cluster import Cluster, Sleep
from benchcore.servers.kubernetes.manifests import wave_of
from benchcore.servers.kubernetes.resources import (
    RUN,
    SCENARIO,
    Access,
    Json,
    Resource,
    label_selector,
    labels_of,
    name_of,
    namespace_of,
    one_line,
    uid_of,
)

_POLL_SECONDS: Final = 0.5
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Placed:
    """An object on a cluster.

    Args:
        resource: its kind.
        namespace: where it lives; `None` for what lives in none.
        name: its own.
        uid: tells it from a later one of the same name.
        run: which run put it there.
        scenario: of that run.
        created: when, as the cluster writes it: RFC 3339 in UTC.
        owned: the cluster removes it with another one that is among the same.
    """

    resource: Resource
    namespace: str | None
    name: str
    uid: str
    run: str = ""
    scenario: str = ""
    created: str = ""
    owned: bool = False

    @classmethod
    def read(cls, resource: Resource, body: Mapping[str, Any], *, owned: bool = False) -> Self:
        """Return what an object of the API server is."""
        labels = labels_of(body)
        return cls(
            resource=resource,
            namespace=namespace_of(body),
            name=name_of(body),
            uid=uid_of(body),
            run=labels.get(RUN, ""),
            scenario=labels.get(SCENARIO, ""),
            created=str(body["metadata"].get("creationTimestamp", "")),
            owned=owned,
        )

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return self.resource.path(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.name}"

    @property
    def place(self) -> str:
        """What it is and where, in words."""
        return f"{self} in namespace {self.namespace}" if self.namespace is not None else str(self)


async def remove(
    cluster: Cluster,
    objects: Sequence[Placed],
    *,
    seconds: float,
    tell: Callable[[str], None],
) -> list[str]:
    """Remove objects and what they own, and wait until they are gone.

    What was applied last goes first: custom resources before their definitions, namespaces at
    the end.

    Args:
        cluster: where they are.
        objects: which.
        seconds: how long to wait for all of them.
        tell: takes progress, a line each.

    Returns:
        What is left, a line each; empty where everything is gone.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    left: list[str] = []
    by_wave: dict[int, list[Placed]] = {}
    for one in objects:
        by_wave.setdefault(wave_of(one.resource.kind), []).append(one)
    for _, wave in sorted(by_wave.items(), reverse=True):
        doomed = [one for one in reversed(wave) if not one.owned]
        if doomed:
            tell(f"removing {', '.join(map(str, doomed))}")
        refused = [
            fault
            for begin in range(0, len(doomed), _AT_ONCE)
            for fault in await asyncio.gather(
                *(_delete(cluster, one) for one in doomed[begin : begin + _AT_ONCE])
            )
        ]
        kept = [one for one, fault in zip(doomed, refused, strict=True) if fault is not None]
        left += [fault for fault in refused if fault is not None]
        left += await _wait_gone(
            cluster, [one for one in wave if one not in kept], deadline, seconds
        )
    return left


async def wait_gone(cluster: Cluster, one: Placed, seconds: float) -> str | None:
    """Wait until an object that is being removed is gone; return what is in the way otherwise."""
    deadline = asyncio.get_running_loop().time() + seconds
    return next(iter(await _wait_gone(cluster, [one], deadline, seconds)), None)


async def _delete(cluster: Cluster, one: Placed) -> str | None:
    options: Json = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        # The object stays until what it owns is gone, so its end is the end of its pods too.
        "propagationPolicy": "Foreground",
        # One of the same name that somebody made meanwhile is not ours to remove.
        "preconditions": {"uid": one.uid},
    }
    try:
        await cluster.ask("DELETE", one.path, body=options, accept={404, 409})
    except BenchcoreError as error:
        return f"{one.place}: not removed: {error}"
    return None


async def _wait_gone(
    cluster: Cluster, objects: Sequence[Placed], deadline: float, seconds: float
) -> list[str]:
    loop = asyncio.get_running_loop()
    waiting: list[tuple[Placed, str]] = [(one, "") for one in objects]
    while True:
        still: list[tuple[Placed, str]] = []
        left: list[str] = []
        for one, _ in waiting:
            try:
                answer = await cluster.ask("GET", one.path, accept={404})
            except BenchcoreError as error:
                left.append(f"{one.place}: cannot be looked at: {error}")
                continue
            body = answer.json()
            if answer.status != 404 and uid_of(body) == one.uid:
                still.append((one, _holding(body)))
        if left or not still:
            return left + [f"{one.place}: may be there still" for one, _ in still]
        if loop.time() >= deadline:
            return [
                f"{one.place}: still there after {seconds:g} s{holding}" for one, holding in still
            ]
        waiting = still
        await cluster.sleep(_POLL_SECONDS)


def _holding(body: Json) -> str:
    finalizers = body["metadata"].get("finalizers") or ()
    return f", held by finalizers {one_line(', '.join(finalizers))}" if finalizers else ""


_LOOKS_AT_ONCE: Final = 8
_NEEDED: Final = frozenset({"list", "delete"})
_IGNORED: Final = frozenset({"Event"})
"""They end by themselves."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What was found.

    Args:
        objects: with our label; those that go with another one are marked.
        unread: the kinds that could not be looked at and why, a line each.
    """

    objects: tuple[Placed, ...]
    unread: tuple[str, ...] = ()


async def find_leftovers(
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    namespace: str | None = None,
    run: str | None = None,
    older_than_seconds: float | None = None,
    sleep: Sleep = asyncio.sleep,
) -> Leftovers:
    """Find the objects that carry benchcore's label, of every kind that can be listed and deleted.

    Args:
        kubeconfig: a file; left out: KUBECONFIG, `~/.kube/config` or the pod's own account.
        context: of it; its current one where left out.
        namespace: only there, and outside of namespaces only of the run; left out: everywhere.
        run: only of this run.
        older_than_seconds: only what was made before that.
        sleep: waits between two tries.

    Raises:
        ConfigError: the cluster is not known, or refuses.
        TargetError: the cluster cannot be reached.
    """
    async with Cluster(Access(kubeconfig, context), sleep=sleep) as cluster:
        found = await look_for(cluster, namespace=namespace, run=run)
    if older_than_seconds is None:
        return found
    before = time.time() - older_than_seconds
    objects = tuple(one for one in found.objects if _instant(one.created) <= before)
    return replace(found, objects=objects)


async def remove_leftovers(
    objects: Sequence[Placed],
    *,
    kubeconfig: str | None = None,
    context: str | None = None,
    seconds: float = 120.0,
    tell: Callable[[str], None],
    sleep: Sleep = asyncio.sleep,
) -> list[str]:
    """Remove what was found, and wait until it is gone.

    Args:
        objects: which.
        kubeconfig: as for `find_leftovers`.
        context: as for `find_leftovers`.
        seconds: how long to wait for all of them.
        tell: takes progress, a line each.
        sleep: waits between two looks.

    Returns:
        What is left, a line each; empty where everything is gone.

    Raises:
        ConfigError: the cluster is not known.
    """
    async with Cluster(Access(kubeconfig, context), sleep=sleep) as cluster:
        return await remove(cluster, objects, seconds=seconds, tell=tell)


async def look_for(cluster: Cluster, *, namespace: str | None, run: str | None) -> Leftovers:
    """Find the objects of a run, or of every run, on a cluster; see `find_leftovers`."""
    resources, unread = await cluster.all_resources()
    kinds = [
        one
        for one in resources
        if one.verbs >= _NEEDED
        and one.kind not in _IGNORED
        and (one.namespaced or namespace is None or run is not None)
    ]
    turn = asyncio.Semaphore(_LOOKS_AT_ONCE)
    query = [("labelSelector", label_selector(run))]

    async def listed(kind: Resource) -> tuple[Resource, list[Json], str]:
        async with turn:
            try:
                items, _ = await cluster.list(kind.path(namespace), query)
            except BenchcoreError as error:
                return kind, [], f"{kind.plural} of {kind.api_version}: {error}"
            return kind, items, ""

    bodies: dict[str, tuple[Resource, Json]] = {}
    for kind, items, fault in await asyncio.gather(*map(listed, kinds)):
        unread += [fault] if fault else []
        for body in items:
            # An object may be listed in two groups, such as those of the past.
            bodies.setdefault(body["metadata"]["uid"], (kind, body))
    services = {
        (body["metadata"].get("namespace"), body["metadata"]["name"])
        for kind, body in bodies.values()
        if kind.kind == "Service"
    }
    objects = [
        Placed.read(kind, body, owned=_is_owned(kind, body, bodies.keys(), services))
        for kind, body in bodies.values()
    ]
    return Leftovers(tuple(objects), tuple(unread))


def _is_owned(
    kind: Resource, body: Json, uids: Iterable[str], services: set[tuple[str | None, str]]
) -> bool:
    metadata = body["metadata"]
    if kind.kind == "Endpoints":
        # They have no owner, and go with the Service of their name.
        return (metadata.get("namespace"), metadata["name"]) in services
    owners = {one.get("uid") for one in metadata.get("ownerReferences") or ()}
    return not owners.isdisjoint(uids)


def _instant(created: str) -> float:
    return datetime.fromisoformat(created).timestamp() if created else 0.0


async def remove_run(launch: KubernetesLaunch, base: Path, run_id: str) -> list[str]:
    """Remove what a run has put on a cluster, and return what is still there, a line each.

    Args:
        launch: of its scenario.
        base: the folder of the scenario's file.
        run_id: of the run.

    Raises:
        BenchcoreError: the cluster cannot be reached, or refuses.
    """
    said: list[str] = []
    kubeconfig = None if launch.kubeconfig is None else str(base / launch.kubeconfig)
    find = partial(find_leftovers, kubeconfig=kubeconfig, context=launch.context, run=run_id)
    found = await find()
    if found.unread and not found.objects:
        # Whoever may look into one namespace only has put everything there.
        found = await find(namespace=launch.namespace)
    if found.unread and not found.objects:
        raise TargetError(
            f"whether run {run_id} has left anything cannot be told: {found.unread[0]}"
        )
    if not found.objects:
        return said
    left = await remove_leftovers(
        found.objects,
        kubeconfig=kubeconfig,
        context=launch.context,
        seconds=launch.delete_seconds,
        tell=said.append,
    )
    return [*said, *left]
