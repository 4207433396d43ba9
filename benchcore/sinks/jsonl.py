"""`requests.jsonl`: one JSON object per request, for whatever reads logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import orjson

from benchcore.client.records import Record, Usage
from benchcore.clock import NS
from benchcore.metrics.figures import (
    dispatch_lag_ns,
    e2e_from_schedule_ns,
    e2e_ns,
    tpot_ns,
    ttfo_ns,
    ttft_from_schedule_ns,
    ttft_ns,
)
from benchcore.metrics.run import RunResult
from benchcore.sinks.folder import GrowingFile
from benchcore.sinks.protocol import QuietSink, RequestRow, SinkOptions

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
