"""Resources: the kinds of objects that a cluster knows, and where each is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

Json = dict[str, Any]
"""An object as the API server writes it."""

_CORE: Final = "v1"


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of objects.

    Args:
        api_version: its group and version, such as `apps/v1`.
        kind: such as `Deployment`.
        plural: its name in paths, such as `deployments`.
        namespaced: whether its objects live in namespaces.
        verbs: what can be done with them.
    """

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str] = field(default=frozenset(), compare=False)

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of an object, or of all of them where no name is given."""
        parts = [api_path(self.api_version)]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


def api_path(api_version: str) -> str:
    """Return where the resources of a group and version are."""
    return f"/api/{_CORE}" if api_version == _CORE else f"/apis/{api_version}"


POD: Final = Resource(_CORE, "Pod", "pods", namespaced=True)
EVENT: Final = Resource(_CORE, "Event", "events", namespaced=True)
NODE: Final = Resource(_CORE, "Node", "nodes", namespaced=False)
SERVICE: Final = Resource(_CORE, "Service", "services", namespaced=True)
NAMESPACE: Final = Resource(_CORE, "Namespace", "namespaces", namespaced=False)
REPLICA_SET: Final = Resource("apps/v1", "ReplicaSet", "replicasets", namespaced=True)


def listed_resources(answer: Mapping[str, Any]) -> list[Resource]:
    """Read an `APIResourceList`, without the subresources such as `pods/log`."""
    return [
        Resource(
            api_version=answer["groupVersion"],
            kind=one["kind"],
            plural=one["name"],
            namespaced=bool(one.get("namespaced")),
            verbs=frozenset(one.get("verbs") or ()),
        )
        for one in answer.get("resources") or ()
        if "/" not in one["name"]
    ]


def preferred_versions(answer: Mapping[str, Any]) -> list[str]:
    """Read an `APIGroupList`: the preferred version of each group."""
    return [group["preferredVersion"]["groupVersion"] for group in answer.get("groups") or ()]


def is_custom(api_version: str) -> bool:
    """Tell whether a group is one that somebody added to Kubernetes.

    Its own have no dot (`apps`) or end in `.k8s.io`; `x-k8s.io` is of projects beside it.
    """
    group = api_version.partition("/")[0]
    return "." in group and (group.endswith(".x-k8s.io") or not group.endswith(".k8s.io"))


def name_of(body: Mapping[str, Any]) -> str:
    """Return the name of an object."""
    return str((body.get("metadata") or {}).get("name", ""))


def namespace_of(body: Mapping[str, Any]) -> str | None:
    """Return the namespace of an object; `None` where it lives in none."""
    namespace: str | None = (body.get("metadata") or {}).get("namespace")
    return namespace


def uid_of(body: Mapping[str, Any]) -> str:
    """Return what tells an object from a later one of the same name."""
    return str((body.get("metadata") or {}).get("uid", ""))


def condition(body: Mapping[str, Any], *types: str) -> Mapping[str, Any] | None:
    """Return the first condition of these types in the status of an object."""
    found = {one.get("type"): one for one in (body.get("status") or {}).get("conditions") or ()}
    return next((found[one] for one in types if one in found), None)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod takes requests."""
    found = condition(pod, "Ready")
    going = "deletionTimestamp" not in pod["metadata"]
    return going and found is not None and found.get("status") == "True"


def one_line(texts: str | Iterable[str]) -> str:
    """Return a message of the cluster as one line."""
    joined = texts if isinstance(texts, str) else " | ".join(texts)
    return " ".join(joined.split())
