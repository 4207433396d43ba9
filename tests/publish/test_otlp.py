"""Spans: what a collector on loopback gets of each request, and when."""

import asyncio
import builtins
import threading
import time
from array import array

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider

import benchcore
from benchcore.base.errors import ConfigError
from benchcore.client.records import Outcome, Phase, Record, Usage
from benchcore.publish import otlp
from benchcore.publish.otlp import OtlpSink
from benchcore.runs.run import Run
from benchcore.runs.sinks import LevelHead, RequestRow, SinkOptions

pytestmark = pytest.mark.integration
TARGET = {
    "kind": "server",
    "base_url": "http://gpu0:8000/v1",
    "model": "org/model",
    "endpoint": "chat",
}
MS = 1_000_000
ENDED_AT = 5_000_000_000


class Receiver:
    """An OTLP/HTTP collector in a thread of its own; answers `status` and keeps what it got."""

    def __init__(self):
        self.messages = []
        self.headers = []
        self.status = 200
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def _take(self, request):
        message = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        self.messages.append(message)
        return web.Response(
            status=self.status,
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    async def _serve(self):
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://{}:{}".format(*self._runner.addresses[0])
        self._ready.set()

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_exc):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    @property
    def spans(self):
        return [
            span
            for message in self.messages
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def receiver(monkeypatch):
    for name in ("TRACES_ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    with Receiver() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        yield one


def values(attributes):
    """Return attributes of the protobuf as Python has them."""

    def plain(value):
        kind = value.WhichOneof("value")
        found = getattr(value, kind)
        return [plain(one) for one in found.values] if kind == "array_value" else found

    return {one.key: plain(one.value) for one in attributes}


def row(stage="window", **fields):
    return RequestRow(LevelHead("c8", 2, 1), Record("id-7", index=7, **fields), stage)


def ok(**changes):
    fields = {
        "outcome": Outcome.OK,
        "status": 200,
        "finish_reason": "stop",
        "scheduled_ns": ENDED_AT - 400 * MS,
        "sent_ns": ENDED_AT - 350 * MS,
        "first_token_ns": ENDED_AT - 250 * MS,
        "first_output_ns": ENDED_AT - 200 * MS,
        "last_token_ns": ENDED_AT - 50 * MS,
        "done_ns": ENDED_AT - 40 * MS,
        "stamps": array("q", [1, 2]),
        "asked_output_tokens": 5,
        "usage": Usage(11, 4, 8, 2),
    }
    return row(**(fields | changes))


@pytest.fixture
def clocks(monkeypatch):
    """Both clocks stand still at the end of the level: wall time is 10^18 ns later."""
    monkeypatch.setattr(otlp.time, "perf_counter_ns", lambda: ENDED_AT)
    monkeypatch.setattr(otlp.time, "time_ns", lambda: 10**18 + ENDED_AT)


def opened(tmp_path, **target):
    sink = OtlpSink()
    run = Run.begun("r1", "2026-11-21T00:00:00Z", target=TARGET | target)
    sink.open(run, tmp_path, SinkOptions())
    return sink, run


def test_a_span_says_what_the_request_was(receiver, clocks, tmp_path):
    sink, run = opened(tmp_path)
    sink.requests([ok()])
    with TracerProvider(shutdown_on_exit=False).get_tracer("x").start_as_current_span("around us"):
        sink.level(run, None)
    sink.close(run)
    (message,) = receiver.messages
    (resource,) = message.resource_spans
    about = values(resource.resource.attributes)
    assert about["service.name"] == "benchcore"
    assert about["service.version"] == benchcore.__version__
    assert about["benchcore.run_id"] == "r1"
    assert about["benchcore.target.kind"] == "server"
    (span,) = receiver.spans
    assert span.name == "chat org/model"
    assert span.kind == span.SPAN_KIND_CLIENT
    assert span.parent_span_id == b""
    assert span.status.code == span.status.STATUS_CODE_UNSET
    at = 10**18 + ENDED_AT
    assert span.start_time_unix_nano == at - 350 * MS
    assert span.end_time_unix_nano == at - 40 * MS
    assert [(event.name, event.time_unix_nano) for event in span.events] == [
        ("first_token", at - 250 * MS),
        ("first_output", at - 200 * MS),
        ("last_token", at - 50 * MS),
    ]
    assert values(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "org/model",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 8,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.1,
        "http.response.status_code": 200,
        "server.address": "gpu0",
        "server.port": 8000,
        "benchcore.request_id": "id-7",
        "benchcore.level": "c8",
        "benchcore.repeat": 2,
        "benchcore.stage": "window",
        "benchcore.index": 7,
        "benchcore.outcome": "ok",
    }


def test_failures_say_which_and_a_cancelled_request_is_none(receiver, clocks, tmp_path):
    sink, run = opened(tmp_path, endpoint="completions", base_url="unix:/run/a.sock", model=None)
    sink.requests(
        [
            row(
                outcome=Outcome.TIMEOUT,
                phase=Phase.CONNECT,
                error="no connection within 2 s",
                scheduled_ns=ENDED_AT - 3 * MS,
                done_ns=ENDED_AT - 1 * MS,
            ),
            row(outcome=Outcome.DROPPED, scheduled_ns=ENDED_AT - 3 * MS),
            row(outcome=Outcome.CANCELLED, sent_ns=ENDED_AT - 3 * MS, done_ns=ENDED_AT),
        ]
    )
    sink.level(run, None)
    sink.close(run)
    late, dropped, cancelled = receiver.spans
    assert late.name == "text_completion"
    assert late.status.code == late.status.STATUS_CODE_ERROR
    assert late.status.message == "no connection within 2 s"
    about = values(late.attributes)
    assert about["error.type"] == "timeout"
    assert about["benchcore.phase"] == "connect"
    assert not {"server.address", "gen_ai.request.model", "http.response.status_code"} & set(about)
    assert late.start_time_unix_nano == 10**18 + ENDED_AT - 3 * MS
    assert late.end_time_unix_nano == 10**18 + ENDED_AT - 1 * MS
    # It was never sent: a span without length, so that there is one for each request.
    assert values(dropped.attributes)["error.type"] == "dropped"
    assert dropped.start_time_unix_nano == dropped.end_time_unix_nano
    assert dropped.status.code == late.status.STATUS_CODE_ERROR
    assert "error.type" not in values(cancelled.attributes)
    assert cancelled.status.code == cancelled.status.STATUS_CODE_UNSET


def test_nothing_is_sent_before_the_level_is_over(receiver, tmp_path):
    sink, run = opened(tmp_path)
    for _ in range(3):
        sink.requests([ok()] * 400)
        sink.second(LevelHead("c8", 2, 1), None)
        sink.flush()
    assert receiver.messages == []
    sink.level(run, None)
    assert [len(one.resource_spans[0].scope_spans[0].spans) for one in receiver.messages] == [
        *(512, 512, 176)
    ]
    assert len({span.trace_id for span in receiver.spans}) == 1200
    sink.level(run, None)
    sink.requests([ok(), ok()])
    assert len(receiver.messages) == 3
    # A level that was interrupted is told of at the end alone.
    sink.close(run)
    assert len(receiver.spans) == 1202


def test_standard_variables_count(receiver, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=infra")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a")
    sink, run = opened(tmp_path)
    sink.requests([ok()])
    sink.close(run)
    about = values(receiver.messages[0].resource_spans[0].resource.attributes)
    assert (about["service.name"], about["team"]) == ("nightly", "infra")
    assert receiver.headers[0]["x-tenant"] == "a"


def test_a_refusal_is_told_once_with_the_reason_and_nothing_is_printed(
    receiver, tmp_path, capfd, caplog
):
    receiver.status = 400
    sink, run = opened(tmp_path)
    sink.requests([ok()] * 600)
    with pytest.raises(OSError) as told:
        sink.level(run, None)
    assert str(told.value) == (
        f"{receiver.url}/v1/traces: 600 of 600 spans were not accepted (Failed to export spans "
        "batch code: 400, reason: Bad Request); is the collector there?"
    )
    assert len(receiver.messages) == 1
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    # What was not taken is not sent again.
    receiver.status = 200
    sink.requests([ok()])
    sink.close(run)
    assert len(receiver.messages[1].resource_spans[0].scope_spans[0].spans) == 1


def test_a_collector_that_is_not_there_is_told(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:secret@127.0.0.1:1/otlp/")
    # Shorter than the first wait between two tries.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    sink, run = opened(tmp_path)
    sink.requests([ok()])
    with pytest.raises(OSError, match=r"^http://127.0.0.1:1/otlp/v1/traces: 1 of 1 spans were not"):
        sink.level(run, None)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "url", "says"),
    [
        ("ENDPOINT", "", "--sink otlp: OTEL_EXPORTER_OTLP_ENDPOINT is not set; name the collector"),
        (
            "ENDPOINT",
            "gpu0:4318",
            "OTEL_EXPORTER_OTLP_ENDPOINT: is not an address such as http://l",
        ),
        ("TRACES_ENDPOINT", "http://[::1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: is not an address"),
    ],
)
def test_an_endpoint_that_is_none_is_told_before_the_load(monkeypatch, name, url, says):
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", url)
    with pytest.raises(ConfigError) as told:
        OtlpSink()
    assert str(told.value).startswith(says)
    assert "\n" not in str(told.value)


def test_the_endpoint_of_traces_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[::1]:4318/mine")
    assert OtlpSink()._endpoint == "https://[::1]:4318/mine"


def test_a_package_that_is_missing_is_told_before_the_load(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as told:
        OtlpSink()
    assert str(told.value) == (
        "--sink otlp: OpenTelemetry is not installed; pip install 'benchcore-llm[opentelemetry]', "
        "or in a checkout .venv/bin/pip install -e '.[opentelemetry]'"
    )


async def test_a_climb_has_a_span_for_each_request(receiver, simulator, tmp_path):
    before_ns = time.time_ns()
    run = await benchcore.climb(
        benchcore.Target(simulator.base_url),
        concurrency=[1, 3],
        requests=10,
        idle_seconds=0,
        output=tmp_path,
        sinks=["otlp"],
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=6, seed=1),
    )
    after_ns = time.time_ns()
    assert len(receiver.messages) == 2
    measured = [
        span for span in receiver.spans if values(span.attributes)["benchcore.stage"] == "window"
    ]
    assert len(measured) == 20
    # What goes on unmeasured at the end may be cut before its first token.
    for span in measured:
        times = [span.start_time_unix_nano, *(one.time_unix_nano for one in span.events)]
        assert before_ns < times[0] < times[1] < after_ns
        assert times[-1] <= span.end_time_unix_nano < after_ns
    ttfts = sorted(
        span.events[0].time_unix_nano - span.start_time_unix_nano for span in measured[:10]
    )
    assert ttfts[4] == pytest.approx(run.levels[0].ttft.p50 * 1e9, abs=2)
