"""Tables: `summary.csv`, `requests.csv`, `requests.jsonl`, `timeline.csv`.

Each is a list of columns, which writes it and reads it back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from benchcore.base.clock import NS
from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile, each_file, replace_file
from benchcore.base.text import FORMULA, cell
from benchcore.client.records import InBand, Record, Usage
from benchcore.config.catalogue import LATENCIES
from benchcore.metrics.figures import (
    METRICS,
    dispatch_lag_ns,
    e2e_from_schedule_ns,
    e2e_ns,
    tpot_ns,
    ttfo_ns,
    ttft_from_schedule_ns,
    ttft_ns,
)
from benchcore.metrics.percentiles import QUANTILES
from benchcore.metrics.throughput import Row
from benchcore.observe.server import COLUMNS as SERVER_COLUMNS
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import LevelHead, QuietSink, RequestRow, SinkOptions

_ROWS: Final = 4096
"""Of a file, that are in memory at a time."""

RowT = TypeVar("RowT")
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
class Column(Generic[RowT]):
    """One column.

    Args:
        name: of it.
        form: of its cells.
        value: takes it out of what a row is of; `None`: not known.
        csv: whether it stands in the CSV; where not, in JSON Lines alone.
    """

    name: str
    form: Form
    value: Callable[[RowT], Value]
    csv: bool = True


class Table(Generic[RowT]):
    """A list of columns.

    Args:
        columns: in their order.
    """

    def __init__(self, columns: Iterable[Column[RowT]]) -> None:
        self.columns = tuple(columns)
        self._csv = tuple(column for column in self.columns if column.csv)
        self.names = tuple(column.name for column in self._csv)
        """Those of the CSV."""
        self._read = {column.name: column.form.read for column in self._csv}

    def head(self) -> bytes:
        """Return the first line of the CSV."""
        return _lines([self.names])

    def lines(self, rows: Iterable[RowT]) -> bytes:
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

    def values(self, row: RowT) -> dict[str, Value]:
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
        for names, rows in self.chunks(path, needed):
            for row in rows:
                yield dict(zip(names, row, strict=False))

    def chunks(
        self, path: Path, needed: Iterable[str] = (), begin: int = 0
    ) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Yield the names of the columns of a CSV file with some thousand rows at a time.

        Likewise; a row has as many cells as there are names, or more.

        Args:
            path: of the file.
            needed: columns without which it says nothing.
            begin: where the first line to be read begins, in bytes; 0: behind the head.

        Raises:
            ConfigError: it cannot be read, or lacks a column.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.reader(file)
                names = next(reader, [])
                missing = [name for name in needed if name not in names]
                if missing:
                    raise ConfigError(f"{path}: has no column {missing[0]}")
                if begin:
                    file.seek(begin)
                while rows := list(islice(reader, _ROWS)):
                    yield names, [row for row in rows if len(row) >= len(names)]
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from None


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _at(name: str, instant: Callable[[Record], int], *, csv: bool = True) -> Column[RequestRow]:
    """Return the column of an instant, as an offset from the start of the level."""

    def value(row: RequestRow) -> Value:
        at_ns = instant(row.record)
        return (at_ns - row.head.start_ns) / NS if at_ns else None

    return Column(f"{name}_seconds", SECONDS, value, csv)


def _figure(name: str, figure: Callable[[Record], float | None]) -> Column[RequestRow]:
    """Return the column of a figure of the request's own, which JSON Lines have."""

    def value(row: RequestRow) -> Value:
        found_ns = figure(row.record)
        return None if found_ns is None else found_ns / NS

    return Column(f"{name}_seconds", SECONDS, value, csv=False)


def _used(name: str) -> Column[RequestRow]:
    """Return the column of a number of tokens that the server reports."""
    return Column(name, WHOLE, lambda row: getattr(row.record.usage or _SILENT, name))


def _in_band(name: str, form: Form) -> Column[RequestRow]:
    """Return the column of what the server says of the request in its answer."""
    return Column(
        f"server_{name}",
        form,
        lambda row: None if row.record.in_band is None else getattr(row.record.in_band, name),
    )


_SILENT: Final = Usage()
_IN_BAND_FORMS: Final = {"source": TEXT} | {
    field.name: SECONDS if field.name.endswith("_seconds") else WHOLE
    for field in fields(InBand)
    if field.name != "source"
}
REQUESTS: Final = Table[RequestRow](
    (
        Column("level", TEXT, lambda row: row.head.level),
        Column("repeat", WHOLE, lambda row: row.head.repeat),
        Column("stage", TEXT, lambda row: row.stage),
        Column("index", WHOLE, lambda row: row.record.index),
        Column("request_id", TEXT, lambda row: row.record.request_id),
        Column("outcome", TEXT, lambda row: row.record.outcome),
        Column("phase", TEXT, lambda row: row.record.phase),
        Column("status", WHOLE, lambda row: row.record.status or None),
        Column("retry_after", TEXT, lambda row: row.record.retry_after or None, csv=False),
        _at("scheduled", lambda record: record.scheduled_ns),
        _at("sent", lambda record: record.sent_ns),
        _at("send_end", lambda record: record.send_end_ns, csv=False),
        _at("first_byte", lambda record: record.first_byte_ns),
        _at("first_token", lambda record: record.first_token_ns),
        _at("first_output", lambda record: record.first_output_ns),
        _at("last_token", lambda record: record.last_token_ns),
        _at("done", lambda record: record.done_ns),
        Column("connect_seconds", SECONDS, lambda row: row.record.connect_ns / NS or None),
        Column(
            "send_seconds",
            SECONDS,
            lambda row: (
                (row.record.send_end_ns - row.record.sent_ns) / NS
                if row.record.send_end_ns
                else None
            ),
        ),
        _figure("dispatch_lag", dispatch_lag_ns),
        _figure("ttft", ttft_ns),
        _figure("ttft_from_schedule", ttft_from_schedule_ns),
        _figure("ttfo", ttfo_ns),
        _figure("tpot", tpot_ns),
        _figure("e2e", e2e_ns),
        _figure("e2e_from_schedule", e2e_from_schedule_ns),
        Column("reused", FLAG, lambda row: row.record.reused),
        Column("retried", FLAG, lambda row: row.record.retried),
        Column("streamed", FLAG, lambda row: row.record.streamed, csv=False),
        _used("prompt_tokens"),
        Column("output_tokens", WHOLE, lambda row: row.record.output_tokens),
        _used("cached_tokens"),
        _used("reasoning_tokens"),
        Column("token_count_source", TEXT, lambda row: row.record.token_count_source),
        Column(
            "token_events",
            WHOLE,
            lambda row: row.record.token_events if row.record.streamed else None,
        ),
        Column(
            "arrivals",
            WHOLE,
            lambda row: len(row.record.stamps) if row.record.streamed else None,
            csv=False,
        ),
        Column("asked_input_tokens", WHOLE, lambda row: row.record.asked_input_tokens),
        Column("asked_output_tokens", WHOLE, lambda row: row.record.asked_output_tokens),
        Column("finish_reason", TEXT, lambda row: row.record.finish_reason or None),
        Column("error", TEXT, lambda row: row.record.error or None),
        Column("session", WHOLE, lambda row: row.record.session),
        Column("turn", WHOLE, lambda row: row.record.turn),
        Column("class", TEXT, lambda row: row.record.kind or None),
        Column("worker", WHOLE, lambda row: row.record.worker or None),
        Column(
            "reader_seconds",
            SECONDS,
            lambda row: None if row.record.read_lag_ns is None else row.record.read_lag_ns / NS,
        ),
        Column("rtt_seconds", SECONDS, lambda row: row.record.rtt_ns / NS or None),
        Column("retransmits", WHOLE, lambda row: row.record.retransmits),
        Column("out_of_order", WHOLE, lambda row: row.record.out_of_order),
        *(_in_band(name, form) for name, form in _IN_BAND_FORMS.items()),
    )
)
"""`requests.csv` and `requests.jsonl`; instants are offsets from the start of the level."""

Second = tuple[LevelHead, Row]
_COUNTED: Final = ("second", "sent", "done", "failed", "tokens")


def _of_second(name: str) -> Column[Second]:
    form = WHOLE if name in _COUNTED else NUMBER
    return Column(name, form, lambda second: getattr(second[1], name))


TIMELINE: Final = Table[Second](
    (
        Column("level", TEXT, lambda second: second[0].level),
        Column("repeat", WHOLE, lambda second: second[0].repeat),
        *(_of_second(field.name) for field in fields(Row)),
    )
)
"""`timeline.csv`."""

LevelRow = tuple[Level, str | None]
"""A level, and the kind of its target."""
_TEXTS: Final = ("level", "workload", "mode", "arrival")


def _of_level(name: str) -> Column[LevelRow]:
    form = TEXT if name in _TEXTS else NUMBER
    return Column(name, form, lambda row: getattr(row[0], name))


def _of_metric(metric: str, statistic: str) -> Column[LevelRow]:
    return Column(
        f"{metric}_seconds_{statistic}", NUMBER, lambda row: row[0].figure(f"{metric}.{statistic}")
    )


def _of_server(name: str) -> Column[LevelRow]:
    return Column(name, NUMBER, lambda row: (row[0].server or {}).get(name))


_PLAIN: Final = (
    *("level", "workload", "mode", "concurrency", "rate"),
    *("scheduled", "ok", "failed", "cancelled", "dropped"),
    *("request_throughput", "output_token_throughput", "goodput", "failure_rate"),
    *("repeat", "arrival", "window_seconds", "tokens_per_second_per_user", "goodput_ratio"),
)
_STATISTICS: Final = ("avg", "min", *QUANTILES, "max", "std", "count")


def _of_metrics(*, appended: bool) -> Iterator[Column[LevelRow]]:
    for metric in METRICS:
        if LATENCIES[metric].appended is appended:
            yield from (_of_metric(metric, statistic) for statistic in _STATISTICS)


SUMMARY: Final = Table[LevelRow](
    (
        *map(_of_level, _PLAIN),
        Column("validity", TEXT, lambda row: row[0].verdict),
        *_of_metrics(appended=False),
        *map(_of_server, SERVER_COLUMNS),
        Column("target_kind", TEXT, lambda row: row[1]),
        *_of_metrics(appended=True),
    )
)
"""`summary.csv`."""


class SummaryCsvSink(QuietSink):
    """Writes the three CSV files; the last two grow while the run goes on."""

    _requests: GrowingFile
    _timeline: GrowingFile

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Write their headers."""
        super().open(run, folder, options)
        self._requests = GrowingFile(folder / "requests.csv")
        self._requests.write(REQUESTS.head())
        self._timeline = GrowingFile(folder / "timeline.csv")
        self._timeline.write(TIMELINE.head())
        self._write_summary(run)
        self.flush()

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep the rows for the next flush."""
        self._requests.write(REQUESTS.lines(rows))

    def second(self, head: LevelHead, row: Row) -> None:
        """Keep the row for the next flush."""
        self._timeline.write(TIMELINE.lines([(head, row)]))

    def flush(self) -> None:
        """Write whole lines."""
        each_file({"requests.csv": self._requests.flush, "timeline.csv": self._timeline.flush})

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Replace `summary.csv`."""
        each_file(
            {
                "requests.csv": self._requests.flush,
                "timeline.csv": self._timeline.flush,
                "summary.csv": lambda: self._write_summary(run),
            }
        )

    def close(self, run: Run) -> None:
        """Finish all three."""
        each_file(
            {
                "requests.csv": self._requests.close,
                "timeline.csv": self._timeline.close,
                "summary.csv": lambda: self._write_summary(run),
            }
        )

    def _write_summary(self, run: Run) -> None:
        rows = [(level, run.target.kind) for level in run.levels]
        replace_file(self.folder / "summary.csv", SUMMARY.head() + SUMMARY.lines(rows))
