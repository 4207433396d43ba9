"""Resources: the kinds of objects, how ours are known, and which cluster is asked."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import yaml

from benchcore.base.errors import ConfigError
from benchcore.version import __version__, installing

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


MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "benchcore"
RUN: Final = "benchcore.dev/run"
SCENARIO: Final = "benchcore.dev/scenario"
_LONGEST: Final = 63
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_.-]+")


def label_value(text: str) -> str:
    """Return a text as the value of a label: at most 63 of `[A-Za-z0-9_.-]`, ends alphanumeric.

    What had to be cut ends in a hash of the whole, so that two long names stay two.
    """
    value = _ILLEGAL.sub("-", text).strip("-_.")
    if len(value) > _LONGEST:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        value = f"{value[: _LONGEST - 9].rstrip('-_.')}-{digest}"
    return value


def run_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return labels with legal values, and with the one that says whose the objects are."""
    return {name: label_value(value) for name, value in labels.items()} | {MANAGED_BY: MANAGER}


def label_selector(run: str | None = None) -> str:
    """Return what selects the objects of a run, or those of every run."""
    whose = f"{MANAGED_BY}={MANAGER}"
    return whose if run is None else f"{whose},{RUN}={label_value(run)}"


def labels_of(body: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the labels of an object."""
    return (body.get("metadata") or {}).get("labels") or {}


def is_ours(body: Mapping[str, Any]) -> bool:
    """Tell whether an object on a cluster was put there by benchcore."""
    return labels_of(body).get(MANAGED_BY) == MANAGER


_FALLBACK: Final = "~/.kube/config"
_IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster and an account there.

    Args:
        kubeconfig: a file; where left out, KUBECONFIG, `~/.kube/config` or the pod's own account.
        context: of it; its current one where left out.
    """

    kubeconfig: str | None = None
    context: str | None = None


async def api_client(access: Access) -> Any:
    """Return a client of kubernetes-asyncio that has its address and credentials.

    Raises:
        ConfigError: the library is not there, or the kubeconfig is not or is wrong.
    """
    library, config = _library()
    configuration = library.Configuration()
    # Each request that goes through a tunnel holds a connection of its own.
    configuration.connection_pool_maxsize = 0
    files = _kubeconfig(access)
    try:
        if files is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(
                config_file=files,
                context=access.context,
                client_configuration=configuration,
            )
        client = library.ApiClient(configuration)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError) as error:
        raise ConfigError(f"{_named_cluster(files)}: {one_line(str(error))}; correct it") from None
    except (AssertionError, AttributeError, LookupError, TypeError):
        # The library trusts the form of the file: these are what it raises where it is another.
        raise ConfigError(f"{_named_cluster(files)}: is not a kubeconfig; correct it") from None
    client.user_agent = f"benchcore/{__version__}"
    return client


def _library() -> tuple[Any, Any]:
    try:
        # Not by a statement: the library is optional, and far too large for the type checker.
        return (
            importlib.import_module("kubernetes_asyncio.client"),
            importlib.import_module("kubernetes_asyncio.config"),
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Kubernetes needs a library that is not installed ({error.name}); {installing('k8s')}"
        ) from None


def _named_cluster(files: str | None) -> str:
    return "the account of the pod" if files is None else f"kubeconfig {files}"


def _kubeconfig(access: Access) -> str | None:
    """Return the files to read, as KUBECONFIG joins them; `None` inside a cluster."""
    if access.kubeconfig is not None:
        if not Path(access.kubeconfig).is_file():
            raise ConfigError(f"kubeconfig {access.kubeconfig}: does not exist; give a file")
        return access.kubeconfig
    named = os.environ.get("KUBECONFIG", "")
    found = [
        str(path)
        for one in (named or _FALLBACK).split(os.pathsep)
        if one and (path := Path(one).expanduser()).is_file()
    ]
    if found:
        return os.pathsep.join(found)
    if named:
        raise ConfigError(f"KUBECONFIG={named}: does not exist; name a file")
    if os.environ.get(_IN_CLUSTER) and access.context is None:
        return None
    raise ConfigError(
        "no cluster is known; give kubeconfig, set KUBECONFIG, or run inside the cluster"
    )
