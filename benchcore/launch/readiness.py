"""Readiness: what an object of a cluster says of how far its rollout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchcore.launch.manifests import CRD
from benchcore.launch.resources import condition, is_custom, is_ready, one_line

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
