"""Troubles: what a pod, a rollout or an event says is wrong, and whether it may heal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchcore.launch.resources import condition, name_of, one_line

CRASHES: Final = 3
"""So many restarts in a crash loop are enough to give up."""

_NEVER: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_FOR_GOOD: Final = re.compile(
    r"not found|manifest unknown|does not exist|unauthorized|denied|authentication required"
    r"|no match for platform",
    re.IGNORECASE,
)
# Their news is in the status of the pod, said better there; or there is none in them.
_SILENT: Final = frozenset({"BackOff", "Failed", "FailedToUpdateEndpoint", "NodeNotReady"})
_ONCE: Final = frozenset({"Unhealthy", "FailedScheduling", "FailedMount", "FailedAttachVolume"})
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is in the way.

    Args:
        text: what, in one line.
        key: of two troubles with the same key only the first is told.
        fatal: it will not heal.
        container: whose log says more, with its pod; `None` where nobody's does.
        crashed: the log is that of the container before.
    """

    text: str
    key: tuple[str, ...]
    fatal: bool = False
    container: tuple[str, str] | None = None
    crashed: bool = False


def pod_troubles(pod: Mapping[str, Any]) -> Iterator[Trouble]:
    """Give what is wrong with a pod."""
    name, status = name_of(pod), pod.get("status") or {}
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        reason = scheduled.get("reason", "Unschedulable")
        said = _short(scheduled.get("message", ""))
        yield Trouble(f"pod {name}: {reason}: {said}", (name, reason))
    if status.get("phase") == "Failed" and status.get("reason"):
        said = _short(status.get("message", ""))
        yield Trouble(f"pod {name}: {status['reason']}: {said}", (name, status["reason"]))
    for one in container_statuses(pod):
        yield from _container_troubles(name, one)


def container_statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of a pod's containers, those of its start first."""
    status = pod.get("status") or {}
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


def _container_troubles(pod: str, status: Mapping[str, Any]) -> Iterator[Trouble]:
    container, restarts = status["name"], status.get("restartCount", 0)
    place, whose = f"pod {pod}, container {container}", (pod, container)
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, said = waiting.get("reason", ""), _short(waiting.get("message", ""))
    ended = ending(status)
    if reason == "CrashLoopBackOff":
        yield Trouble(
            f"{place}: CrashLoopBackOff after {restarts} restarts: {ended or said}",
            (*whose, reason, str(restarts)),
            fatal=restarts >= CRASHES,
            container=whose,
            crashed=True,
        )
    elif reason in _PULL:
        # kubelet tries again for ever; what the registry does not have will not come.
        fatal = _FOR_GOOD.search(said) is not None
        yield Trouble(f"{place}: {reason}: {said}", (*whose, reason, str(fatal)), fatal=fatal)
    elif reason and reason not in _STARTING:
        yield Trouble(
            f"{place}: {reason}: {said}", (*whose, reason), fatal=reason in _NEVER, container=whose
        )
    elif ended is not None:
        yield Trouble(
            f"{place}: {ended}",
            (*whose, ended, str(restarts)),
            container=whose,
            crashed="terminated" not in (status.get("state") or {}),
        )


def ending(status: Mapping[str, Any]) -> str | None:
    """Return how a container ended last; `None` where it did not, or ended well."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended = state.get("terminated")
        if ended:
            code = ended.get("exitCode", 0)
            if code == 0:
                continue
            said = _short(ended.get("message", ""))
            how = f"{ended.get('reason') or 'Error'}, exit code {code}"
            return f"{how}: {said}" if said else how
    return None


def rollout_troubles(body: Mapping[str, Any]) -> Iterator[Trouble]:
    """Give what the object that makes pods says is wrong."""
    name = f"{body['kind']} {name_of(body)}"
    going = condition(body, "Progressing")
    if going is not None and going.get("reason") == "ProgressDeadlineExceeded":
        # A large model may take longer than the deadline, and come up after all.
        text = f"{name}: ProgressDeadlineExceeded: {_short(going.get('message', ''))}"
        yield Trouble(text, (name, "ProgressDeadlineExceeded"))
    failing = condition(body, "ReplicaFailure")
    if failing is not None and failing.get("status") == "True":
        said = _short(failing.get("message", ""))
        yield Trouble(f"{name}: {failing.get('reason')}: {said}", (name, "ReplicaFailure", said))


def event_trouble(event: Mapping[str, Any]) -> Trouble | None:
    """Return what an event warns of; `None` where it does not."""
    reason, said = event.get("reason", ""), _short(event.get("message", ""))
    pull = reason == "Failed" and said.startswith("Failed to pull image")
    if event.get("type") != "Warning" or (reason in _SILENT and not pull):
        return None
    about = event.get("involvedObject") or {}
    name = f"{str(about.get('kind', 'object')).lower()} {about.get('name')}"
    key = (name, reason) if reason in _ONCE else (name, reason, said)
    fatal = pull and _FOR_GOOD.search(said) is not None
    return Trouble(f"{name}: {reason}: {said}", key, fatal=fatal)


def _short(message: Any) -> str:
    line = one_line(str(message or ""))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
