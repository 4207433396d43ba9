"""Rollout: whether what was placed has become ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchcore.base.errors import BenchcoreError, TargetError
from benchcore.base.secrets import masked_text
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.manifests import CRD
from benchcore.servers.kubernetes.pods import (
    Trouble,
    container_statuses,
    event_trouble,
    pod_troubles,
    rollout_troubles,
)
from benchcore.servers.kubernetes.removal import Placed
from benchcore.servers.kubernetes.resources import (
    EVENT,
    POD,
    REPLICA_SET,
    Json,
    Resource,
    condition,
    is_custom,
    is_ready,
    name_of,
    namespace_of,
    one_line,
    uid_of,
)
from benchcore.servers.kubernetes.watch import Watch

_CUSTOM_CONDITIONS: Final = ("Available", "Ready", "Established", "Succeeded")
_SILENT: Final = frozenset({"Namespace", CRD})


@dataclass(frozen=True, slots=True)
class Readiness:
    """How far an object is.

    Args:
        ready: it is all there.
        text: how far, in words.
        failed: why it will never be; `None` while it may.
    """

    ready: bool
    text: str
    failed: str | None = None


def is_waited_for(api_version: str, kind: str) -> bool:
    """Tell whether objects of a kind say how far they are."""
    return kind in _KINDS or (is_custom(api_version) and kind not in _SILENT)


def readiness(body: Mapping[str, Any]) -> Readiness:
    """Return how far an object is; the rules are those of `kubectl rollout status`."""
    metadata, status = body["metadata"], body.get("status") or {}
    seen = status.get("observedGeneration")
    if seen is not None and seen < metadata.get("generation", 0):
        return Readiness(ready=False, text="its controller has not seen it yet")
    return _KINDS.get(body["kind"], _custom)(body.get("spec") or {}, status, body)


_Rule = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], Readiness]


def _of(count: int, wanted: int, what: str) -> Readiness:
    return Readiness(count >= wanted, f"{count} of {wanted} {what}")


def _wanted(spec: Mapping[str, Any]) -> int:
    replicas = spec.get("replicas")
    return 1 if replicas is None else int(replicas)


def _deployment(
    spec: Mapping[str, Any], status: Mapping[str, Any], _: Mapping[str, Any]
) -> Readiness:
    wanted = _wanted(spec)
    if status.get("observedGeneration") is None:
        return Readiness(ready=False, text="its controller has not seen it yet")
    if (updated := status.get("updatedReplicas", 0)) < wanted:
        return _of(updated, wanted, "updated")
    if status.get("replicas", 0) > updated:
        return Readiness(ready=False, text="pods of before are still going")
    return _of(status.get("availableReplicas", 0), wanted, "ready")


def _stateful_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], _: Mapping[str, Any]
) -> Readiness:
    wanted = _wanted(spec)
    if status.get("observedGeneration") is None:
        return Readiness(ready=False, text="its controller has not seen it yet")
    done = _of(status.get("readyReplicas", 0), wanted, "ready")
    on_delete = (spec.get("updateStrategy") or {}).get("type") == "OnDelete"
    moving = status.get("currentRevision") != status.get("updateRevision")
    if done.ready and moving and not on_delete:
        return _of(min(status.get("updatedReplicas", 0), wanted - 1), wanted, "updated")
    return done


def _daemon_set(
    _: Mapping[str, Any], status: Mapping[str, Any], __: Mapping[str, Any]
) -> Readiness:
    if status.get("observedGeneration") is None:
        return Readiness(ready=False, text="its controller has not seen it yet")
    wanted = status.get("desiredNumberScheduled", 0)
    if (updated := status.get("updatedNumberScheduled", 0)) < wanted:
        return _of(updated, wanted, "updated")
    return _of(status.get("numberAvailable", 0), wanted, "ready")


def _replica_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], _: Mapping[str, Any]
) -> Readiness:
    return _of(status.get("readyReplicas", 0), _wanted(spec), "ready")


def _job(spec: Mapping[str, Any], status: Mapping[str, Any], body: Mapping[str, Any]) -> Readiness:
    failed = condition(body, "Failed")
    if failed is not None and failed.get("status") == "True":
        return Readiness(ready=False, text="failed", failed=_said(failed))
    complete = condition(body, "Complete")
    done = complete is not None and complete.get("status") == "True"
    wanted = spec.get("completions") or 1
    return Readiness(done, f"{status.get('succeeded', 0)} of {wanted} done")


def _pod(_: Mapping[str, Any], status: Mapping[str, Any], body: Mapping[str, Any]) -> Readiness:
    phase = status.get("phase", "Pending")
    if phase == "Failed":
        said = one_line(filter(None, (status.get("reason"), status.get("message"))))
        return Readiness(ready=False, text="failed", failed=said or "its containers failed")
    return Readiness(phase == "Succeeded" or is_ready(body), str(phase))


def _definition(_: Mapping[str, Any], __: Mapping[str, Any], body: Mapping[str, Any]) -> Readiness:
    names = condition(body, "NamesAccepted")
    if names is not None and names.get("status") == "False":
        return Readiness(ready=False, text="names not accepted", failed=_said(names))
    found = condition(body, "Established")
    done = found is not None and found.get("status") == "True"
    return Readiness(done, "established" if done else "not established yet")


def _namespace(_: Mapping[str, Any], status: Mapping[str, Any], __: Mapping[str, Any]) -> Readiness:
    phase = status.get("phase", "not there yet")
    return Readiness(phase == "Active", str(phase))


def _custom(
    spec: Mapping[str, Any], status: Mapping[str, Any], body: Mapping[str, Any]
) -> Readiness:
    """An object of an operator: what it says by the customs of the API, in this order."""
    replicas = spec.get("replicas")
    if replicas is not None and "readyReplicas" in status and status["readyReplicas"] < replicas:
        return _of(status["readyReplicas"], replicas, "ready")
    found = condition(body, *_CUSTOM_CONDITIONS)
    if found is not None:
        done = found.get("status") == "True"
        return Readiness(done, str(found["type"]) if done else _said(found))
    if replicas is not None and status:
        return _of(status.get("readyReplicas", 0), replicas, "ready")
    if replicas is not None:
        return Readiness(ready=False, text="its operator has not seen it yet; is it installed?")
    return Readiness(ready=True, text="says nothing of its state")


def _said(found: Mapping[str, Any]) -> str:
    return one_line(": ".join(filter(None, (found.get("reason"), found.get("message"))))) or str(
        found.get("type")
    )


_KINDS: Final[dict[str, _Rule]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "ReplicaSet": _replica_set,
    "Job": _job,
    "Pod": _pod,
    CRD: _definition,
    "Namespace": _namespace,
}


_SAY_SECONDS: Final = 60.0
_LOG_LINES: Final = 8
_REASONS: Final = 6


class Rollout:
    """The wait for objects that were applied.

    Args:
        cluster: where they are.
        placed: what was applied; kinds that say nothing of their state are not waited for.
        selector: of labels that they and their pods carry.
        tell: takes progress and reasons, a line each.
        secrets: values that must not be in a reason.
        timeout: bounds the wait.
    """

    def __init__(
        self,
        cluster: Cluster,
        placed: Sequence[Placed],
        *,
        selector: str,
        tell: Callable[[str], None],
        secrets: Collection[str] = (),
        timeout: Callable[[float], asyncio.Timeout] = asyncio.timeout,
    ) -> None:
        self._cluster = cluster
        self._wanted = [
            one for one in placed if is_waited_for(one.resource.api_version, one.resource.kind)
        ]
        self._selector = selector
        self._tell = tell
        self._secrets = secrets
        self._timeout = timeout
        self._changed = asyncio.Event()
        self._watches: dict[tuple[Resource, str | None], Watch] = {}
        self._told: dict[str, str] = {}
        self._reasons: dict[tuple[str, ...], Trouble] = {}

    async def wait(self, seconds: float, *, left: float | None = None) -> None:
        """Wait until everything is ready.

        Args:
            seconds: how long at most.
            left: how much of that is left; all of it where left out.

        Raises:
            TargetError: it will not be, or was not in time; says why, with the last lines of a log.
            ConfigError: it must not be looked at.
        """
        if not self._wanted:
            return
        follows: list[asyncio.Task[None]] = []
        try:
            async with self._timeout(seconds if left is None else max(left, 0.0)):
                await self._list()
                follows = [asyncio.create_task(one.follow()) for one in self._watches.values()]
                await self._until_ready(follows)
        except TimeoutError:
            raise await self._given_up(f"not ready within {seconds:g} s") from None
        finally:
            for follow in follows:
                follow.cancel()
            await asyncio.gather(*follows, return_exceptions=True)

    async def _list(self) -> None:
        required = {(one.resource, one.namespace) for one in self._wanted}
        spaces = {space for _, space in required if space is not None}
        kinds = {one.resource.kind for one in self._wanted}
        required |= {(POD, space) for space in spaces}
        optional = {(EVENT, space) for space in spaces}
        if "Deployment" in kinds:
            optional |= {(REPLICA_SET, space) for space in spaces}
        for resource, space in sorted(required | optional, key=_order):
            query = [] if resource == EVENT else [("labelSelector", self._selector)]
            watch = Watch(self._cluster, resource, space, query, changed=self._changed.set)
            try:
                await watch.list()
            except BenchcoreError as error:
                if (resource, space) in required:
                    raise
                # Without them it can be waited all the same, with fewer reasons.
                self._tell(f"without {resource.plural}: {error}")
                continue
            self._watches[resource, space] = watch

    async def _until_ready(self, follows: Sequence[asyncio.Task[None]]) -> None:
        while True:
            self._changed.clear()
            if self._look():
                return
            if any(one.fatal for one in self._troubles()):
                raise await self._given_up("will not become ready")
            change = asyncio.create_task(self._changed.wait())
            try:
                done, _ = await asyncio.wait(
                    {change, *follows},
                    timeout=_SAY_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                change.cancel()
            for task in done - {change}:
                task.result()
            if not done:
                self._tell(f"still waiting: {'; '.join(self._missing())}")

    def _look(self) -> bool:
        """Tell what is new; return whether everything is ready."""
        ready = True
        for one in self._wanted:
            body = self._body(one)
            if body is None:
                ready = False
                self._say(one, "is not there")
                continue
            now = readiness(body)
            self._say(one, now.failed or now.text)
            ready = ready and now.ready
        for trouble in self._troubles():
            known = self._reasons.setdefault(trouble.key, trouble)
            if known is trouble:
                self._tell(masked_text(trouble.text, self._secrets))
        return ready

    def _say(self, one: Placed, text: str) -> None:
        if self._told.get(one.uid) != text:
            self._told[one.uid] = text
            self._tell(f"{one}: {text}")

    def _body(self, one: Placed) -> Json | None:
        watch = self._watches.get((one.resource, one.namespace))
        return None if watch is None else watch.objects.get((one.namespace, one.name))

    def _troubles(self) -> Iterator[Trouble]:
        known: set[str] = set()
        for (resource, _), watch in self._watches.items():
            if resource == EVENT:
                continue
            for body in watch.objects.values():
                known.add(uid_of(body))
                if "deletionTimestamp" not in body["metadata"]:
                    yield from _troubles_of(resource, body)
        for one in self._wanted:
            placed = self._body(one)
            failed = readiness(placed).failed if placed is not None else None
            if failed is not None:
                yield Trouble(f"{one}: {failed}", (str(one), failed), fatal=True)
        for (resource, _), watch in self._watches.items():
            if resource == EVENT:
                for event in watch.objects.values():
                    # Those of earlier objects of the same name are of no interest.
                    if (event.get("involvedObject") or {}).get("uid") in known:
                        trouble = event_trouble(event)
                        if trouble is not None:
                            yield trouble

    def _missing(self) -> list[str]:
        found = []
        for one in self._wanted:
            body = self._body(one)
            now = readiness(body) if body is not None else None
            if now is None or not now.ready:
                found.append(f"{one}: {now.text if now is not None else 'is not there'}")
        return found

    async def _given_up(self, why: str) -> TargetError:
        now = list(self._troubles())
        reasons = [one.text for one in sorted(now, key=lambda one: not one.fatal)]
        reasons = list(dict.fromkeys(reasons))[:_REASONS]
        text = f"{why}: {'; '.join([*self._missing(), *reasons])}"
        where = next((one for one in now if one.container is not None and one.fatal), None)
        where = where or next((one for one in now if one.container is not None), None)
        if where is not None and where.container is not None:
            text += await self._last_lines(*where.container, crashed=where.crashed)
        else:
            text += await self._lines_of_the_unready()
        return TargetError(masked_text(text, self._secrets))

    async def _lines_of_the_unready(self) -> str:
        for (resource, _), watch in self._watches.items():
            if resource != POD:
                continue
            for pod in watch.objects.values():
                statuses = container_statuses(pod)
                started = [one["name"] for one in statuses if "running" in (one.get("state") or {})]
                if started and not is_ready(pod):
                    return await self._last_lines(name_of(pod), started[-1], crashed=False)
        return ""

    async def _last_lines(self, pod: str, container: str, *, crashed: bool) -> str:
        space = next(
            namespace_of(one)
            for (resource, _), watch in self._watches.items()
            if resource == POD
            for one in watch.objects.values()
            if name_of(one) == pod
        )
        query = [("container", container), ("tailLines", str(_LOG_LINES))]
        if crashed:
            query.append(("previous", "true"))
        try:
            answer = await self._cluster.ask(
                "GET", f"{POD.path(space, pod)}/log", query, accept={400, 403, 404}
            )
        except BenchcoreError as error:
            return f"; its log cannot be read: {error}"
        if answer.status != 200:
            return f"; its log cannot be read: {answer.status}: {answer.message}"
        lines = answer.body.decode(errors="replace").splitlines()
        return f"; last lines of {pod}/{container}: {one_line(lines)}" if lines else ""


def _order(what: tuple[Resource, str | None]) -> tuple[str, str]:
    return what[0].kind, what[1] or ""


def _troubles_of(resource: Resource, body: Json) -> Iterator[Trouble]:
    if resource == POD:
        yield from pod_troubles(body)
    else:
        yield from rollout_troubles(body)
