"""Layouts: which kind of workload reads a file, and which of its rows it cannot use."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.workload.files import Format, format_of, rows
from benchcore.workload.jsonl import PromptFile, read_prompts
from benchcore.workload.kinds import KINDS, FileKind, find_kind
from benchcore.workload.named import DATA, told_faults
from benchcore.workload.sessions import Session, single

_LOOKED_AT: Final = 100
"""Rows by which a layout is known."""
FAULTS_TOLD: Final = 20
"""Rows that cannot be used of which it is said why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file is.

    Args:
        form: its format; `None`: it is a folder, or not a file at all.
        kind: the name of the kind that reads it.
        columns: the keys or columns of its first row.
    """

    form: Format | None
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Validation:
    """What came of reading a file to its end.

    Args:
        path: of the file.
        layout: of it.
        columns: names of columns, as `--columns` has them; empty: the usual ones.
        sessions: that it holds.
        turns: requests of all of them.
        bad: rows that cannot be used.
        faults: of the first of those, where they are and why.
        fault: why none of it can be used; empty: some of it can.
    """

    path: str
    layout: Layout
    columns: str = ""
    sessions: int = 0
    turns: int = 0
    bad: int = 0
    faults: list[str] = field(default_factory=list)
    fault: str = ""

    @property
    def is_good(self) -> bool:
        """Whether every row can be used, and there is one."""
        return not self.bad and not self.fault

    @property
    def droppable(self) -> bool:
        """Whether there is something to go on with, without the rows that cannot be used."""
        return bool(self.sessions) and not self.fault

    def name(self, *, drop_bad: bool = False) -> str:
        """Return what `--workload` takes for it."""
        kind = self.layout.kind
        if DATA.get(Path(self.path).suffix) == kind and not self.columns and not drop_bad:
            return self.path
        columns = f",columns={self.columns}" if self.columns else ""
        return f"{kind},path={self.path}{columns}{',drop_bad=true' if drop_bad else ''}"

    def tell(self, told: str) -> None:
        """Take a row that cannot be used."""
        self.bad += 1
        if len(self.faults) < FAULTS_TOLD:
            self.faults.append(told)

    def tell_line(self, number: int, faults: list[str]) -> None:
        """Take a line that cannot be used."""
        self.tell(f"{self.path}:{number}: {'; '.join(faults)}")

    def to_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "path": self.path,
            "format": self.layout.form,
            "kind": self.layout.kind,
            "columns": list(self.layout.columns),
            "sessions": self.sessions,
            "requests": self.turns,
            "bad_rows": self.bad,
            "faults": self.faults,
            "fault": self.fault or None,
        }


def layout_of(path: Path, kind: str | None = None) -> Layout:
    """Return what a file is, by its first rows.

    Args:
        path: a file, or a folder of files.
        kind: reads it; `None`: it is to be found out.

    Raises:
        ConfigError: it cannot be read, or no kind knows its rows.
    """
    file = _first_file(path) if path.is_dir() else path
    form = format_of(file)
    sample = list(itertools.islice(rows(file, form=form, on_bad=lambda _told: None), _LOOKED_AT))
    objects = [row.value for row in sample if isinstance(row.value, dict)]
    columns = tuple(map(str, objects[0])) if objects else ()
    if kind is None:
        kind = _kind_of(objects, form, path) if objects else None
    if kind is None and form == "text":
        kind = "dataset"
    if kind is not None:
        return Layout(None if path.is_dir() else form, kind, columns)
    if not objects:
        raise ConfigError(f"{path}: holds no objects in its first rows; name its kind with --kind")
    raise ConfigError(
        f"{path}: no kind of workload knows its columns ({', '.join(columns[:8])}); name the "
        "kind with --kind, or the column of the prompts with --columns prompt=COLUMN"
    )


def _first_file(folder: Path) -> Path:
    suffixes = (".parquet", ".json", ".jsonl")
    found = sorted(one for one in folder.rglob("*") if one.suffix in suffixes)
    if not found:
        raise ConfigError(f"{folder}: holds no .parquet, .json or .jsonl files")
    return found[0]


def _kind_of(objects: list[dict[str, Any]], form: Format, path: Path) -> str | None:
    """Return the kind that most rows are likest to; `None`: there is none."""
    kinds = _kinds(form)
    usual = DATA.get(path.suffix)
    votes: Counter[str] = Counter()
    for row in objects:
        likest = {name: likeness(row) for name, likeness in kinds.items()}
        # Of several that are alike, the one that a file of this name is taken for anyway.
        name = max(likest, key=lambda one: (likest[one], one == usual))
        if likest[name]:
            votes[name] += 1
    return max(votes, key=lambda name: votes[name], default=None)


def _kinds(form: Format) -> dict[str, Callable[[Mapping[str, Any]], int]]:
    """Return the installed kinds that know their rows, with what knows them."""
    found: dict[str, Callable[[Mapping[str, Any]], int]] = {}
    for name, kind in KINDS.load_all().items():
        if isinstance(kind, type) and issubclass(kind, FileKind):
            found[name] = kind.likeness
        elif kind is PromptFile and form == "jsonl":
            found[name] = PromptFile.likeness
    return found


def validate(path: Path, *, kind: str | None = None, columns: str = "") -> Validation:
    """Read a file to its end, and say which rows cannot be used.

    Args:
        path: a file, or a folder of files.
        kind: reads it; `None`: it is found out.
        columns: other names of columns, as `prompt=question;output_tokens=n`.

    Raises:
        ConfigError: the file cannot be read, its kind is not known or reads no files, or the
            columns are none of its kind.
    """
    if kind is None and columns:
        kind = "dataset"
    if kind is not None:
        find_kind(kind)
    layout = layout_of(path, kind)
    found = Validation(str(path), layout, columns)
    sessions = _sessions(found)
    try:
        for session in sessions:
            if session.warms_up:
                continue
            found.sessions += 1
            found.turns += len(session.turns)
    except ConfigError as error:
        found.fault = str(error)
    if not found.sessions and not found.fault:
        found.fault = f"{path}: holds no request"
    return found


def _sessions(found: Validation) -> Iterable[Session]:
    """Return the sessions of a file, which tell of rows that cannot be used as they are read."""
    name, path = found.layout.kind, found.path
    kind = find_kind(name)
    if kind is PromptFile and not found.columns:
        return map(single, read_prompts(Path(path), found.tell_line))
    if not (isinstance(kind, type) and issubclass(kind, FileKind)):
        if kind is PromptFile:
            raise ConfigError("--columns: the kind jsonl has its own; --kind dataset takes others")
        readers = ", ".join(_kinds("jsonl"))
        raise ConfigError(f"--kind {name}: reads no file row by row; those that do: {readers}")
    if found.columns and "columns" not in kind.model_fields:
        raise ConfigError(f"--columns: the kind {name} has its own; --kind dataset takes others")
    try:
        workload = kind.model_validate(
            {"path": path, **({"columns": found.columns} if found.columns else {})}
        )
    except ValidationError as error:
        raise ConfigError("\n".join(told_faults(error.errors(), None))) from None
    workload.tell(found.tell)
    return workload.sessions("validate")
