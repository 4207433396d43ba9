"""Known: what servers call the figures that they all have, in one table.

Names are without `_total`, `_bucket`, `_sum` and `_count`, which differ between versions and
formats. Where a page has several names of one meaning, as that of a worker of Dynamo with vLLM's
beside its own, the first in the order of the table counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is made of the values of a meaning."""

    GAUGE = "gauge"
    """Their sum over the series, at an instant."""
    SHARE = "share"
    """The highest of the series, at an instant."""
    COUNTER = "counter"
    """What their sum has grown by."""
    HISTOGRAM = "histogram"
    """What has been added to each bucket."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One figure that servers have.

    Args:
        key: its name in results.
        kind: of it.
        names: by server, what it is called there; several of different versions.
        label: where the figure is wanted for each of its values, too, by server.
    """

    key: str
    kind: Kind
    names: dict[str, tuple[str, ...]]
    label: dict[str, str]


VLLM: Final = "vllm"
SGLANG: Final = "sglang"
TRTLLM: Final = "trtllm"
DYNAMO: Final = "dynamo"
TGI: Final = "tgi"
LLAMA_CPP: Final = "llama.cpp"

_PREFIXES: Final = {
    VLLM: ("vllm:",),
    # Behind its router colons are underscores.
    SGLANG: ("sglang:", "sglang_"),
    TRTLLM: ("trtllm_",),
    TGI: ("tgi_",),
    LLAMA_CPP: ("llamacpp:",),
    DYNAMO: ("dynamo_frontend_", "dynamo_component_", "dynamo_component_kvstats_"),
}
"""Of names, by server, in the order in which they count."""


def _meaning(
    key: str,
    kind: Kind,
    *,
    label: dict[str, str] | None = None,
    **names: str,
) -> Meaning:
    spelt = {server.replace("llama_cpp", LLAMA_CPP): said for server, said in names.items()}
    return Meaning(
        key,
        kind,
        {server: tuple(spelt[server].split()) for server in _PREFIXES if server in spelt},
        label or {},
    )


MEANINGS: Final = (
    _meaning(
        "running",
        Kind.GAUGE,
        vllm="num_requests_running",
        sglang="num_running_reqs",
        trtllm="num_requests_running",
        dynamo="inflight_requests",
        tgi="batch_current_size",
        llama_cpp="requests_processing",
    ),
    _meaning(
        "waiting",
        Kind.GAUGE,
        vllm="num_requests_waiting",
        sglang="num_queue_reqs",
        trtllm="num_requests_waiting",
        dynamo="queued_requests",
        tgi="queue_size",
        llama_cpp="requests_deferred",
    ),
    _meaning(
        "waiting_by_reason",
        Kind.GAUGE,
        vllm="num_requests_waiting_by_reason",
        label={VLLM: "reason"},
    ),
    _meaning("paused", Kind.GAUGE, sglang="num_paused_reqs", trtllm="num_paused_requests"),
    _meaning(
        "kv_usage",
        Kind.SHARE,
        vllm="kv_cache_usage_perc gpu_cache_usage_perc",
        sglang="token_usage",
        trtllm="kv_cache_utilization",
        dynamo="gpu_cache_usage_percent",
        llama_cpp="kv_cache_usage_ratio",
    ),
    _meaning("host_kv_usage", Kind.SHARE, trtllm="kv_cache_host_utilization"),
    _meaning("host_kv_tokens", Kind.GAUGE, sglang="hicache_host_used_tokens"),
    _meaning("offloaded_blocks", Kind.GAUGE, vllm="simple_kv_offload_used_blocks"),
    _meaning("prefix_hit_rate", Kind.SHARE, sglang="cache_hit_rate", trtllm="kv_cache_hit_rate"),
    _meaning("lora_used_slots", Kind.GAUGE, sglang="lora_pool_slots_used"),
    _meaning("lora_slots", Kind.GAUGE, sglang="lora_pool_slots_total"),
    _meaning("acceptance_length_now", Kind.SHARE, sglang="spec_accept_length"),
    _meaning("acceptance_rate_now", Kind.SHARE, sglang="spec_accept_rate"),
    _meaning(
        "requests",
        Kind.COUNTER,
        vllm="request_success",
        sglang="num_requests",
        trtllm="request_success",
        dynamo="requests",
        tgi="request_success",
        label={VLLM: "finished_reason", TRTLLM: "finished_reason"},
    ),
    _meaning("aborted", Kind.COUNTER, sglang="num_aborted_requests"),
    _meaning("rejected", Kind.COUNTER, vllm="admission_rejections", trtllm="request_error"),
    _meaning(
        "prompt_tokens",
        Kind.COUNTER,
        vllm="prompt_tokens",
        sglang="prompt_tokens",
        trtllm="prompt_tokens",
        tgi="request_input_length_sum",
        llama_cpp="prompt_tokens",
    ),
    _meaning(
        "generation_tokens",
        Kind.COUNTER,
        vllm="generation_tokens",
        sglang="generation_tokens",
        trtllm="generation_tokens",
        dynamo="output_tokens",
        tgi="request_generated_tokens_sum",
        llama_cpp="tokens_predicted",
    ),
    _meaning(
        "cached_tokens",
        Kind.COUNTER,
        vllm="prompt_tokens_cached_by_source prompt_tokens_cached",
        sglang="cached_tokens",
        trtllm="prompt_cached_tokens",
        llama_cpp="prompt_tokens_cached",
        label={VLLM: "source", SGLANG: "cache_source"},
    ),
    _meaning("prefix_queries", Kind.COUNTER, vllm="prefix_cache_queries gpu_prefix_cache_queries"),
    _meaning("prefix_hits", Kind.COUNTER, vllm="prefix_cache_hits gpu_prefix_cache_hits"),
    _meaning("external_prefix_queries", Kind.COUNTER, vllm="external_prefix_cache_queries"),
    _meaning("external_prefix_hits", Kind.COUNTER, vllm="external_prefix_cache_hits"),
    _meaning("multimodal_queries", Kind.COUNTER, vllm="mm_cache_queries"),
    _meaning("multimodal_hits", Kind.COUNTER, vllm="mm_cache_hits"),
    _meaning("reused_blocks", Kind.COUNTER, trtllm="kv_cache_reused_blocks"),
    _meaning("missed_blocks", Kind.COUNTER, trtllm="kv_cache_missed_blocks"),
    _meaning("onboarded_bytes", Kind.COUNTER, trtllm="kv_cache_onboard_bytes"),
    _meaning("offloaded_bytes", Kind.COUNTER, trtllm="kv_cache_offload_bytes"),
    _meaning("evicted_tokens", Kind.COUNTER, sglang="evicted_tokens"),
    _meaning(
        "preemptions",
        Kind.COUNTER,
        vllm="num_preemptions",
        sglang="num_retracted_requests",
    ),
    _meaning(
        "drafts",
        Kind.COUNTER,
        vllm="spec_decode_num_drafts",
        sglang="spec_verify_calls",
    ),
    _meaning(
        "draft_tokens",
        Kind.COUNTER,
        vllm="spec_decode_num_draft_tokens",
        trtllm="spec_decode_drafted_tokens spec_decode_num_draft_tokens",
        llama_cpp="spec_decode_num_draft_tokens",
    ),
    _meaning(
        "accepted_tokens",
        Kind.COUNTER,
        vllm="spec_decode_num_accepted_tokens",
        trtllm="spec_decode_accepted_tokens spec_decode_num_accepted_tokens",
        llama_cpp="spec_decode_num_accepted_tokens",
    ),
    _meaning(
        "accepted_by_position",
        Kind.COUNTER,
        vllm="spec_decode_num_accepted_tokens_per_pos",
        label={VLLM: "position"},
    ),
    _meaning("prompt_seconds", Kind.COUNTER, llama_cpp="prompt_seconds"),
    _meaning("decode_seconds", Kind.COUNTER, llama_cpp="tokens_predicted_seconds"),
    _meaning(
        "ttft",
        Kind.HISTOGRAM,
        vllm="time_to_first_token_seconds",
        sglang="time_to_first_token_seconds",
        trtllm="time_to_first_token_seconds",
        dynamo="time_to_first_token_seconds",
    ),
    _meaning(
        "queue",
        Kind.HISTOGRAM,
        vllm="request_queue_time_seconds",
        sglang="queue_time_seconds",
        trtllm="request_queue_time_seconds",
        tgi="request_queue_duration",
    ),
    _meaning(
        "prefill",
        Kind.HISTOGRAM,
        vllm="request_prefill_time_seconds",
        trtllm="request_prefill_time_seconds",
    ),
    _meaning(
        "decode",
        Kind.HISTOGRAM,
        vllm="request_decode_time_seconds",
        trtllm="request_decode_time_seconds",
    ),
    _meaning(
        "inference",
        Kind.HISTOGRAM,
        vllm="request_inference_time_seconds",
        trtllm="request_inference_time_seconds",
        tgi="request_inference_duration",
    ),
    _meaning(
        "itl",
        Kind.HISTOGRAM,
        vllm="inter_token_latency_seconds time_per_output_token_seconds",
        sglang="inter_token_latency_seconds time_per_output_token_seconds",
        dynamo="inter_token_latency_seconds",
    ),
    _meaning(
        "tpot",
        Kind.HISTOGRAM,
        vllm="request_time_per_output_token_seconds",
        trtllm="time_per_output_token_seconds",
        tgi="request_mean_time_per_token_duration",
    ),
    _meaning(
        "e2e",
        Kind.HISTOGRAM,
        vllm="e2e_request_latency_seconds",
        sglang="e2e_request_latency_seconds",
        trtllm="e2e_request_latency_seconds",
        dynamo="request_duration_seconds",
        tgi="request_duration",
    ),
)

REPLICA_LABELS: Final = ("worker_addr", "worker_id", "instance")
"""Labels by which the page of a router says whose a series is."""
LORA_INFO: Final = "vllm:lora_requests_info"
"""Its labels say which adapters are in use; its value is an instant."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name stands in the table.

    Args:
        meaning: of it.
        server: whose it is.
        rank: of several names of one meaning the lowest counts.
        label: by whose values the figure is split; empty: it is not.
    """

    meaning: Meaning
    server: str
    rank: int
    label: str


def _places() -> Iterator[tuple[str, Place]]:
    for meaning in MEANINGS:
        rank = 0
        for server, names in meaning.names.items():
            for name in names:
                for prefix in _PREFIXES[server]:
                    yield (
                        f"{prefix}{name}",
                        Place(
                            meaning,
                            server,
                            rank,
                            meaning.label.get(server, ""),
                        ),
                    )
                    rank += 1


KNOWN: Final[dict[str, Place]] = dict(_places())
"""By name."""
