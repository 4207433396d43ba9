"""Files: the rows of a file of prompts or requests, one after the other, whatever its format."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Self, TypeVar

import orjson

from benchcore.base.errors import ConfigError
from benchcore.version import installing

Format = Literal["jsonl", "json", "csv", "text", "parquet"]

MOST_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line, or of a cell; a longer one is refused."""
MOST_JSON: Final = 1024 * 1024 * 1024
"""Bytes of a file of one JSON value, which is read whole."""
_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
    ".parquet": "parquet",
}
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


Read = TypeVar("Read")


class BadRowError(ValueError):
    """A row cannot be used; says why."""


@dataclass(slots=True)
class Row:
    """One row of a file.

    Args:
        line: where it begins, from 1; of a JSON array and of Parquet, which row it is.
        value: an object by its keys or columns; of a text, the line.
        by: what `line` counts.
        begin: where it stands in the file, for `RowsAgain`: its first byte; of a row, its number.
        size: how many bytes it has.
    """

    line: int
    value: Any
    by: Literal["line", "row"] = "line"
    begin: int = 0
    size: int = 0

    def at(self, path: Path | str) -> str:
        """Return where it is: `path:7`, or `path: row 7`."""
        return f"{path}:{self.line}" if self.by == "line" else f"{path}: row {self.line}"


def format_of(path: Path) -> Format:
    """Return the format of a file: by its name, else by how it begins.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    known = _SUFFIXES.get(path.suffix.lower())
    with _opened(path) as raw:
        if raw.read(4) == b"PAR1":
            return "parquet"
        raw.seek(0)
        lines = _first_lines(_as_utf8(path, raw))
        first = next(lines, b"")
        if not first:
            raise ConfigError(f"{path}: is empty; give a file with rows")
        if first.startswith(b"{") and known in (None, "json"):
            # JSON lines are often called .json, too: then more than one is there.
            is_row = _is_json(first) and (known is None or bool(next(lines, b"")))
            return "jsonl" if is_row else "json"
        if known is not None:
            return known
        if first.startswith(b"["):
            return "json"
        return "csv" if b"," in first else "text"


def _first_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file that are not blank."""
    while line := file.readline(MOST_LINE):
        if line := line.strip():
            yield line


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return "surrogate" in error.msg  # a fault of the row, told of when it is read
    return True


def rows(
    path: Path, *, form: Format | None = None, on_bad: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """Yield the rows of a file as they are read; blank lines are passed over.

    Args:
        path: of the file: UTF-8, with or without a byte order mark, or UTF-16 with one.
        form: its format; `None`: see `format_of`.
        on_bad: told of each row that cannot be read, which is then passed over; `None`: it raises.

    Raises:
        ConfigError: the file cannot be read, or a row of it: with path, line, column and reason.
    """
    form = form or format_of(path)

    def bad(told: str) -> None:
        if on_bad is None:
            raise ConfigError(told)
        on_bad(told)

    if form == "parquet":
        yield from _parquet(path)
    elif form == "json":
        yield from _json(path)
    elif form == "csv":
        yield from _csv(path, bad)
    else:
        yield from _lines(path, form == "jsonl", bad)


class RowsAgain:
    """Reads rows of a file again, one by one, wherever they stand in it.

    Lines, those of CSV too, are read from the file, so that it need not sit in memory; what has no
    lines (JSON, Parquet, UTF-16) is kept whole.

    Args:
        path: of the file, which `rows` has read.

    Raises:
        ConfigError: it can no longer be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._form = format_of(path)
        self._kept: list[Row] | None = None
        if self._form in ("json", "parquet"):
            self._kept = list(rows(path, form=self._form))
            return
        # Rows are sought all over the file: what a buffer reads ahead is in vain.
        raw = _opened(path)
        self._heads: list[str] = []
        file = _as_utf8(path, raw)
        if self._form == "csv":
            reader = csv.reader(_decoded(path, file), delimiter=_comma(path), strict=True)
            self._heads = [head.strip() for head in next(reader)]
        if file is raw:
            assert isinstance(raw, io.BufferedReader)
            self._file: io.RawIOBase | BinaryIO = raw.detach()
        else:
            raw.close()
            self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept is None:
            self._file.close()

    def row(self, line: int, begin: int, size: int) -> Row:
        """Return the row that was read as `Row(line, …, begin=begin, size=size)`.

        Raises:
            ConfigError: it is another one now.
        """
        try:
            if self._kept is not None:
                return self._kept[begin - 1]
            self._file.seek(begin)
            content = self._file.read(size)
            if self._form == "jsonl":
                return Row(line, orjson.loads(content), "line", begin, size)
            if self._form == "text":
                return Row(line, content.decode().strip(), "line", begin, size)
            lines = io.StringIO(content.decode(), newline="")
            cells = next(csv.reader(lines, delimiter=_comma(self._path), strict=True))
            value = dict(zip(self._heads, cells, strict=True))
            return Row(line, value, "line", begin, size)
        except (ValueError, LookupError, StopIteration, csv.Error):
            raise ConfigError(
                f"{self._path}:{line}: has changed since it was read; leave the file as it is "
                "while it is replayed"
            ) from None


def read_each(
    some: Iterable[Row],
    read: Callable[[Row], Read],
    path: Path | str,
    on_bad: Callable[[str], None] | None = None,
) -> Iterator[Read]:
    """Yield what rows hold.

    Args:
        some: the rows.
        read: reads one, or raises `BadRowError`.
        path: of their file, for messages.
        on_bad: told of each row that cannot be used; `None`: it raises.

    Raises:
        ConfigError: a row cannot be used; with its place and the reason.
    """
    for row in some:
        try:
            value = read(row)
        except BadRowError as error:
            told = f"{row.at(path)}: {error}"
            if on_bad is None:
                raise ConfigError(told) from None
            on_bad(told)
            continue
        yield value


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _as_utf8(path: Path, file: BinaryIO) -> BinaryIO:
    """Return a file as UTF-8 without a byte order mark."""
    begin = file.read(4)
    file.seek(0)
    if begin.startswith(_UTF_16):
        try:
            return io.BytesIO(file.read().decode("utf-16").encode())
        except UnicodeError:
            raise ConfigError(f"{path}: is not whole UTF-16; save the file as UTF-8") from None
    if begin.startswith(codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    return file


def _lines(path: Path, is_json: bool, bad: Callable[[str], None]) -> Iterator[Row]:
    with _opened(path) as raw:
        file = _as_utf8(path, raw)
        number = 0
        end = file.tell()
        while line := file.readline(MOST_LINE + 1):
            number += 1
            begin, end = end, end + len(line)
            if len(line) > MOST_LINE:
                bad(f"{path}:{number}: is longer than {MOST_LINE >> 20} MB; split the row")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MOST_LINE)
                    end += len(line)
                continue
            line = line.rstrip(b" \t\r\n")
            if not line.lstrip():
                continue
            try:
                value = orjson.loads(line) if is_json else line.decode().strip()
                yield Row(number, value, "line", begin, len(line))
            except orjson.JSONDecodeError as error:
                bad(_not_json(path, number, line, error))
            except UnicodeDecodeError as error:
                bad(_not_utf8(path, number, error))


def _not_utf8(path: Path, number: int, error: UnicodeDecodeError) -> str:
    place = error.start + 1
    return f"{path}:{number}:{place}: byte {place} is not UTF-8; save the file as UTF-8"


def _not_json(path: Path, number: int, content: bytes, error: orjson.JSONDecodeError) -> str:
    """Return what is wrong with a JSON value, and where.

    Args:
        path: of the file.
        number: of the line where the value begins.
        content: its bytes.
        error: what was said of it.
    """
    line, column, reason = number + error.lineno - 1, error.colno, error.msg
    if "UTF-8" in reason:
        try:
            content.decode()
        except UnicodeDecodeError as fault:
            line = number + content.count(b"\n", 0, fault.start)
            column = fault.start - content.rfind(b"\n", 0, fault.start)
            reason = f"byte {column} is not UTF-8; save the file as UTF-8"
    elif "surrogate" in reason:
        reason = "a lone surrogate is no character; write U+FFFD for it"
    return f"{path}:{line}:{column}: is not JSON: {reason}"


def _json(path: Path) -> Iterator[Row]:
    if path.stat().st_size > MOST_JSON:
        raise ConfigError(
            f"{path}: is longer than {MOST_JSON >> 30} GB, and JSON is read whole; write one "
            "object per line (.jsonl)"
        )
    with _opened(path) as raw:
        content = _as_utf8(path, raw).read()
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ConfigError(_not_json(path, 1, content, error)) from None
    del content
    if isinstance(value, dict):
        lists = [one for one in value.values() if isinstance(one, list)]
        # An object with one list in it is that list; any other is a row by itself.
        value = lists[0] if len(lists) == 1 and len(value) == 1 else [value]
    if not isinstance(value, list):
        raise ConfigError(f"{path}: is neither an array of objects nor an object")
    for number, one in enumerate(value, 1):
        yield Row(number, one, "row", number)


def _comma(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _csv(path: Path, bad: Callable[[str], None]) -> Iterator[Row]:
    csv.field_size_limit(MOST_LINE)
    with _opened(path) as raw:
        file = _as_utf8(path, raw)
        reader = csv.reader(_decoded(path, file), delimiter=_comma(path), strict=True)
        before = 0
        try:
            heads = next(reader, None)
            if heads is None:
                raise ConfigError(f"{path}: is empty; give a file with rows")
            heads = [head.strip() for head in heads]
            if len(set(heads)) != len(heads):
                raise ConfigError(f"{path}:1: two columns have the same name")
            before = reader.line_num
            end = file.tell()
            for cells in reader:
                line, before = before + 1, reader.line_num
                begin, end = end, file.tell()
                if not cells:
                    continue
                if len(cells) != len(heads):
                    bad(f"{path}:{line}: has {len(cells)} cells, and the header has {len(heads)}")
                    continue
                value = dict(zip(heads, cells, strict=True))
                yield Row(line, value, "line", begin, end - begin)
        except csv.Error as error:
            raise ConfigError(f"{path}:{before + 1}: is not CSV: {error}") from None


def _decoded(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file of CSV, which cannot be passed over one by one."""
    number = 0
    while line := file.readline(MOST_LINE + 1):
        number += 1
        if len(line) > MOST_LINE:
            raise ConfigError(f"{path}:{number}: is longer than {MOST_LINE >> 20} MB")
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(_not_utf8(path, number, error)) from None


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(f"{path}: Parquet needs pyarrow ({installing('parquet')})") from None
    try:
        file = parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for value in batch.to_pylist():
                number += 1
                yield Row(number, value, "row", number)
    except (OSError, ValueError) as error:  # pyarrow's own are among them
        raise ConfigError(f"{path}: is not whole Parquet: {error}") from None
