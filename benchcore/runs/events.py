"""Events: every arrival and every text of a run, and its histograms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from benchcore.base.files import GrowingFile, each_file, replace_file
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import QuietSink, RequestRow, SinkOptions


class EventsSink(QuietSink):
    """Writes a line per request: its arrivals in ns of CLOCK_MONOTONIC, and its text."""

    _events: GrowingFile | None = None
    _texts: GrowingFile | None = None

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Begin the files that were asked for."""
        super().open(run, folder, options)
        if options.save_events:
            self._events = GrowingFile(folder / "events.jsonl")
        if options.save_text:
            self._texts = GrowingFile(folder / "texts.jsonl")

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep their lines for the next flush."""
        for row in rows:
            record = row.record
            head: dict[str, Any] = {
                "level": row.head.level,
                "repeat": row.head.repeat,
                "stage": row.stage,
                "index": record.index,
                "request_id": record.request_id,
                "outcome": record.outcome,
            }
            if self._events is not None:
                line = head | {
                    "scheduled_ns": record.scheduled_ns,
                    "sent_ns": record.sent_ns,
                    "stamps_ns": list(record.stamps),
                    "events": None if record.events is None else list(record.events),
                    "tokens": None if record.tokens is None else list(record.tokens),
                    "choices": None if record.lanes is None else list(record.lanes),
                }
                self._events.write(orjson.dumps(line) + b"\n")
            if self._texts is not None:
                line = head | {"text": record.text}
                self._texts.write(orjson.dumps(line) + b"\n")

    def flush(self) -> None:
        """Write whole lines."""
        each_file({file.path.name: file.flush for file in self._files()})

    def close(self, run: Run) -> None:  # noqa: ARG002
        """Finish the files."""
        each_file({file.path.name: file.close for file in self._files()})

    def _files(self) -> list[GrowingFile]:
        return [file for file in (self._events, self._texts) if file is not None]


def tag(level: Level, metric: str) -> str:
    """Return `level/metric`, with the repeat behind the level where it is not the first."""
    name = level.level if level.repeat == 1 else f"{level.level}.{level.repeat}"
    return f"{name}/{metric}"


def histogram_log(run: Run) -> bytes:
    """Return the log, version 1.2: values in ns, its interval maximum in ms.

    The library's writer knows no tags and rounds the maximum down to a whole millisecond.
    """
    lines = [
        f"#[benchcore run {run.run_id}; values in nanoseconds]",
        f"#[target: {run.target.kind}]",
        "#[Histogram log format version 1.2]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    elapsed = 0.0
    for level in run.levels:
        for metric, summary in level.metrics.items():
            if summary.histogram is None:  # no request has it
                continue
            hdr = summary.histogram.hdr
            lines.append(
                f"Tag={tag(level, metric)},{elapsed:.3f},{level.window_seconds or 0.0:.3f},"
                f"{hdr.get_max_value() / 1e6:.3f},{hdr.encode().decode()}"
            )
        elapsed += level.seconds
    return "\n".join(lines).encode() + b"\n"


class HistogramLogSink(QuietSink):
    """Writes `histograms.hlog` after each level."""

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Write it empty."""
        super().open(run, folder, options)
        self._write(run)

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Write it with one more level."""
        self._write(run)

    def _write(self, run: Run) -> None:
        replace_file(self.folder / "histograms.hlog", histogram_log(run))
