"""Vigil: tells when a pod that was there at the begin of a measurement is lost."""

from __future__ import annotations

from collections.abc import Mapping

from benchcore.launch.resources import Json, name_of
from benchcore.launch.troubles import container_statuses, ending


class Vigil:
    """Compares pods with what they were.

    Args:
        pods: those that are there, by uid.
    """

    def __init__(self, pods: Mapping[str, Json]) -> None:
        self._names = {uid: name_of(pod) for uid, pod in pods.items() if not _is_over(pod)}
        self._ended = {(uid, name) for uid, pod in pods.items() for name in _ended(pod)}
        self._restarts = {uid: _restarts(pod) for uid, pod in pods.items()}

    def loss(self, pods: Mapping[str, Json]) -> str | None:
        """Return which pod is not what it was, and why; `None` where all are.

        Args:
            pods: those that are there now, by uid.
        """
        for uid, name in self._names.items():
            pod = pods.get(uid)
            if pod is None:
                return f"pod {name} is gone"
            if "deletionTimestamp" in pod["metadata"]:
                return f"pod {name} is being removed"
            status = pod.get("status") or {}
            if status.get("phase") == "Failed":
                return f"pod {name} failed: {status.get('reason') or _how(pod)}"
            for container, count in _restarts(pod).items():
                if count > self._restarts[uid].get(container, 0):
                    return f"pod {name}: container {container} was started again: {_how(pod)}"
            for container in _ended(pod):
                if status.get("phase") == "Running" and (uid, container) not in self._ended:
                    return f"pod {name}: container {container} ended: {_how(pod)}"
        return None


def _is_over(pod: Json) -> bool:
    """Tell whether a pod had done its work, as one of a Job has."""
    return (pod.get("status") or {}).get("phase") == "Succeeded"


def _ended(pod: Json) -> list[str]:
    found = (pod.get("status") or {}).get("containerStatuses") or ()
    return [one["name"] for one in found if "terminated" in (one.get("state") or {})]


def _restarts(pod: Json) -> dict[str, int]:
    return {one["name"]: one.get("restartCount", 0) for one in container_statuses(pod)}


def _how(pod: Json) -> str:
    return next(filter(None, map(ending, container_statuses(pod))), "it does not say why")
