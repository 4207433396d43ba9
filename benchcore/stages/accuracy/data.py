"""Data: where a task's rows come from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchcore.errors import ConfigError
from benchcore.stages.accuracy.rows import Rows
from benchcore.stages.accuracy.source import cache_folder, fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchcore.stages.accuracy.source import Source
    from benchcore.stages.accuracy.task import Task

BUILTIN: Final = "builtin"
"""Names the test set of our own that a task comes with."""


def builtin_file(name: str) -> Path:
    """Return a test set that ships with benchcore, from a checkout or from its wheel."""
    checkout = Path(__file__).parents[3] / "workloads" / "eval" / name
    if checkout.is_file():
        return checkout
    return Path(str(resources.files("benchcore").joinpath("_data", "workloads", "eval", name)))


async def task_rows(task: Task, variant: str, data: str | None) -> Rows:
    """Return the rows of a task.

    Args:
        task: whose.
        variant: of the task.
        data: a file, a folder with the files of the task's sources, `builtin`; `None`: they are
            fetched from their public place.

    Raises:
        ConfigError: they are not there.
    """
    rows = Rows()
    own = task.own_data()
    if data is None and own is not None:
        data = str(own)
    if data == BUILTIN:
        if task.builtin is None:
            raise ConfigError(f"task {task.name} comes with no test set; give --data FILE")
        rows.add(builtin_file(task.builtin))
        return rows
    folder = None if data is None else _folder(data)
    if data is not None and folder is None:
        path = Path(data)
        known = [one for one in _known(task, variant) if one.name == path.name]
        rows.add(path, *_shape(known))
        return rows
    await _add(rows, task.sources(variant), folder)
    return rows


def _folder(data: str) -> Path | None:
    return path if (path := Path(data)).is_dir() else None


async def shot_rows(
    task: Task, variant: str, data: str | None, count: int, beside: str | None = None
) -> Rows:
    """Return the solved questions that a task shows.

    Args:
        task: whose.
        variant: of the task.
        data: a file; `None`: they are beside the questions, or fetched from their public place.
        count: how many.
        beside: where the questions are, as in `task_rows`.

    Raises:
        ConfigError: they are not there, or are fewer.
    """
    rows = Rows()
    if not count:
        return rows
    if data is not None:
        rows.add(Path(data))
    elif beside == BUILTIN and task.builtin_shots is not None:
        rows.add(builtin_file(task.builtin_shots))
    else:
        sources = task.shot_sources(variant)
        folder = None if beside is None else _folder(beside)
        if folder is not None and not all((folder / one.name).is_file() for one in sources):
            folder = None
        await _add(rows, sources, folder)
    rows.rows[:] = task.chosen_shots(rows.rows, count)
    return rows


def _known(task: Task, variant: str) -> tuple[Source, ...]:
    try:
        return task.sources(variant)
    except ConfigError:
        return ()  # it has no public place: the file is the user's own


def _shape(sources: Sequence[Source]) -> tuple[tuple[str, ...], str]:
    return (sources[0].columns, sources[0].group) if sources else ((), "")


async def _add(rows: Rows, sources: Sequence[Source], folder: Path | None) -> None:
    missing = [one.name for one in sources if folder and not (folder / one.name).is_file()]
    if missing:
        raise ConfigError(f"{folder}: has no {', '.join(missing)}; put it there or name the file")
    for source in sources:
        path = folder / source.name if folder else await fetch(source, cache_folder())
        rows.add(path, source.columns, source.group)
        rows.facts[-1]["url"] = None if folder else source.url
