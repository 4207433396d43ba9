"""Differences: what two runs were asked differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchcore.runs.run import Part, PartName, Run

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
_FORBIDDING: Final[tuple[tuple[PartName, tuple[str, ...]], ...]] = (
    ("target", _TARGET),
    ("workload", _WORKLOAD),
    ("load", _LOAD),
)
_NOTED: Final[tuple[tuple[PartName, str], ...]] = (
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
    first: object
    second: object

    def __str__(self) -> str:
        """Return it as a phrase."""
        return f"{self.where} is {self.first!r} in one and {self.second!r} in the other"


def forbidding(first: Run, second: Run) -> list[Difference]:
    """Return in what two runs differ that makes their figures those of different things."""
    found = []
    for part, names in _FORBIDDING:
        found += list(_differing(first.part(part), second.part(part), part, names))
    return found


def noted(first: Run, second: Run) -> list[Difference]:
    """Return in what else two runs differ: allowed, and said."""
    found = []
    for part, name in _NOTED:
        found += list(_differing(first.part(part), second.part(part), part, (name,)))
    return found


def _differing(
    first: Part, second: Part, where: str, names: tuple[str, ...]
) -> Iterator[Difference]:
    one, other = first.said, second.said
    for name in names:
        # What one of them does not say at all cannot differ: an older run knew less.
        if name in one and name in other and one[name] != other[name]:
            yield Difference(f"{where}.{name}", one[name], other[name])
    if not first.parts:
        return
    if len(first.parts) != len(second.parts):
        yield Difference(f"{where}.parts", len(first.parts), len(second.parts))
        return
    for place, pair in enumerate(zip(first.parts, second.parts, strict=True)):
        yield from _differing(*pair, f"{where}.parts[{place}]", names)
