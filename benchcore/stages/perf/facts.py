"""Facts: what `run.json` says of the target and of what measured it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchcore.config.target import Target
from benchcore.secrets import masked_fields
from benchcore.version import __version__


def versions() -> dict[str, str]:
    """Return the versions of benchcore, of Python and of the libraries that matter."""
    found = {"benchcore": __version__, "python": platform.python_version()}
    for package in ("uvloop", "httptools", "orjson", "numpy", "hdrhistogram", "aiohttp"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def target_facts(target: Target, kind: str) -> dict[str, Any]:
    """Return what `run.json` says of the target; no key, no header's value."""
    return {
        "kind": kind,
        "base_url": target.base_url,
        "model": target.model,
        "endpoint": target.endpoint,
        "stream": target.stream,
        "tls": {"verified": target.verify, "ca_file": target.ca_file} if target.tls else None,
        "timeouts": target.timeouts.model_dump(),
        "header_names": sorted(target.headers),
        "extra_body": masked_fields(target.extra_body),
    }
