"""Run type: how thoroughly a scenario is run, and what a failure means there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

RunTypeName = Literal["pr", "daily"]


_ALTERNATIVES: Final = (
    ("suite",),
    ("concurrency", "rate"),
    ("requests", "duration_seconds", "workload"),
    ("limit", "preset"),
)
"""Settings of which one replaces the others: where one is given, no default of another counts."""


@dataclass(frozen=True, slots=True)
class RunType:
    """One of the two run types.

    Args:
        name: of it.
        defaults: settings by stage, where the scenario says nothing of the same kind.
        warns: stages whose failure is told and fails nothing.
        continues: whether stages after one that failed still run.
        pushes: whether results are pushed.
    """

    name: RunTypeName
    defaults: dict[str, dict[str, Any]]
    warns: frozenset[str]
    continues: bool
    pushes: bool

    def filled(self, stage: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return settings of a stage with this run type's defaults below them."""
        said = {name for group in _ALTERNATIVES if set(group) & set(given) for name in group}
        defaults = self.defaults.get(stage, {})
        return {name: value for name, value in defaults.items() if name not in said} | given


RUN_TYPES: Final[dict[str, RunType]] = {
    "pr": RunType(
        "pr",
        {
            "functional": {"suite": False},
            "perf": {"concurrency": (1, 8), "requests": 64},
            "accuracy": {"preset": "debug"},
        },
        warns=frozenset(),
        continues=False,
        pushes=False,
    ),
    "daily": RunType(
        "daily",
        {
            "functional": {"suite": True},
            "perf": {"concurrency": (1, 8, 64)},
            "accuracy": {"preset": "full"},
        },
        warns=frozenset({"perf", "accuracy", "gate", "sinks"}),
        continues=True,
        pushes=True,
    ),
}
"""`pr`: short, everything that fails fails the run. `daily`: full; only the checks fail it."""
