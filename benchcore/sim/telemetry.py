"""Telemetry: what the simulator says of itself on /metrics, and the truth it writes down."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence as Many
    from pathlib import Path

    from prometheus_client.metrics_core import Metric

    from benchcore.sim.batching import Batch, Sequence, Step
    from benchcore.sim.options import SimProfile

_LABELS: Final = ("model_name", "engine")
_ENGINE: Final = "0"
_TTFT: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_GAPS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
_LATENCY: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_STEP_TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Buckets:
    """Bucket counts that cost a bisection per value; prometheus-client's take a lock each."""

    __slots__ = ("_bounds", "_counts", "_sum", "count")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """Counts one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self.count += 1

    def family(self, name: str, documentation: str, labels: Many[str]) -> Metric:
        """The counts as a Prometheus histogram."""
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
        family = HistogramMetricFamily(name, documentation, labels=_LABELS)
        family.add_metric(labels, buckets, self._sum)
        return family


class _EngineCollector(Collector):
    """Reads the batch's state when it is scraped, so that a step pays nothing for it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics, batch, labels = self._metrics, self._metrics.batch, self._metrics.labels
        gauges = (
            ("num_requests_running", "Requests in the batch.", len(batch.running)),
            ("num_requests_waiting", "Requests waiting for the batch.", len(batch.waiting)),
            ("kv_cache_usage_perc", "KV-cache usage, 1 is all of it.", batch.pool.usage),
        )
        for name, documentation, value in gauges:
            gauge = GaugeMetricFamily(f"vllm:{name}", documentation, labels=_LABELS)
            gauge.add_metric(labels, value)
            yield gauge
        counters = (
            ("prefix_cache_queries", "Prefix cache queries, tokens.", batch.prefix_queries),
            ("prefix_cache_hits", "Prefix cache hits, tokens.", batch.prefix_hits),
            ("num_preemptions", "Preemptions so far.", batch.preemptions),
            (
                "prompt_tokens",
                "Prompt tokens of requests that have begun to answer.",
                metrics.prompt_tokens,
            ),
            ("generation_tokens", "Tokens generated.", metrics.generation_tokens),
        )
        for name, documentation, value in counters:
            counter = CounterMetricFamily(f"vllm:{name}", documentation, labels=_LABELS)
            counter.add_metric(labels, value)
            yield counter
        config = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Size of the KV cache.",
            labels=("block_size", "enable_prefix_caching", "engine", "num_gpu_blocks"),
        )
        config.add_metric(metrics.cache_labels, 1.0)
        yield config
        yield metrics.gaps.family(
            "vllm:inter_token_latency_seconds", "Time between tokens of a request.", labels
        )
        yield metrics.step_tokens.family(
            "vllm:iteration_tokens_total", "Tokens per engine step.", labels
        )


class Metrics:
    """Counts what the engine does, in a registry of its own."""

    def __init__(self, batch: Batch, profile: SimProfile) -> None:
        self.batch = batch
        self.labels = (profile.model, _ENGINE)
        self.cache_labels = (
            str(profile.block_tokens),
            str(profile.prefix_cache),
            _ENGINE,
            str(profile.blocks),
        )
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.gaps = Buckets(_GAPS)
        self.step_tokens = Buckets(_STEP_TOKENS)
        self.registry = CollectorRegistry()
        self.registry.register(_EngineCollector(self))
        sizes = _one_two_five(profile.max_model_len)
        self._success = Counter(
            "vllm:request_success",
            "Requests finished.",
            (*_LABELS, "finished_reason"),
            registry=self.registry,
        )
        self._prompt_sizes = self._histogram("request_prompt_tokens", "Prompt tokens.", sizes)
        self._answer_sizes = self._histogram("request_generation_tokens", "Answer tokens.", sizes)
        self._ttft = self._histogram("time_to_first_token_seconds", "To the first token.", _TTFT)
        self._tpot = self._histogram(
            "request_time_per_output_token_seconds", "Per token after the first.", _GAPS
        )
        self._e2e = self._histogram("e2e_request_latency_seconds", "Whole request.", _LATENCY)
        self._queue = self._histogram("request_queue_time_seconds", "Waiting.", _LATENCY)
        self._inference = self._histogram("request_inference_time_seconds", "Running.", _LATENCY)
        self._prefill = self._histogram("request_prefill_time_seconds", "Prefill.", _LATENCY)
        self._decode = self._histogram("request_decode_time_seconds", "Decode.", _LATENCY)

    def step(self, step: Step, emitted: Many[Sequence], now_ns: int) -> None:
        """Counts one step of the engine."""
        self.generation_tokens += len(emitted)
        self.step_tokens.add(step.prefill_tokens + len(emitted))
        add = self.gaps.add
        for sequence in emitted:
            if sequence.generated > 1:
                add((now_ns - sequence.last_token_ns) / 1e9)
            else:  # whole prompts, those from the cache too, as vLLM counts them
                self.prompt_tokens += sequence.prompt_tokens
            sequence.last_token_ns = now_ns

    def finished(self, sequence: Sequence, reason: str) -> None:
        """Counts a sequence that has left the engine, to the end or aborted."""
        self._success.labels(*self.labels, reason).inc()
        if not sequence.finished_ns:
            return
        self._prompt_sizes.observe(sequence.prompt_tokens)
        self._answer_sizes.observe(sequence.generated)
        self._ttft.observe((sequence.first_token_ns - sequence.arrived_ns) / 1e9)
        self._e2e.observe((sequence.finished_ns - sequence.arrived_ns) / 1e9)
        self._queue.observe((sequence.scheduled_ns - sequence.arrived_ns) / 1e9)
        self._inference.observe((sequence.finished_ns - sequence.scheduled_ns) / 1e9)
        self._prefill.observe((sequence.first_token_ns - sequence.scheduled_ns) / 1e9)
        decode = (sequence.finished_ns - sequence.first_token_ns) / 1e9
        self._decode.observe(decode)
        if sequence.generated > 1:
            self._tpot.observe(decode / (sequence.generated - 1))

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(
            f"vllm:{name}", documentation, _LABELS, buckets=buckets, registry=self.registry
        )
        return histogram.labels(*self.labels)


def _one_two_five(largest: int) -> tuple[float, ...]:
    sizes: list[float] = []
    power = 1
    while True:
        for mantissa in (1, 2, 5):
            if mantissa * power > largest:
                return tuple(sizes)
            sizes.append(mantissa * power)
        power *= 10


@dataclass(slots=True)
class Account:
    """What happened to one request; times are CLOCK_MONOTONIC nanoseconds.

    ``writes_ns`` has one stamp per token event, taken immediately before the write that
    carried it; events of one write share their stamp. ``worth`` is what the answer to a question
    is worth, ``batch`` how many requests were in hand.
    """

    request_id: str
    received_ns: int
    endpoint: str
    status: int = 200
    first_write_ns: int | None = None
    writes_ns: list[int] = field(default_factory=list)
    completion_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    finish: str | None = None
    worth: str = ""
    batch: int = 0

    def line(self) -> bytes:
        """The account as one line of JSON."""
        return (
            orjson.dumps(
                {
                    "request_id": self.request_id,
                    "endpoint": self.endpoint,
                    "status": self.status,
                    "received_ns": self.received_ns,
                    "first_write_ns": self.first_write_ns,
                    "writes_ns": self.writes_ns,
                    "events": len(self.writes_ns),
                    "completion_tokens": self.completion_tokens,
                    "prompt_tokens": self.prompt_tokens,
                    "cached_tokens": self.cached_tokens,
                    "preemptions": self.preemptions,
                    "finish": self.finish,
                    "worth": self.worth or None,
                    "batch": self.batch,
                }
            )
            + b"\n"
        )


def request_metrics(sequence: Sequence) -> dict[str, float | None]:
    """What vLLM says of one request in its answer, in milliseconds."""
    decode_ns = sequence.finished_ns - sequence.first_token_ns
    inference_ns = sequence.finished_ns - sequence.scheduled_ns
    return {
        "time_to_first_token_ms": (sequence.first_token_ns - sequence.scheduled_ns) / 1e6,
        "generation_time_ms": decode_ns / 1e6,
        "queue_time_ms": (sequence.scheduled_ns - sequence.arrived_ns) / 1e6,
        "mean_itl_ms": decode_ns / 1e6 / (sequence.generated - 1)
        if sequence.generated > 1
        else None,
        "tokens_per_second": sequence.generated / (inference_ns / 1e9) if inference_ns else None,
    }


class TruthLog:
    """Appends accounts to a file, each as one whole line as soon as its request ends.

    Raises:
        OSError: the file cannot be opened.
    """

    __slots__ = ("_file",)

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, account: Account) -> None:
        """Appends one account."""
        self._file.write(account.line())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
