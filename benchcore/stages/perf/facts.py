"""Facts: what `run.json` says of the target and of what measured it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchcore.client.openai import TOKEN_LIMITS, asked_tokens
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


def as_asked(workload: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Return what `run.json` says of a workload, with the lengths that the bodies ask for.

    Args:
        workload: as it describes itself.
        target: whose `extra_body` stands over what the workload asks for.
    """
    extra = target.extra_body
    if not any(name in extra for name in TOKEN_LIMITS):
        return dict(workload)
    asked = asked_tokens(extra)
    length = None if asked is None else str(asked)
    return {**workload, "output_tokens": length, "output_tokens_by": "extra_body"}


def target_facts(target: Target, kind: str) -> dict[str, Any]:
    """Return what `run.json` says of the target; no key, no header's value."""

    def shown(text: str) -> str:
        """Return an address without the keys in its query."""
        for secret in target.secrets:
            text = text.replace(secret, "***")
        return text

    changed: dict[str, Any] = {
        "path": None if target.path is None else shown(target.path),
        "omit": list(target.omit),
        "rename": dict(target.rename),
    }
    return {
        "kind": kind,
        "base_url": shown(target.base_url),
        "model": target.shown_model,
        "endpoint": target.endpoint,
        "stream": target.stream,
        "tls": {"verified": target.verify, "ca_file": target.ca_file} if target.tls else None,
        "timeouts": target.timeouts.model_dump(),
        "header_names": sorted(target.headers),
        "extra_body": masked_fields(target.extra_body),
        **{name: value for name, value in changed.items() if value},
    }
