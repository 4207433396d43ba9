"""Hosts: whether those of a fleet have what a worker needs, and have the same as we do."""

from __future__ import annotations

import hashlib
import ipaddress
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from benchcore.base.errors import ConfigError
from benchcore.version import DISTRIBUTION, __version__

_CHUNK: Final = 1 << 20
_ENCRYPTED: Final = ("tls://", "wss://")
_SHOWN: Final = 12
"""Digits of a digest that are shown."""


def digest(path: str) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files of a folder.

    Raises:
        OSError: it cannot be read.
    """
    found, top = hashlib.sha256(), Path(path)
    if top.is_dir():
        for one in sorted(one for one in top.rglob("*") if one.is_file()):
            found.update(f"{one.relative_to(top).as_posix()}\n{digest(str(one))}\n".encode())
        return found.hexdigest()
    with top.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def host_of(address: str) -> str:
    """Return the host of an address such as `tcp://10.0.0.3:40331`."""
    return address.partition("://")[2].rpartition(":")[0] or address


def exposed(scheduler: str, workers: Iterable[str]) -> str:
    """Return what to say of a cluster that anyone can reach; empty: it is encrypted, or here.

    A Dask cluster runs the code that it is sent, and only certificates keep strangers from sending.

    Args:
        scheduler: its address, as it was given; without a scheme, Dask takes it for `tcp`.
        workers: the addresses of its Dask workers.
    """
    plain = [one for one in (scheduler, *workers) if not one.startswith(_ENCRYPTED)]
    far = [one for one in plain if not _is_loopback(one if "://" in one else f"tcp://{one}")]
    if not far:
        return ""
    return (
        f"--fleet {scheduler}: {far[0]} is reached without TLS: whoever can reach the ports of "
        "this cluster can run code on its hosts, and whoever is on the way reads the target's key; "
        "use tls:// outside of a network of your own"
    )


def _is_loopback(address: str) -> bool:
    host = host_of(address).strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def examiner() -> Callable[..., Any]:
    """Return the function that says on a host what there is.

    It is a local one, which goes there by its code and not by its name: a host may lack benchcore.
    """

    async def examine(paths: list[str]) -> dict[str, Any]:
        import asyncio
        import os
        import platform

        facts: dict[str, Any] = {
            "hostname": platform.node(),
            "python": platform.python_version(),
            "folder": os.getcwd(),  # noqa: PTH109  all it needs is imported above
        }
        try:
            from benchcore.fleet.hosts import digest
            from benchcore.version import __version__
        except ImportError as error:
            return {**facts, "missing": str(error)}
        digests = {}
        for path in paths:
            try:
                digests[path] = await asyncio.to_thread(digest, path)
            except OSError as error:
                digests[path] = f"{error.strerror}"
        return {**facts, "version": __version__, "digests": digests}

    return examine


def refuse_different(host: str, facts: Mapping[str, Any], ours: Mapping[str, str]) -> None:
    """Refuse a host that does not have the same as we do.

    Args:
        host: what it is called.
        facts: what `examine` has said there.
        ours: the digest of each file here.

    Raises:
        ConfigError: what differs, and on which host.
    """
    python = platform.python_version_tuple()[:2]
    if facts["python"].split(".")[:2] != list(python):
        raise ConfigError(
            f"fleet host {host}: runs Python {facts['python']}, and this is "
            f"{platform.python_version()}; let all run {'.'.join(python)}"
        )
    if "missing" in facts:
        raise ConfigError(
            f"fleet host {host}: benchcore is not installed there ({facts['missing']}); run pip "
            f"install '{DISTRIBUTION}[fleet]=={__version__}' where its Dask worker runs"
        )
    if facts["version"] != __version__:
        raise ConfigError(
            f"fleet host {host}: has benchcore {facts['version']}, and this is {__version__}; "
            "install the same everywhere"
        )
    for path, here in ours.items():
        there = facts["digests"][path]
        if there == here:
            continue
        if len(there) != len(here):  # it is a reason
            raise ConfigError(
                f"fleet host {host}: {path}: {there} (in {facts['folder']}); a worker reads the "
                "workload's file on its own host: copy it there, under the same path"
            )
        raise ConfigError(
            f"fleet host {host}: {path} is not the file that is here: its SHA-256 begins with "
            f"{there[:_SHOWN]} there and {here[:_SHOWN]} here; copy it there"
        )
