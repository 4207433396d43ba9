"""Server: what the target says of itself on `/metrics`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

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
_BLOCK = re.compile(
    rb'^vllm:cache_config_info\{[^\n]*\bblock_size="([1-9][0-9]{0,5})"', re.MULTILINE
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


def picked(page: bytes) -> bytes:
    """Return the lines of a page that matter; empty where it has none."""
    return b"\n".join(_LINES.findall(page))


def block_tokens(page: bytes) -> int | None:
    """Return how many tokens a block of the server's cache holds; `None`: it does not say."""
    found = _BLOCK.search(page)
    return int(found[1]) if found is not None else None


def parse(text: bytes) -> Sample:
    """Return the values of the metrics that matter, one per set of labels.

    The lines are picked first: a page of a real server has thousands, and the parser is slow.
    What is no finite number is left out, and of a page that is not in the format everything.
    """
    from prometheus_client.parser import text_string_to_metric_families

    lines = picked(text) + b"\n"
    found: Sample = {}
    try:
        families = list(text_string_to_metric_families(lines.decode(errors="replace")))
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


def now(samples: list[Sample]) -> dict[str, float | None]:
    """Return how the server stands, by the names of `config.alerts`; `None`: it does not say.

    Args:
        samples: the last two, or the only one there is.
    """
    if not samples:
        return {}
    newest = samples[-1]
    usage = _first(newest, _KV_USAGE)
    hits, queries = _growth(samples, _CACHE_HITS), _growth(samples, _CACHE_QUERIES)
    return {
        "running": _total(newest, RUNNING),
        "queue": _total(newest, WAITING),
        "kv_cache": max(usage) if usage else None,
        "cache_hit_rate": hits / queries if hits is not None and queries else None,
    }
