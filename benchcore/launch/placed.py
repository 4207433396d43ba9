"""Placed: an object that a run put on a cluster, and its removal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from benchcore.errors import BenchcoreError
from benchcore.launch.cluster import Cluster
from benchcore.launch.labels import RUN, SCENARIO, labels_of
from benchcore.launch.manifests import wave_of
from benchcore.launch.resources import Json, Resource, name_of, namespace_of, one_line, uid_of

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
