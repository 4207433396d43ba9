"""Mapped metrics: another tool's CSV or JSON as the metrics of the contract (section 8)."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import ConfigError
from benchcore.base.plugins import closest
from benchcore.config.metric_map import METRICS, SHARES, Label, MappedColumn, MetricMap, labels_of
from benchcore.publish.prometheus import Gauges

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


_PREFIX: Final = re.compile(r"(?:[a-zA-Z_:][a-zA-Z0-9_:]*)?\Z")
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_WHOLE: Final = re.compile(r"(\d+)\.0+\Z", re.ASCII)
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, and where it stands as `file:line`."""

    where: str
    cells: Mapping[str, Any]


@dataclass(slots=True)
class MappedMetrics:
    """What a file comes to.

    Args:
        registry: with its gauges.
        grouping: the Pushgateway's grouping key, besides `job`.
        series: how many there are.
    """

    registry: CollectorRegistry
    grouping: dict[str, str]
    series: int


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file: `.json`, `.jsonl`, and CSV whatever else it is called.

    Raises:
        ConfigError: it cannot be read, is not what its name says, or has no rows.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8; save the file as UTF-8") from None
    if path.suffix == ".json":
        rows = list(_json_rows(path, text))
    elif path.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), 1)
        rows = [_object(f"{path}:{n}", _loads(f"{path}:{n}", one)) for n, one in lines if one]
    else:
        rows = list(_csv_rows(path, text))
    if not rows:
        raise ConfigError(f"{path}: holds no rows")
    return rows


def _csv_rows(path: Path, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                twice = [name for name in header if name and header.count(name) > 1]
                if twice:
                    raise ConfigError(f"{where}: has the column {twice[0]} twice; rename one")
                continue
            if len(cells) != len(header):
                raise ConfigError(
                    f"{where}: has {len(cells)} cells, and the header has {len(header)} columns"
                )
            yield Row(where, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: is not CSV: {error}") from None


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    content = _loads(str(path), text)
    if isinstance(content, list):
        for index, entry in enumerate(content):
            yield _object(f"{path}: [{index}]", entry)
    else:
        yield _object(str(path), content)


def _object(where: str, content: Any) -> Row:
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: is not a JSON object")
    return Row(where, content)


def _loads(where: str, text: str) -> Any:
    # Not orjson: Python programs write NaN for what they do not know.
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: is not JSON: {error}") from None


def mapped_metrics(
    metric_map: MetricMap, rows: list[Row], path: Path, prefix: str = "benchcore_"
) -> MappedMetrics:
    """Return the gauges of another tool's rows.

    A value that is not known is left out and not zero.

    Args:
        metric_map: says what the columns are.
        rows: of the file.
        path: of the file, for messages.
        prefix: of every name; may be empty.

    Raises:
        ConfigError: a column is missing, a cell is no number of its metric, two rows are one
            series, a label of the grouping key has several values, or nothing is left.
    """
    if not _PREFIX.match(prefix):
        raise ConfigError(f"--prefix {prefix!r}: cannot begin the name of a metric")
    _check_columns(metric_map, rows, path)
    gauges = Gauges(prefix, {})
    made = _Made(gauges)
    given = metric_map.labels.given()
    values: dict[str, dict[str, str]] = {name: {} for name in metric_map.grouping_labels()}
    for row in rows:
        labels = {name: _label(metric_map, name, label, row) for name, label in given.items()}
        for name, seen in values.items():
            seen.setdefault(labels[name], row.where)
        for column in metric_map.metrics:
            value = _value(metric_map, column, row)
            if value is not None:
                # As of a run: a label that is empty is none to Prometheus.
                own = {name: labels.get(name, "") for name in labels_of(column.metric)}
                made.set(column, own, value, row.where)
    if not made.seen:
        raise ConfigError(
            f"{path}: no value of a mapped column is known, so there is nothing to push"
        )
    return MappedMetrics(gauges.registry, _grouping(values), len(made.seen))


@dataclass(slots=True)
class _Made:
    """The series that there are, each with its value and the row that has it."""

    gauges: Gauges
    seen: dict[tuple[tuple[str, str], ...], tuple[float, str]] = field(default_factory=dict)

    def set(self, column: MappedColumn, labels: dict[str, str], value: float, where: str) -> None:
        if column.quantile is not None:
            labels = {**labels, "quantile": column.quantile}
        before = self.seen.setdefault((("", column.metric), *labels.items()), (value, where))
        # What is of the whole run stands in each row of it.
        if before[0] != value:
            raise ConfigError(
                f"{where}: {column.column}: {_shown(column.metric, labels)} has another value at "
                f"{before[1]}; map a column that tells the rows apart, such as level"
            )
        self.gauges.set(column.metric, METRICS[column.metric], value, **labels)


def _shown(metric: str, labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items() if value)
    return f"{metric}{{{inner}}}" if inner else metric


def _cell(row: Row, column: str) -> tuple[bool, Any]:
    """Return whether a row has a column, and its value; `outer.inner` leads into an object."""
    if column in row.cells:
        return True, row.cells[column]
    value: Any = row.cells
    for key in column.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return False, None
        value = value[key]
    return True, value


def _names(cells: Mapping[str, Any]) -> Iterator[str]:
    for name, value in cells.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in _names(value))
        else:
            yield name


def _check_columns(metric_map: MetricMap, rows: list[Row], path: Path) -> None:
    known = list(dict.fromkeys(name for row in rows for name in _names(row.cells) if name))
    faults = []
    for column in metric_map.columns():
        # A key that some objects of a JSON have not is a value that is not known.
        if any(_cell(row, column)[0] for row in rows):
            continue
        close = closest(column, known)
        shown = ", ".join(known[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
        hint = "" if close is None else f"did you mean {close}? "
        faults.append(f"{path}: has no column {column}; {hint}known are {shown}")
    if faults:
        raise ConfigError("\n".join(faults))


def _label(metric_map: MetricMap, name: str, label: Label, row: Row) -> str:
    if label.column is None:
        return label.value or ""
    cell = _cell(row, label.column)[1]
    if isinstance(cell, (dict, list)):
        raise ConfigError(f"{row.where}: {label.column}: is not a text; map a key inside of it")
    if metric_map.is_missing(cell):
        return ""
    text = str(cell).strip()
    # A column of whole numbers with a hole in it comes out of pandas as 64.0.
    whole = _WHOLE.match(text) if name == "level" else None
    return label.prefix + (whole[1] if whole else text)


def _value(metric_map: MetricMap, column: MappedColumn, row: Row) -> float | None:
    cell = _cell(row, column.column)[1]
    if metric_map.is_missing(cell):
        return None
    where = f"{row.where}: {column.column}"
    number = _number(cell)
    if number is None:
        raise ConfigError(
            f"{where}: {str(cell)[:_SHOWN]!r} is not a number; put it under missing where it "
            "stands for not known"
        )
    # Without the last digits, which are of the product and not of the cell: 12.3 ms is 0.0123 s.
    value = float(f"{number * column.scale:.15g}")
    if value < 0:
        raise ConfigError(
            f"{where}: {cell} is below 0; put it under missing where it stands for not known"
        )
    if column.metric in SHARES and value > 1:
        raise ConfigError(
            f"{where}: {cell} makes {column.metric} {value:g}, but a share is 0 to 1; give scale: "
            "0.01 where the column is in percent"
        )
    return value


def _number(cell: object) -> float | None:
    """Return a finite number, else `None`."""
    if isinstance(cell, str):
        if not _NUMBER.match(cell.strip()):
            return None
    elif isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return None
    try:
        number = float(cell)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _grouping(values: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    for name, seen in values.items():
        if len(seen) > 1:
            (first, at), (second, other) = list(seen.items())[:2]
            raise ConfigError(
                f"{other}: the label {name} is {second!r} here and {first!r} at {at}; a label of "
                "the grouping key has one value: give grouping in the map without it"
            )
    return {name: next(iter(seen)) for name, seen in values.items()}
