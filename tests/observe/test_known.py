"""The table of known names, on pages of servers; `pages/README.md` says which of them are real."""

import gzip
import re
from pathlib import Path

import pytest

from benchcore.observe.families import PageReader
from benchcore.observe.windows import SourceWindow

PAGES = Path(__file__).parent / "pages"
S = 1_000_000_000


def both(name):
    """The page before a window, and the one after it."""
    if name == "vllm":
        return [
            gzip.decompress((PAGES / f"vllm-{side}.txt.gz").read_bytes())
            for side in ("before", "after")
        ]
    text = (PAGES / f"{name}.txt").read_text()
    return [re.sub(r"([0-9.e+]+)->([0-9.e+]+)", side, text).encode() for side in (r"\1", r"\2")]


def figures(name):
    before, after = both(name)
    reader = PageReader()
    reader.read(before)
    window = SourceWindow("http://a", reader, 0)
    reader.read(after)
    window.read(15 * S, 10 * S, 20 * S)
    return list(window.figures(10 * S, 20 * S))


def gauges(found):
    return {name: gauge.max for name, gauge in found.gauges.items()}


def test_a_real_page_of_vllm():
    (found,) = figures("vllm")
    assert (found.servers, found.restarted) == (["vllm"], False)
    # Beside the forty requests of the climb, benchcore asked two before it.
    assert found.counters == {
        "requests": 42,
        "rejected": 0,
        "prompt_tokens": 40 * 64 + 96,
        "generation_tokens": 40 * 16 + 24,
        "cached_tokens": 0,
        "prefix_queries": 40 * 64 + 96,
        "prefix_hits": 0,
        "external_prefix_queries": 0,
        "external_prefix_hits": 0,
        "multimodal_queries": 0,
        "multimodal_hits": 0,
        "preemptions": 0,
    }
    assert set(found.gauges) == {"running", "waiting", "waiting_by_reason", "kv_usage"}
    assert found.by_label["waiting_by_reason"] == {"capacity": 0, "deferred": 0}
    assert set(found.histograms) == {
        *("ttft", "queue", "prefill", "decode", "inference", "itl", "tpot", "e2e")
    }
    assert {one.count for name, one in found.histograms.items() if name != "itl"} == {42}
    assert found.ratios == {"prefix_hit": 0}


def test_sglang():
    (found,) = figures("sglang")
    assert found.servers == ["sglang"]
    assert found.counters == {
        "requests": 20,
        "aborted": 1,
        "prompt_tokens": 650,
        "generation_tokens": 320,
        "cached_tokens": 48,
        "evicted_tokens": 64,
        "preemptions": 2,
        "drafts": 100,
    }
    assert found.by_label == {"cached_tokens": {"device": 40, "host": 8}}
    assert gauges(found) == {
        "running": 16,
        "waiting": 4,
        "kv_usage": 0.28,
        "prefix_hit_rate": 0.07,
        "host_kv_tokens": 512,
        "lora_used_slots": 2,
        "lora_slots": 8,
        "acceptance_length_now": 2.4,
    }
    assert {name: (one.count, one.p50, one.p99) for name, one in found.histograms.items()} == {
        "ttft": (20, (0.1, 0.2), (0.4, None)),
        "queue": (20, (0.0, 0.05), (0.05, None)),
        "itl": (300, (0.0, 0.01), (0.01, 0.02)),
    }


def test_sglang_behind_its_router():
    assert [
        (one.replica, one.servers, one.counters, gauges(one)) for one in figures("sglang-router")
    ] == [
        ("http://10.0.0.1:30000", ["sglang"], {"requests": 20}, {"running": 9}),
        ("http://10.0.0.2:30000", ["sglang"], {"requests": 15}, {"running": 7}),
    ]


def test_tensorrt_llm():
    (found,) = figures("trtllm")
    assert found.counters == {
        "requests": 20,
        "prompt_tokens": 1280,
        "generation_tokens": 320,
        "cached_tokens": 640,
        "reused_blocks": 10,
        "missed_blocks": 30,
        "offloaded_bytes": 4096,
        "draft_tokens": 100,
        "accepted_tokens": 70,
    }
    assert found.by_label == {"requests": {"length": 18, "end_id": 2}}
    assert found.ratios == {"draft_acceptance": 0.7}
    assert gauges(found) == {
        "running": 8,
        "waiting": 3,
        "paused": 1,
        "kv_usage": 0.4,
        "host_kv_usage": 0.1,
        "prefix_hit_rate": 0.25,
    }
    ttft = found.histograms["ttft"]
    assert (ttft.count, ttft.avg, ttft.p50, ttft.p99) == (20, 0.05, (0.04, 0.06), (0.06, None))
    assert found.histograms["prefill"].avg == 0.015


def test_dynamo():
    (found,) = figures("dynamo")
    assert found.servers == ["dynamo"]
    assert found.counters == {"requests": 20, "generation_tokens": 320}
    assert gauges(found) == {"running": 12, "waiting": 2, "kv_usage": 0.5}
    ttft = found.histograms["ttft"]
    assert (ttft.count, ttft.avg, ttft.p50) == (20, 0.05, (0.01, 0.02))
    assert found.histograms["itl"].p99 == (0.0, 0.01)


def test_text_generation_inference():
    (found,) = figures("tgi")
    assert found.counters == {"requests": 20, "prompt_tokens": 1280, "generation_tokens": 320}
    assert gauges(found) == {"running": 6, "waiting": 1}
    queue = found.histograms["queue"]
    assert (queue.count, queue.p50, queue.p99) == (20, (0.0, 0.0001), (0.00015, None))


def test_llama_cpp():
    (found,) = figures("llama.cpp")
    assert found.counters == {
        "prompt_tokens": 640,
        "generation_tokens": 160,
        "prompt_seconds": 1.5,
        "decode_seconds": pytest.approx(4.0),
    }
    assert gauges(found) == {"running": 4, "waiting": 46}


def test_an_exporter_of_gpus_is_no_server_of_models():
    assert figures("dcgm") == []
