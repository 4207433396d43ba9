"""Tables: `summary.csv`, `requests.csv`, `requests.jsonl`, `timeline.csv`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import orjson

from benchcore.base.clock import NS
from benchcore.base.files import GrowingFile, each_file, replace_file
from benchcore.base.text import cell
from benchcore.client.records import Record, Usage
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
from benchcore.metrics.level import LevelResult
from benchcore.metrics.percentiles import QUANTILES
from benchcore.metrics.throughput import Row
from benchcore.observe.server import COLUMNS as SERVER_COLUMNS
from benchcore.runs.run import RunResult
from benchcore.runs.sinks import LevelHead, QuietSink, RequestRow, SinkOptions

_PLAIN = (
    "level",
    "workload",
    "mode",
    "concurrency",
    "rate",
    "scheduled",
    "ok",
    "failed",
    "cancelled",
    "dropped",
    "request_throughput",
    "output_token_throughput",
    "goodput",
    "failure_rate",
    "repeat",
    "arrival",
    "window_seconds",
    "tokens_per_second_per_user",
    "goodput_ratio",
)
_STATISTICS = ("avg", "min", *QUANTILES, "max", "std", "count")
_METRIC_COLUMNS = tuple(f"{metric}_seconds_{name}" for metric in METRICS for name in _STATISTICS)
SUMMARY_COLUMNS = (*_PLAIN, "validity", *_METRIC_COLUMNS, *SERVER_COLUMNS, "target_kind")
"""Columns of `summary.csv`."""

REQUEST_COLUMNS = (
    "level",
    "repeat",
    "stage",
    "index",
    "request_id",
    "outcome",
    "phase",
    "status",
    "scheduled_seconds",
    "sent_seconds",
    "first_byte_seconds",
    "first_token_seconds",
    "first_output_seconds",
    "last_token_seconds",
    "done_seconds",
    "connect_seconds",
    "send_seconds",
    "reused",
    "retried",
    "prompt_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "token_count_source",
    "token_events",
    "asked_input_tokens",
    "asked_output_tokens",
    "finish_reason",
    "error",
)
"""Columns of `requests.csv`; instants are offsets from the start of the level."""

TIMELINE_COLUMNS = ("level", "repeat", *(field.name for field in fields(Row)))
"""Columns of `timeline.csv`."""


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.9g}"
    return cell(value) if isinstance(value, str) else value


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def summary_row(level: LevelResult, target_kind: str) -> list[Any]:
    """Return the row of one level, in the order of `SUMMARY_COLUMNS`."""
    row: list[Any] = [getattr(level, name) for name in _PLAIN]
    row.append(level.validity.verdict)
    for metric in METRICS:
        summary = level.metrics.get(metric)
        figures = {} if summary is None else summary.to_json()
        row.extend(figures.get(name) for name in _STATISTICS)
    row.extend(level.server[name] for name in SERVER_COLUMNS)
    row.append(target_kind)
    return row


def request_row(row: RequestRow) -> list[Any]:
    """Return the row of one request, in the order of `REQUEST_COLUMNS`."""
    record, start = row.record, row.head.start_ns
    usage = record.usage

    def offset(at_ns: int) -> str:
        return f"{(at_ns - start) / NS:.9f}" if at_ns else ""

    return [
        row.head.level,
        row.head.repeat,
        row.stage,
        record.index,
        record.request_id,
        record.outcome,
        record.phase,
        record.status or None,
        offset(record.scheduled_ns),
        offset(record.sent_ns),
        offset(record.first_byte_ns),
        offset(record.first_token_ns),
        offset(record.first_output_ns),
        offset(record.last_token_ns),
        offset(record.done_ns),
        f"{record.connect_ns / NS:.9f}" if record.connect_ns else "",
        f"{(record.send_end_ns - record.sent_ns) / NS:.9f}" if record.send_end_ns else "",
        int(record.reused),
        int(record.retried),
        usage.prompt_tokens if usage else None,
        record.output_tokens,
        usage.cached_tokens if usage else None,
        usage.reasoning_tokens if usage else None,
        record.token_count_source,
        record.token_events if record.streamed else None,
        record.asked_input_tokens,
        record.asked_output_tokens,
        record.finish_reason,
        record.error,
    ]


class SummaryCsvSink(QuietSink):
    """Writes the three CSV files; the last two grow while the run goes on."""

    _requests: GrowingFile
    _timeline: GrowingFile

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Write their headers."""
        super().open(run, folder, options)
        self._requests = GrowingFile(folder / "requests.csv")
        self._requests.write(_lines([REQUEST_COLUMNS]))
        self._timeline = GrowingFile(folder / "timeline.csv")
        self._timeline.write(_lines([TIMELINE_COLUMNS]))
        self._write_summary(run)
        self.flush()

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep the rows for the next flush."""
        self._requests.write(_lines(map(request_row, rows)))

    def second(self, head: LevelHead, row: Row) -> None:
        """Keep the row for the next flush."""
        cells = (getattr(row, field.name) for field in fields(Row))
        self._timeline.write(_lines([[head.level, head.repeat, *cells]]))

    def flush(self) -> None:
        """Write whole lines."""
        each_file({"requests.csv": self._requests.flush, "timeline.csv": self._timeline.flush})

    def level(self, run: RunResult, level: LevelResult) -> None:  # noqa: ARG002
        """Replace `summary.csv`."""
        each_file(
            {
                "requests.csv": self._requests.flush,
                "timeline.csv": self._timeline.flush,
                "summary.csv": lambda: self._write_summary(run),
            }
        )

    def close(self, run: RunResult) -> None:
        """Finish all three."""
        each_file(
            {
                "requests.csv": self._requests.close,
                "timeline.csv": self._timeline.close,
                "summary.csv": lambda: self._write_summary(run),
            }
        )

    def _write_summary(self, run: RunResult) -> None:
        kind = run.facts["target"]["kind"]
        rows = [list(SUMMARY_COLUMNS), *(summary_row(level, kind) for level in run.levels)]
        replace_file(self.folder / "summary.csv", _lines(rows))


_FIGURES: dict[str, Callable[[Record], float | None]] = {
    "dispatch_lag_seconds": dispatch_lag_ns,
    "ttft_seconds": ttft_ns,
    "ttft_from_schedule_seconds": ttft_from_schedule_ns,
    "ttfo_seconds": ttfo_ns,
    "tpot_seconds": tpot_ns,
    "e2e_seconds": e2e_ns,
    "e2e_from_schedule_seconds": e2e_from_schedule_ns,
}


def request_object(run_id: str, row: RequestRow) -> dict[str, Any]:
    """Return what the line of one request holds; what is not known is `None`.

    The keys are those of `requests.csv`, with the run, the request's own figures and some more.
    Instants are seconds from the start of the level.
    """
    record, start = row.record, row.head.start_ns
    usage = record.usage or Usage()

    def offset(at_ns: int) -> float | None:
        return (at_ns - start) / NS if at_ns else None

    figures = {name: figure(record) for name, figure in _FIGURES.items()}
    return {
        "run_id": run_id,
        "level": row.head.level,
        "repeat": row.head.repeat,
        "stage": row.stage,
        "index": record.index,
        "request_id": record.request_id,
        "outcome": record.outcome,
        "phase": record.phase,
        "status": record.status or None,
        "error": record.error or None,
        "retry_after": record.retry_after or None,
        "finish_reason": record.finish_reason or None,
        "scheduled_seconds": offset(record.scheduled_ns),
        "sent_seconds": offset(record.sent_ns),
        "send_end_seconds": offset(record.send_end_ns),
        "first_byte_seconds": offset(record.first_byte_ns),
        "first_token_seconds": offset(record.first_token_ns),
        "first_output_seconds": offset(record.first_output_ns),
        "last_token_seconds": offset(record.last_token_ns),
        "done_seconds": offset(record.done_ns),
        "connect_seconds": record.connect_ns / NS if record.connect_ns else None,
        "send_seconds": (record.send_end_ns - record.sent_ns) / NS if record.send_end_ns else None,
        **{name: None if value is None else value / NS for name, value in figures.items()},
        "reused": record.reused,
        "retried": record.retried,
        "streamed": record.streamed,
        "prompt_tokens": usage.prompt_tokens,
        "output_tokens": record.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "token_count_source": record.token_count_source,
        "token_events": record.token_events if record.streamed else None,
        "arrivals": len(record.stamps) if record.streamed else None,
        "asked_input_tokens": record.asked_input_tokens,
        "asked_output_tokens": record.asked_output_tokens,
    }


class JsonLinesSink(QuietSink):
    """Writes `requests.jsonl`, which grows by whole lines while the run goes on."""

    optional: ClassVar[bool] = True
    _file: GrowingFile
    _run_id = ""

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Begin the file."""
        super().open(run, folder, options)
        self._run_id = run.run_id
        self._file = GrowingFile(folder / "requests.jsonl")

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep their lines for the next flush."""
        for row in rows:
            found = request_object(self._run_id, row)
            self._file.write(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write whole lines."""
        self._file.flush()

    def close(self, run: RunResult) -> None:  # noqa: ARG002
        """Finish the file."""
        self._file.close()
