"""OTLP: a span per request, sent to an OpenTelemetry collector once a level is over.

Names are those of OpenTelemetry's semantic conventions for generative AI (status: development);
what they have no name for begins with `benchcore.`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from benchcore.base.errors import ConfigError
from benchcore.client.records import FAILED, Outcome, Record, Usage
from benchcore.metrics.spool import Spool
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import LevelHead, QuietSink, RequestRow, SinkOptions
from benchcore.version import __version__, installing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer


BATCH: Final = 512
"""Spans of one message, as in the SDK's own processor."""
_OPERATIONS: Final = {"chat": "chat", "completions": "text_completion", "responses": "chat"}
_EVENTS: Final = ("first_token", "first_output", "last_token")


def request_attributes(target: TargetFacts, row: RequestRow) -> dict[str, Any]:
    """Return the attributes of a request's span; what is not known is not there.

    Args:
        target: of the run.
        row: the request.
    """
    record = row.record
    usage = record.usage or Usage()
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": _OPERATIONS[target.endpoint or ""],
        # Which program answers is not known: this is the API that it speaks.
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": target.model,
        "gen_ai.request.max_tokens": record.asked_output_tokens,
        "gen_ai.request.stream": record.streamed,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": (record.first_token_ns - record.sent_ns) / 1e9
        if record.streamed and record.first_token_ns
        else None,
        "http.response.status_code": record.status or None,
        "error.type": record.outcome.value if record.outcome and is_error(record) else None,
        **_server(target.base_url or ""),
        "benchcore.request_id": record.request_id,
        "benchcore.level": row.head.level,
        "benchcore.repeat": row.head.repeat,
        "benchcore.stage": row.stage,
        "benchcore.index": record.index,
        "benchcore.outcome": record.outcome.value if record.outcome else None,
        "benchcore.phase": record.phase.value if record.phase else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def is_error(record: Record) -> bool:
    """Return whether a request failed or was dropped; one that we cancelled did not fail."""
    return record.outcome in FAILED or record.outcome is Outcome.DROPPED


def _server(base_url: str) -> dict[str, str | int]:
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 80)
    return {"server.address": parts.hostname, "server.port": port}


def _endpoint() -> str:
    """Return where the exporter will send to, without a password; what is wrong with it is told."""
    base, whole = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    name = whole if os.environ.get(whole) else base
    url = os.environ.get(name, "")
    if not url:
        raise ConfigError(
            f"--sink otlp: {base} is not set; name the collector, such as http://localhost:4318"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{name}: is not an address such as http://localhost:4318")
    place = f"[{host}]" if ":" in host else host
    path = parts.path if name == whole else f"{parts.path.rstrip('/')}/v1/traces"
    return f"{parts.scheme}://{place}{f':{port}' if port else ''}{path}"


class OtlpSink(QuietSink):
    """Sends the spans of a level when it is over, never while it is measured.

    Raises:
        ConfigError: OpenTelemetry is not installed, or no endpoint is named.
    """

    optional: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        try:
            # The SDK takes its time to import: now, and not in the middle of the run.
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider  # noqa: F401
        except ImportError:
            raise ConfigError(
                f"--sink otlp: OpenTelemetry is not installed; {installing('opentelemetry')}"
            ) from None
        self._endpoint = _endpoint()
        self._exporter: SpanExporter = OTLPSpanExporter()
        self._tracer: Tracer | None = None
        self._ended: list[ReadableSpan] = []
        self._rows: dict[tuple[LevelHead, str], Spool] = {}
        self._target = TargetFacts()

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Prepare spans that say which run they are of."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        super().open(run, folder, options)
        self._target = run.target
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or "benchcore",
                "service.version": __version__,
                "benchcore.run_id": run.run_id,
                "benchcore.target.kind": self._target.kind or "",
            }
        )
        # A provider of our own: what the program around us traces is not touched.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(_collector(self._ended))
        self._tracer = provider.get_tracer("benchcore", __version__)

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep them until the level is over, the older ones in a file."""
        for row in rows:
            key = row.head, row.stage
            if key not in self._rows:
                self._rows[key] = Spool(self.folder)
            self._rows[key].append(row.record)

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Send what the level had."""
        self._send()

    def close(self, run: Run) -> None:  # noqa: ARG002
        """Send what is left of a level that did not end."""
        try:
            self._send()
        finally:
            self._exporter.shutdown()

    def _send(self) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        spools, self._rows = self._rows, {}
        count = sum(map(len, spools.values()))
        rows = (
            RequestRow(head, record, stage)
            for (head, stage), spool in spools.items()
            for record in spool
        )
        # Both clocks at one instant: a span has wall time, a record CLOCK_MONOTONIC.
        offset_ns = time.time_ns() - time.perf_counter_ns()
        for start in range(0, count, BATCH):
            for row in islice(rows, BATCH):
                self._span(row, offset_ns)
            spans, self._ended[:] = list(self._ended), []
            with _heard() as said:
                result = self._exporter.export(spans)
            if result is not SpanExportResult.SUCCESS:
                # One batch that was not taken has cost seconds already: the next ones would, too.
                reason = "; ".join(dict.fromkeys(said)) or "no reason given"
                raise OSError(
                    f"{self._endpoint}: {count - start} of {count} spans were not accepted "
                    f"({reason}); is the collector there?"
                )

    def _span(self, row: RequestRow, offset_ns: int) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode

        assert self._tracer is not None
        record = row.record
        # What was never sent, such as where nothing answered, began when it was due.
        start_ns = record.sent_ns or record.scheduled_ns
        attributes = request_attributes(self._target, row)
        span = self._tracer.start_span(
            " ".join(filter(None, (attributes["gen_ai.operation.name"], self._target.model))),
            context=Context(),
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=start_ns + offset_ns,
        )
        for name in _EVENTS:
            at_ns = getattr(record, f"{name}_ns")
            if at_ns:
                span.add_event(name, timestamp=at_ns + offset_ns)
        if is_error(record):
            span.set_status(Status(StatusCode.ERROR, record.error or None))
        span.end(end_time=max(record.done_ns, start_ns) + offset_ns)


def _collector(ended: list[ReadableSpan]) -> Any:
    """Return a processor that keeps spans: the SDK's own ones send in the middle of a level."""
    from opentelemetry.sdk.trace import SpanProcessor

    class Collector(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    return Collector()


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(" ".join(record.getMessage().split()))


@contextmanager
def _heard() -> Iterator[Sequence[str]]:
    """Hear what the exporter logs: it says there alone why it failed, and several times."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http")
    said: list[str] = []
    listener = _Listener(said)
    propagates = logger.propagate
    logger.addHandler(listener)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = propagates
        logger.removeHandler(listener)
