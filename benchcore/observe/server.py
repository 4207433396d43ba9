"""Server: what the target says of itself on `/metrics`."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 16 * 1024 * 1024
"""A page of metrics is shorter."""
UNKNOWN = -1.0
"""What a server-side column holds where the server does not say."""

RUNNING = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
WAITING = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
_KV_USAGE = (
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
)
_PREEMPTIONS = ("vllm:num_preemptions_total", "vllm:num_preemptions")
_CACHE_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
_CACHE_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
_SPEC_ACCEPTED = ("vllm:spec_decode_num_accepted_tokens_total",)
_SPEC_DRAFTED = ("vllm:spec_decode_num_draft_tokens_total",)
_TIMES = {
    "server_queue_seconds_avg": "vllm:request_queue_time_seconds",
    "server_prefill_seconds_avg": "vllm:request_prefill_time_seconds",
    "server_decode_seconds_avg": "vllm:request_decode_time_seconds",
}
_SUFFIXED = tuple(f"{name}{suffix}" for name in _TIMES.values() for suffix in ("_sum", "_count"))
_WANTED = (
    *RUNNING,
    *WAITING,
    *_KV_USAGE,
    *_PREEMPTIONS,
    *_CACHE_HITS,
    *_CACHE_QUERIES,
    *_SPEC_ACCEPTED,
    *_SPEC_DRAFTED,
    *_SUFFIXED,
)
_LINES = re.compile(
    rb"^(?:" + b"|".join(re.escape(name.encode()) for name in _WANTED) + rb")[ {][^\n]*",
    re.MULTILINE,
)

COLUMNS = (
    "server_kv_cache_usage_max",
    "server_prefix_cache_hit_ratio",
    "server_running_max",
    "server_waiting_max",
    "server_preemptions",
    "server_queue_seconds_avg",
    "server_prefill_seconds_avg",
    "server_decode_seconds_avg",
    "server_spec_decode_acceptance_ratio",
    "gpu_memory_bytes_max",
    "gpu_utilization_avg",
)
"""The server-side columns of `summary.csv`, in its order."""

Sample = dict[str, list[float]]


def parse(text: bytes) -> Sample:
    """Return the values of the metrics that matter, one per set of labels.

    The lines are picked first: a page of a real server has thousands, and the parser is slow.
    What is no finite number is left out, and of a page that is not in the format everything.
    """
    from prometheus_client.parser import text_string_to_metric_families

    picked = b"\n".join(_LINES.findall(text)) + b"\n"
    found: Sample = {}
    try:
        families = list(text_string_to_metric_families(picked.decode(errors="replace")))
    except Exception:  # noqa: BLE001  on some lines that are none its parser trips over itself
        return found
    for family in families:
        for sample in family.samples:
            if math.isfinite(sample.value):
                found.setdefault(sample.name, []).append(sample.value)
    return found


def _first(sample: Mapping[str, list[float]], names: Iterable[str]) -> list[float] | None:
    for name in names:
        if name in sample:
            return sample[name]
    return None


def _total(sample: Sample, names: Iterable[str]) -> float | None:
    values = _first(sample, names)
    return sum(values) if values else None


def busy(sample: Sample) -> float | None:
    """Return how many requests the server has running or waiting; `None`: it does not say."""
    running, waiting = _total(sample, RUNNING), _total(sample, WAITING)
    return None if running is None else running + (waiting or 0.0)


def _growth(samples: list[Sample], names: Iterable[str]) -> float | None:
    names = tuple(names)
    first, last = _total(samples[0], names), _total(samples[-1], names)
    if first is None or last is None:
        return None
    seen = [total for sample in samples if (total := _total(sample, names)) is not None]
    if any(after < before for before, after in pairwise(seen)):
        return None  # a counter that fell was reset: the server was started anew
    return last - first


def _ratio(part: float | None, whole: float | None) -> float:
    return part / whole if part is not None and whole else UNKNOWN


def _peak(samples: list[Sample], names: tuple[str, ...], *, each: bool = False) -> float:
    fold = max if each else sum
    seen = [fold(values) for sample in samples for values in [_first(sample, names)] if values]
    return max(seen, default=UNKNOWN)


def columns(inside: list[Sample], across: list[Sample] | None = None) -> dict[str, float]:
    """Return the server-side columns of a level.

    Args:
        inside: samples of its window, for the gauges.
        across: from the last sample before the window to the first after it, for the counters;
            `None`: those inside.
    """
    found = dict.fromkeys(COLUMNS, UNKNOWN)
    samples = inside if across is None else across
    if not samples:
        return found
    found["server_kv_cache_usage_max"] = _peak(inside, _KV_USAGE, each=True)
    found["server_running_max"] = _peak(inside, RUNNING)
    found["server_waiting_max"] = _peak(inside, WAITING)
    preemptions = _growth(samples, _PREEMPTIONS)
    found["server_preemptions"] = UNKNOWN if preemptions is None else preemptions
    found["server_prefix_cache_hit_ratio"] = _ratio(
        _growth(samples, _CACHE_HITS), _growth(samples, _CACHE_QUERIES)
    )
    found["server_spec_decode_acceptance_ratio"] = _ratio(
        _growth(samples, _SPEC_ACCEPTED), _growth(samples, _SPEC_DRAFTED)
    )
    for column, name in _TIMES.items():
        found[column] = _ratio(
            _growth(samples, (f"{name}_sum",)), _growth(samples, (f"{name}_count",))
        )
    return found


@dataclass(slots=True)
class ServerMetrics:
    """Reads the target's `/metrics`, besides the measured path.

    Args:
        url: of the page.
        headers: sent with each reading.
        uds: the Unix socket, where it is one.
        tls: how to check the server's certificate, over https.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    uds: str | None = None
    tls: ssl.SSLContext | bool = True
    available: bool | None = None
    """Whether the page is there; `None`: never asked."""

    async def read(self) -> bytes | None:
        """Return the lines that matter; `None` where there is no such page."""
        import aiohttp

        if self.available is False:
            return None
        connector = aiohttp.UnixConnector(self.uds) if self.uds else None
        timeout = aiohttp.ClientTimeout(total=5.0)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.get(self.url, headers=self.headers, ssl=self.tls) as reply,
            ):
                text = await _bounded(reply) if reply.status == 200 else b""
        except (TimeoutError, aiohttp.ClientError, OSError):
            self.available = False if self.available is None else self.available
            return None
        picked = b"\n".join(_LINES.findall(text))
        if self.available is None:
            self.available = bool(picked)
        return picked + b"\n" if picked else None


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    """Return a body, empty where it is longer than any page of metrics."""
    body = bytearray()
    async for piece in reply.content.iter_chunked(1 << 16):
        body += piece
        if len(body) > MOST_BYTES:
            return b""
    return bytes(body)


SCRAPE_EVERY_SECONDS = 0.5


class Scraper:
    """Reads a server's metrics while a level runs.

    Args:
        server: where they are.
    """

    def __init__(self, server: ServerMetrics) -> None:
        self._server = server
        self._samples: list[tuple[int, Sample]] = []
        self._now = asyncio.Event()
        self._stopped = False

    def at_once(self) -> None:
        """Read as soon as can be: a window opens or closes."""
        self._now.set()

    async def run(self) -> None:
        """Read until stopped."""
        while self._server.available is not False and not self._stopped:
            self._now.clear()
            await self.read()
            # Not wait_for: before Python 3.12 it loses a cancellation that meets the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(SCRAPE_EVERY_SECONDS):
                    await self._now.wait()

    def stop(self) -> None:
        """Read no more; what is being read is for the caller to cancel."""
        self._stopped = True
        self._now.set()

    async def read(self) -> None:
        """Read once."""
        text = await self._server.read()
        if text is not None:
            self._samples.append((time.perf_counter_ns(), parse(text)))

    def columns(self, opened_ns: int, closed_ns: int) -> dict[str, float]:
        """Return the columns of a window: gauges inside it, counters across it.

        Args:
            opened_ns: when the window opened.
            closed_ns: when it closed.
        """
        before = [sample for at_ns, sample in self._samples if at_ns < opened_ns]
        inside = [sample for at_ns, sample in self._samples if opened_ns <= at_ns <= closed_ns]
        after = [sample for at_ns, sample in self._samples if at_ns > closed_ns]
        return columns(inside, [*before[-1:], *inside, *after[:1]])
