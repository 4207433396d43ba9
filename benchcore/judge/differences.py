"""Differences: what two runs were asked differently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_TARGET: Final = ("kind", "model", "endpoint", "stream", "extra_body", "omit", "rename")
_WORKLOAD: Final = (
    "name",
    "kind",
    "task",
    "variant",
    "questions",
    "file",
    "prompts",
    "input_tokens",
    "output_tokens",
    "language",
    "shared_prefix_tokens",
    "unique",
    "ignore_eos",
    "order",
)
_LOAD: Final = (
    "arrival",
    "max_inflight",
    "think_time_seconds",
    "slos",
    "count_failures",
    "reset_prefix_cache",
)
_NOTED: Final = (
    ("target", "base_url"),
    ("workload", "seed"),
    ("load", "requests"),
    ("load", "duration_seconds"),
    ("load", "warmup_requests"),
    ("load", "warmup_seconds"),
    ("load", "repeats"),
    ("versions", "benchcore"),
    ("host", "hostname"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which two runs differ.

    Args:
        where: such as `workload.input_tokens`.
        first: what the first run has.
        second: what the second has.
    """

    where: str
    first: Any
    second: Any

    def __str__(self) -> str:
        """Return it as a phrase."""
        return f"{self.where} is {self.first!r} in one and {self.second!r} in the other"


def forbidding(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return in what two runs differ that makes their figures those of different things."""
    found = []
    for part, names in (("target", _TARGET), ("workload", _WORKLOAD), ("load", _LOAD)):
        found += list(_differing(first, second, part, names))
    return found


def noted(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Return in what else two runs differ: allowed, and said."""
    found = []
    for part, name in _NOTED:
        found += list(_differing(first, second, part, (name,)))
    return found


def _differing(
    first: Mapping[str, Any], second: Mapping[str, Any], part: str, names: tuple[str, ...]
) -> Iterator[Difference]:
    one, other = first.get(part) or {}, second.get(part) or {}
    for name in names:
        # What one of them does not say at all cannot differ: an older run knew less.
        if name in one and name in other and one[name] != other[name]:
            yield Difference(f"{part}.{name}", one[name], other[name])
    if part != "target" and ("parts" in one or "parts" in other) and one.get("parts") is not None:
        yield from _of_parts(one, other, part, names)


def _of_parts(
    one: Mapping[str, Any], other: Mapping[str, Any], part: str, names: tuple[str, ...]
) -> Iterator[Difference]:
    parts, others = one["parts"], other.get("parts") or []
    if len(parts) != len(others):
        yield Difference(f"{part}.parts", len(parts), len(others))
        return
    for place, (left, right) in enumerate(zip(parts, others, strict=True)):
        found = {part: left}, {part: right}
        for one_difference in _differing(*found, part, names):
            name = one_difference.where.partition(".")[2]
            yield Difference(
                f"{part}.parts[{place}].{name}", one_difference.first, one_difference.second
            )
