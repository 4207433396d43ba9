"""Catalogue: the tasks that installed packages offer."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from benchcore.errors import ConfigError
from benchcore.stages.accuracy.task import Task
from benchcore.workload.registry import nearest

GROUP = "benchcore.tasks"


def tasks() -> dict[str, EntryPoint]:
    """Return the tasks that there are, by name; none is loaded."""
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


def find_task(name: str) -> Task:
    """Return a task by its name.

    Raises:
        ConfigError: there is no such task, or its package does not load.
    """
    offered = tasks()
    if name not in offered:
        raise ConfigError(
            f"task {name!r} is unknown; {nearest(name, offered)}; one of your own is a YAML file"
        )
    value = offered[name].value
    try:
        made = offered[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"task {name!r} does not load from {value}: {error}; install its package again"
        ) from error
    task = made() if isinstance(made, type) else made
    if not isinstance(task, Task):
        raise ConfigError(f"task {name!r}: {value} is no benchcore.Task")
    return task
