"""Labels: how what a run put on a cluster is known, also when the run is gone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

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
