"""Placement: puts the objects of a scenario on a cluster, and only over objects of benchcore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchcore.base.errors import BenchcoreError, ConfigError, TargetError
from benchcore.servers.kubernetes.cluster import APPLY, FIELD_MANAGER, Cluster
from benchcore.servers.kubernetes.manifests import CRD, LAST_WAVE, Manifest
from benchcore.servers.kubernetes.removal import Placed, remove, wait_gone
from benchcore.servers.kubernetes.resources import (
    NAMESPACE,
    RUN,
    Json,
    Resource,
    is_ours,
    label_selector,
    one_line,
)
from benchcore.servers.kubernetes.rollout import Rollout, is_waited_for

_LOOKS: Final = 20
_LOOK_SECONDS: Final = 0.5


class Placement:
    """The objects of a run on a cluster.

    Attributes:
        placed: what has been applied.
        begun: whether anything may have been.

    Args:
        cluster: where.
        manifests: what, labelled, in their order.
        namespace: of those that name none.
        labels: what all of them carry.
        tell: takes progress, a line each.
    """

    def __init__(
        self,
        cluster: Cluster,
        manifests: Sequence[Manifest],
        *,
        namespace: str,
        labels: Mapping[str, str],
        tell: Callable[[str], None],
    ) -> None:
        self.placed: list[Placed] = []
        self.begun = False
        self._cluster = cluster
        self._manifests = list(manifests)
        self._namespace = namespace
        self._labels = labels
        self._tell = tell

    async def place(self, *, create_namespace: bool, ready: float, gone: float) -> None:
        """Apply everything.

        Args:
            create_namespace: make the namespace where it is not there.
            ready: seconds to wait for namespaces and definitions.
            gone: seconds to wait for objects of the same name that are being removed.

        Raises:
            ConfigError: something is not known to the cluster, not allowed, or somebody else's.
            TargetError: the cluster did not answer, or did not get ready.
        """
        await self._add_namespace(create=create_namespace)
        # All of them before the first is touched: nothing is to be undone for a slip of the pen.
        there: list[tuple[Manifest, Resource, Json]] = []
        for one in self._manifests:
            resource = await self._resource(one)
            if resource is not None and (body := await self._present(one, resource)) is not None:
                there.append((one, resource, body))
        for one, resource, body in there:
            await self._make_room(one, Placed.read(resource, body), body, gone)
        self.begun = True
        for wave in sorted({one.wave for one in self._manifests}):
            placed = []
            for one in self._manifests:
                if one.wave == wave:
                    placed.append(await self._apply(one))
                    self.placed.append(placed[-1])
            self._tell(f"applied {', '.join(map(str, placed))}")
            if placed[0].resource.kind in {"Namespace", CRD}:
                selector = label_selector(self._labels.get(RUN))
                await Rollout(self._cluster, placed, selector=selector, tell=_quiet).wait(ready)

    async def _add_namespace(self, *, create: bool) -> None:
        own = {one.name for one in self._manifests if one.kind == NAMESPACE.kind}
        named = {one.namespace for one in self._manifests if one.namespace is not None}
        for name in sorted(({self._namespace} | named) - own):
            path = NAMESPACE.path(name=name)
            # Who may work in one namespace need not be allowed to look at it.
            answer = await self._cluster.ask("GET", path, accept={403, 404})
            if answer.status == 403:
                continue
            made_here = create and name == self._namespace
            if answer.status == 404 or (made_here and is_ours(answer.json())):
                if not made_here:
                    raise ConfigError(
                        f"{self._cluster.where}: there is no namespace {name}; "
                        "make it, or set create_namespace"
                    )
                metadata = {"name": name, "labels": dict(self._labels)}
                body: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
                self._manifests.insert(0, Manifest(Path("create_namespace"), 1, body))
            elif (answer.json().get("status") or {}).get("phase") == "Terminating":
                raise ConfigError(
                    f"{self._cluster.where}: namespace {name} is being removed; "
                    "wait until it is gone"
                )

    async def _resource(self, one: Manifest) -> Resource | None:
        """Return the kind of a manifest; `None` where another manifest is yet to define it."""
        resource = await self._cluster.resource(one.api_version, one.kind)
        if resource is None and not self._defines(one):
            raise ConfigError(
                f"{one.at}: {one}: {self._cluster.where} knows no {one.kind} of {one.api_version}; "
                "install what defines it, or correct apiVersion and kind"
            )
        return resource

    def _defines(self, wanted: Manifest) -> bool:
        group = wanted.api_version.partition("/")[0]
        for one in self._manifests:
            spec = one.body.get("spec") or {}
            if one.kind == CRD and spec.get("group") == group:
                return bool((spec.get("names") or {}).get("kind") == wanted.kind)
        return False

    def _path(self, one: Manifest, resource: Resource) -> str:
        space = (one.namespace or self._namespace) if resource.namespaced else None
        return resource.path(space, one.name)

    async def _present(self, one: Manifest, resource: Resource) -> Json | None:
        """Return what is there already of the name of a manifest.

        Raises:
            ConfigError: it is somebody else's, and would be removed in the end.
        """
        answer = await self._cluster.ask("GET", self._path(one, resource), accept={404})
        if answer.status == 404:
            return None
        body = answer.json()
        if not is_ours(body):
            raise ConfigError(
                f"{one.at}: {Placed.read(resource, body).place} exists already and does not "
                "belong to benchcore, which would remove it in the end; give another name or "
                "namespace, or take it out"
            )
        return body

    async def _make_room(self, one: Manifest, found: Placed, body: Json, gone: float) -> None:
        """Deal with what an earlier run left.

        Raises:
            TargetError: it is to go, and did not.
        """
        left: list[str] = []
        if "deletionTimestamp" in body["metadata"]:
            self._tell(f"{found.place} is being removed: waiting")
            left = list(filter(None, [await wait_gone(self._cluster, found, gone)]))
        elif found.run == self._labels.get(RUN, ""):
            return
        elif one.wave == LAST_WAVE and is_waited_for(one.api_version, one.kind):
            # Its pods hold the accelerators, for which those of a rolling update wait for ever.
            self._tell(f"{found.place} is left from run {found.run or 'unknown'}: removing it")
            left = await remove(self._cluster, [found], seconds=gone, tell=_quiet)
        else:
            self._tell(f"{found.place} is left from run {found.run or 'unknown'}: taken over")
        if left:
            raise TargetError(f"{one.at}: {'; '.join(left)}; find out why, then run again")

    async def _apply(self, one: Manifest) -> Placed:
        resource = await self._resource(one)
        for _ in range(_LOOKS):
            if resource is not None:
                break
            # A definition is established a moment before the API server lists what it defines.
            await self._cluster.sleep(_LOOK_SECONDS)
            resource = await self._cluster.resource(one.api_version, one.kind, anew=True)
        if resource is None:
            raise TargetError(f"{one.at}: {one}: its definition is there, but not served")
        try:
            answer = await self._cluster.ask(
                "PATCH",
                self._path(one, resource),
                [("fieldManager", FIELD_MANAGER), ("force", "true")],
                body=one.body,
                content_type=APPLY,
            )
        except BenchcoreError as error:
            raise type(error)(f"{one.at}: {one}: {one_line(str(error))}") from None
        return Placed.read(resource, answer.json())


def _quiet(_: str) -> None:
    pass
