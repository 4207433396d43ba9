"""Credentials: which cluster is asked, and as whom."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchcore.errors import ConfigError
from benchcore.launch.resources import one_line
from benchcore.version import __version__, installing

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
        raise ConfigError(f"{_named(files)}: {one_line(str(error))}; correct it") from None
    except (AssertionError, AttributeError, LookupError, TypeError):
        # The library trusts the form of the file: these are what it raises where it is another.
        raise ConfigError(f"{_named(files)}: is no kubeconfig; correct it") from None
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


def _named(files: str | None) -> str:
    return "the account of the pod" if files is None else f"kubeconfig {files}"


def _kubeconfig(access: Access) -> str | None:
    """Return the files to read, as KUBECONFIG joins them; `None` inside a cluster."""
    if access.kubeconfig is not None:
        if not Path(access.kubeconfig).is_file():
            raise ConfigError(f"kubeconfig {access.kubeconfig}: is not there; give a file")
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
        raise ConfigError(f"KUBECONFIG={named}: is not there; name a file")
    if os.environ.get(_IN_CLUSTER) and access.context is None:
        return None
    raise ConfigError(
        "no cluster is known; give kubeconfig, set KUBECONFIG, or run inside the cluster"
    )
