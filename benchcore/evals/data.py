"""Data: the rows that a task asks about, from public files or from one's own."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from benchcore.base.errors import ConfigError
from benchcore.evals.task import cache_folder, fetch
from benchcore.version import installing

if TYPE_CHECKING:
    from benchcore.evals.task import Source, Task


SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(slots=True)
class Rows:
    """Rows and where they are from.

    Args:
        rows: each a mapping of its columns.
        facts: for `accuracy.json`: the files, their SHA-256 and how many rows they hold.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, path: Path, columns: Sequence[str] = (), group: str = "") -> None:
        """Read one more file.

        Args:
            path: CSV, TSV, JSON lines or Parquet, by its suffix.
            columns: names of the columns, where the first line does not have them.
            group: noted in each row, where there is one.

        Raises:
            ConfigError: it cannot be read, or is not what its suffix says.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give a file of questions") from None
        read = _READERS.get(path.suffix.lower())
        if read is None:
            raise ConfigError(f"{path}: its name does not end in one of {', '.join(SUFFIXES)}")
        rows = read(path, data, columns)
        if not rows:
            raise ConfigError(f"{path}: holds no rows")
        if group:
            rows = [{**row, "group": group} for row in rows]
        self.rows += rows
        fact = {
            "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": len(rows),
        }
        self.facts.append(fact)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from None


def _read_csv(path: Path, data: bytes, columns: Sequence[str]) -> list[dict[str, Any]]:
    # Unlike the standard library's default, a field of any length is taken.
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(io.StringIO(_text(path, data), newline=""), columns or None)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(
                    f"{path}:{reader.line_num}: does not have as many fields as there are columns"
                )
            rows.append(row)
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: is not CSV: {error}") from None
    return rows


def _read_tsv(path: Path, data: bytes, columns: Sequence[str]) -> list[dict[str, Any]]:
    # Without quotes, as such files are written: a quotation mark is text.
    lines = [
        (number, line)
        for number, line in enumerate(_text(path, data).splitlines(), 1)
        if line.strip()
    ]
    if not columns and lines:
        columns = lines.pop(0)[1].strip().split("\t")
    rows = []
    for number, line in lines:
        fields = line.strip().split("\t")
        if len(fields) != len(columns):
            raise ConfigError(f"{path}:{number}: has {len(fields)} fields, not {len(columns)}")
        rows.append(dict(zip(columns, fields, strict=True)))
    return rows


def _read_jsonl(path: Path, data: bytes, columns: Sequence[str]) -> list[dict[str, Any]]:
    del columns
    rows = []
    for number, line in enumerate(_text(path, data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigError(
                f"{path}:{number}: is not JSON: {error.msg}; write one object per line"
            ) from None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}:{number}: is not an object; write one object per line")
        rows.append(row)
    return rows


def _read_parquet(path: Path, data: bytes, columns: Sequence[str]) -> list[dict[str, Any]]:
    del columns
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow; {installing('parquet')}") from None
    try:
        table = parquet.read_table(io.BytesIO(data))
    except pa.ArrowException as error:
        raise ConfigError(f"{path}: is not Parquet: {error}") from None
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


_READERS: dict[str, Callable[[Path, bytes, Sequence[str]], list[dict[str, Any]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


BUILTIN: Final = "builtin"
"""Names the test set of our own that a task comes with."""


def builtin_file(name: str) -> Path:
    """Return a test set that ships with benchcore, from a checkout or from its wheel."""
    checkout = Path(__file__).parents[2] / "workloads" / "eval" / name
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
        known = [source for source in _known(task, variant) if source.name == path.name]
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
        if folder is not None and not all((folder / source.name).is_file() for source in sources):
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
    missing = [source.name for source in sources if folder and not (folder / source.name).is_file()]
    if missing:
        raise ConfigError(f"{folder}: has no {', '.join(missing)}; put it there, or name the file")
    for source in sources:
        path = folder / source.name if folder else await fetch(source, cache_folder())
        rows.add(path, source.columns, source.group)
        rows.facts[-1]["url"] = None if folder else source.url
