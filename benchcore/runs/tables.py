"""Tables: `summary.csv`, `requests.csv`, `requests.jsonl`, `timeline.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import ClassVar, Final

import orjson

from benchcore.base.clock import NS
from benchcore.base.files import GrowingFile, each_file, replace_file
from benchcore.client.records import Record, Usage
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
from benchcore.runs.columns import FLAG, NUMBER, SECONDS, TEXT, WHOLE, Column, Table, Value
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import LevelHead, QuietSink, RequestRow, SinkOptions


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


_SILENT: Final = Usage()
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


class JsonLinesSink(QuietSink):
    """Writes `requests.jsonl`, which grows by whole lines while the run goes on."""

    optional: ClassVar[bool] = True
    _file: GrowingFile
    _run_id: str | None = None

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Begin the file."""
        super().open(run, folder, options)
        self._run_id = run.run_id
        self._file = GrowingFile(folder / "requests.jsonl")

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep their lines for the next flush."""
        for row in rows:
            found = {"run_id": self._run_id, **REQUESTS.values(row)}
            self._file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write whole lines."""
        self._file.flush()

    def close(self, run: Run) -> None:  # noqa: ARG002
        """Finish the file."""
        self._file.close()
