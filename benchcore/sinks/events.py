"""`events.jsonl` and `texts.jsonl`: every arrival, and every text, where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from benchcore.metrics.run import RunResult
from benchcore.sinks.folder import GrowingFile, each_file
from benchcore.sinks.protocol import QuietSink, RequestRow, SinkOptions


class EventsSink(QuietSink):
    """Writes a line per request: its arrivals in ns of CLOCK_MONOTONIC, and its text."""

    _events: GrowingFile | None = None
    _texts: GrowingFile | None = None

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
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

    def close(self, run: RunResult) -> None:  # noqa: ARG002
        """Finish the files."""
        each_file({file.path.name: file.close for file in self._files()})

    def _files(self) -> list[GrowingFile]:
        return [file for file in (self._events, self._texts) if file is not None]
