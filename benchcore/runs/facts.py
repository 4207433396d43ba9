"""Facts: whom a run asked, what and how it asked, and where it ran."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchcore.base.stored import Count, Facts, Flag, Stored


class TargetFacts(Stored):
    """Whom a run asked."""

    kind: str | None = None
    base_url: str | None = None
    model: str | None = None
    endpoint: str | None = None
    stream: Flag | None = None
    path: str | None = None
    extra_body: Facts | None = None
    omit: list[str] | None = None
    rename: dict[str, str] | None = None
    metrics_urls: list[str] | None = None
    probe: Facts | None = None


class WorkloadFacts(Stored):
    """What a run asked; of several workloads each is one of `parts`."""

    name: str | None = None
    kind: str | None = None
    distinct: Count | None = None
    asked: Count | None = None
    parts: list[WorkloadFacts] | None = None


class LoadFacts(Stored):
    """How a run asked; of several loads each is one of `parts`."""

    arrival: str | None = None
    max_inflight: Count | None = None
    parts: list[LoadFacts] | None = None


class HostFacts(Stored):
    """Where the load generator ran."""

    hostname: str | None = None


class Origin(Stored):
    """The file of another tool that a run was imported from."""

    tool: str | None = None
    version: str | None = None
    file: str | None = None
    sha256: str | None = None
    files: list[Origin] | None = None


PartName = Literal["target", "workload", "load", "versions", "host"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a run says of its target, workload, load, versions or host.

    Args:
        said: by key.
        parts: of several workloads or loads what is said of each.
    """

    said: Mapping[str, object]
    parts: tuple[Part, ...] = ()
