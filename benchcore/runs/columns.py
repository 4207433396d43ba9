"""Columns: what a table of CSV holds, written and read back by one list of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from benchcore.base.errors import ConfigError
from benchcore.base.text import FORMULA, cell

Row = TypeVar("Row")
Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Form:
    """How the values of a column stand in its cells; what is not known is an empty cell.

    Args:
        write: takes a value that is known.
        read: takes a cell that is not empty.
    """

    write: Callable[[Any], object]
    read: Callable[[str], Value]


def _unguarded(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def _number(text: str) -> float:
    # An integer has no negative zero, and a float may be one.
    return int(text) if text.lstrip("-").isdigit() and text != "-0" else float(text)


def _shown(value: float) -> object:
    return f"{value:.9g}" if isinstance(value, float) else value


TEXT: Final = Form(cell, _unguarded)
WHOLE: Final = Form(lambda value: value, int)
FLAG: Final = Form(int, lambda text: text == "1")
SECONDS: Final = Form(lambda value: f"{value:.9f}", float)
"""An instant or a span that came in whole nanoseconds: none of them is lost."""
NUMBER: Final = Form(_shown, _number)
"""Nine digits."""


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column.

    Args:
        name: of it.
        form: of its cells.
        value: takes it out of what a row is of; `None`: not known.
        csv: whether it stands in the CSV; where not, in JSON Lines alone.
    """

    name: str
    form: Form
    value: Callable[[Row], Value]
    csv: bool = True


class Table(Generic[Row]):
    """A list of columns.

    Args:
        columns: in their order.
    """

    def __init__(self, columns: Iterable[Column[Row]]) -> None:
        self.columns = tuple(columns)
        self._csv = tuple(column for column in self.columns if column.csv)
        self.names = tuple(column.name for column in self._csv)
        """Those of the CSV."""
        self._read = {column.name: column.form.read for column in self._csv}

    def head(self) -> bytes:
        """Return the first line of the CSV."""
        return _lines([self.names])

    def lines(self, rows: Iterable[Row]) -> bytes:
        """Return lines of the CSV."""
        cells = [(column.value, column.form.write) for column in self._csv]
        return _lines(
            ["" if (found := value(row)) is None else write(found) for value, write in cells]
            for row in rows
        )

    def written(self, rows: Iterable[Sequence[Value]]) -> bytes:
        """Return lines of the CSV whose values are there already, in the order of the columns."""
        writes = [column.form.write for column in self._csv]
        return _lines(
            [
                "" if value is None else write(value)
                for write, value in zip(writes, row, strict=True)
            ]
            for row in rows
        )

    def values(self, row: Row) -> dict[str, Value]:
        """Return every value by its column, those of JSON Lines too."""
        return {column.name: column.value(row) for column in self.columns}

    def read(self, name: str, text: str) -> Value:
        """Return what a cell holds.

        Raises:
            ValueError: it is nothing that the column holds.
        """
        return self._read[name](text) if text else None

    def cells(self, path: Path, needed: Iterable[str] = ()) -> Iterator[dict[str, str]]:
        """Yield the cells of each row of a CSV file by their columns.

        The last line of a run that was killed may be cut short: it is passed over.

        Args:
            path: of the file.
            needed: columns without which it says nothing.

        Raises:
            ConfigError: it cannot be read, or lacks a column.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = [name for name in needed if name not in (reader.fieldnames or ())]
                if missing:
                    raise ConfigError(f"{path}: has no column {missing[0]}")
                for row in reader:
                    if None not in row.values():
                        yield row
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
