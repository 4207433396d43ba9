"""Leftovers: what runs that were killed left on a cluster, found by label."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from benchcore.errors import BenchcoreError
from benchcore.launch.cluster import Cluster, Sleep
from benchcore.launch.credentials import Access
from benchcore.launch.labels import label_selector
from benchcore.launch.placed import Placed, remove
from benchcore.launch.resources import Json, Resource

_AT_ONCE: Final = 8
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
    turn = asyncio.Semaphore(_AT_ONCE)
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
