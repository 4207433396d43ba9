"""Rows: what a file of questions holds."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchcore.errors import ConfigError
from benchcore.version import installing

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
            raise ConfigError(f"{path}: is none of {', '.join(SUFFIXES)}, by its name")
        found = read(path, data, columns)
        if not found:
            raise ConfigError(f"{path}: holds no rows")
        if group:
            found = [{**row, "group": group} for row in found]
        self.rows += found
        fact = {
            "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "rows": len(found),
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
                    f"{path}:{reader.line_num}: has not as many fields as there are columns"
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
                f"{path}:{number}: is not JSON: {error.msg}; one object per line"
            ) from None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}:{number}: is no object; one object per line")
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
