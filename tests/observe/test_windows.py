"""What a source says of the window of a level: growth, gauges, and bounds of percentiles."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.observe.families import PageReader
from benchcore.observe.known import KNOWN, MEANINGS
from benchcore.observe.windows import SourceWindow, histogram, remarks

S = 1_000_000_000
BOUNDS = (0.1, 0.5, 1.0, math.inf)


def vllm(requests=0, running=0, buckets=(0, 0, 0, 0), total=0.0, reasons=(), tokens=0):
    lines = [
        "# TYPE vllm:request_success_total counter",
        *(
            f'vllm:request_success_total{{engine="0",finished_reason="{reason}"}} {count}'
            for reason, count in reasons or (("stop", requests),)
        ),
        "# TYPE vllm:generation_tokens_total counter",
        f'vllm:generation_tokens_total{{engine="0"}} {tokens}',
        f'vllm:num_requests_running{{engine="0"}} {running}',
        f'vllm:num_requests_running{{engine="1"}} {running}',
        f'vllm:kv_cache_usage_perc{{engine="0"}} {running / 10}',
        f'vllm:kv_cache_usage_perc{{engine="1"}} {running / 20}',
        "# TYPE vllm:time_to_first_token_seconds histogram",
        *(
            f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="{bound}"}} {count}'
            for bound, count in zip(("0.1", "0.5", "1.0", "+Inf"), buckets, strict=True)
        ),
        f'vllm:time_to_first_token_seconds_count{{engine="0"}} {buckets[-1]}',
        f'vllm:time_to_first_token_seconds_sum{{engine="0"}} {total}',
    ]
    return "\n".join(lines).encode()


def followed(*pages, before=None, opened=10, closed=20, missed=0):
    """Follow pages by their second through a window, and return what came of it."""
    reader = PageReader()
    if before is not None:
        reader.read(before)
    window = SourceWindow("http://a", reader, None if before is None else 0)
    for at, page in pages:
        reader.read(page)
        window.read(at * S, opened * S, closed * S)
    window.missed = missed
    return list(window.figures(opened * S, closed * S))


def test_counters_are_what_they_grew_by_across_the_window():
    (found,) = followed(
        (9, vllm(requests=5, tokens=50, buckets=(1, 1, 1, 5), total=9.0)),
        (12, vllm(requests=8, tokens=90, buckets=(1, 2, 4, 8), total=12.0)),
        (21, vllm(requests=15, tokens=150, buckets=(3, 8, 10, 15), total=19.0)),
        (23, vllm(requests=99, tokens=999, buckets=(99, 99, 99, 99), total=99.0)),
    )
    assert found.source == "http://a"
    assert found.servers == ["vllm"]
    assert (found.from_seconds, found.to_seconds) == (-1.0, 1.0)
    assert found.restarted is False
    assert found.counters == {"requests": 10, "generation_tokens": 100}
    assert found.by_label == {"requests": {"stop": 10}}
    ttft = found.histograms["ttft"]
    assert (ttft.count, ttft.avg) == (10, 1.0)
    # Two up to 0.1, seven up to 0.5, nine up to 1, ten in all.
    assert ttft.p50 == (0.1, 0.5)
    assert ttft.p99 == (1.0, None)
    assert (found.replica, found.missed) == (None, None)


def test_gauges_are_those_inside_summed_over_engines_and_weighed_by_time():
    (found,) = followed(
        (9, vllm(running=50)), (10, vllm(running=2)), (15, vllm(running=4)), (21, vllm(running=70))
    )
    running, usage = found.gauges["running"], found.gauges["kv_usage"]
    assert (running.max, running.avg) == (8, 6.0)
    # Of shares the highest: a sum of them would be none.
    assert (usage.max, usage.avg) == (0.4, pytest.approx(0.3))


def test_what_is_infinite_is_no_measurement():
    pages = [vllm(1, 2, (1, 1, 1, 1), 0.5), vllm("+Inf", 2, (2, 2, 2, 2), "-Inf", tokens="+Inf")]
    pages[1] = pages[1].replace(b'running{engine="1"} 2', b'running{engine="1"} +Inf')
    (figures,) = followed((5, pages[0]), (15, pages[1]), (25, pages[1]))
    assert figures.gauges["running"].whole() == {"max": 2.0, "avg": 2.0}
    assert "requests" not in figures.counters
    assert "generation_tokens" not in figures.counters
    assert figures.histograms["ttft"].count == 1
    assert figures.histograms["ttft"].avg is None
    json.dumps(figures.whole(), allow_nan=False)


def test_a_series_that_came_in_the_window_began_at_zero():
    (found,) = followed(
        (9, vllm(reasons=(("stop", 2),))), (21, vllm(reasons=(("stop", 2), ("length", 3))))
    )
    assert found.counters["requests"] == 3
    assert found.by_label["requests"] == {"length": 3}


def test_after_a_restart_growth_is_unknown_and_it_is_said():
    (found,) = followed((9, vllm(requests=5)), (12, vllm(requests=1)), (21, vllm(requests=9)))
    assert found.restarted is True
    assert found.counters == {}
    assert found.histograms is None
    assert found.ratios is None


def test_a_restart_before_the_window_or_after_it_is_none_of_its():
    (found,) = followed(
        (5, vllm(requests=9)), (9, vllm(requests=1)), (21, vllm(requests=4)), (22, vllm(requests=0))
    )
    assert found.restarted is False
    assert found.counters["requests"] == 3


def test_restarts_and_pages_that_did_not_come_are_told():
    restarted = followed((9, vllm(requests=5)), (12, vllm(requests=1)), missed=3)
    assert list(remarks(restarted)) == [
        (
            "metrics_restarted: http://a was started anew, as its counters show: what they grew by "
            "is unknown"
        ),
        "metrics_missing: http://a gave no page 3 time(s)",
    ]
    assert list(remarks(followed((9, vllm(requests=5)), (21, vllm(requests=6))))) == []


def test_without_a_page_before_the_window_nothing_has_grown_that_is_known():
    (found,) = followed((12, vllm(requests=4)), (21, vllm(requests=9)))
    assert found.counters == {}
    assert found.restarted is None
    assert found.gauges["running"].max == 0


def test_a_page_of_before_the_level_will_do():
    (found,) = followed((12, vllm(requests=4)), before=vllm(requests=1), missed=2)
    assert found.counters["requests"] == 3
    assert (found.from_seconds, found.to_seconds, found.missed) == (-10.0, -8.0, 2)


def test_replicas_behind_a_router_are_told_apart():
    page = (
        b"# TYPE sglang_num_requests_total counter\n"
        b'sglang_num_requests_total{worker_addr="http://w1"} %d\n'
        b'sglang_num_requests_total{worker_addr="http://w2"} %d\n'
    )
    found = followed((9, page % (1, 2)), (21, page % (4, 9)))
    assert [(one.replica, one.servers, one.counters) for one in found] == [
        ("http://w1", ["sglang"], {"requests": 3}),
        ("http://w2", ["sglang"], {"requests": 7}),
    ]


def test_a_source_that_nothing_is_known_of_says_nothing():
    assert followed((9, b"go_goroutines 1\n"), (21, b"go_goroutines 2\n")) == []


@pytest.mark.parametrize("order", [1, -1])
def test_where_a_page_has_two_names_of_one_meaning_the_first_in_the_table_counts(order):
    def page(of_dynamo, of_vllm):
        parts = [
            f"# TYPE {name} counter\n{name} {value}\n"
            for name, value in (
                ("dynamo_frontend_requests_total", of_dynamo),
                ("vllm:request_success_total", of_vllm),
            )
        ]
        return "".join(parts[::order]).encode()

    (found,) = followed((9, page(1, 1)), (21, page(100, 3)))
    assert found.counters == {"requests": 2}


def test_ratios_are_of_what_grew():
    page = (
        b"# TYPE vllm:prefix_cache_queries_total counter\nvllm:prefix_cache_queries_total %d\n"
        b"# TYPE vllm:prefix_cache_hits_total counter\nvllm:prefix_cache_hits_total %d\n"
        b"# TYPE vllm:spec_decode_num_drafts_total counter\nvllm:spec_decode_num_drafts_total %d\n"
        b"# TYPE vllm:spec_decode_num_draft_tokens_total counter\n"
        b"vllm:spec_decode_num_draft_tokens_total %d\n"
        b"# TYPE vllm:spec_decode_num_accepted_tokens_total counter\n"
        b"vllm:spec_decode_num_accepted_tokens_total %d\n"
        b"# TYPE vllm:spec_decode_num_accepted_tokens_per_pos_total counter\n"
        b'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} %d\n'
        b'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="1"} %d\n'
    )
    (found,) = followed(
        (9, page % (100, 90, 10, 20, 9, 6, 3)), (21, page % (300, 140, 30, 60, 39, 22, 17))
    )
    assert found.ratios == {
        "prefix_hit": 0.25,
        "draft_acceptance": 0.75,
        "acceptance_length": 2.5,
    }
    assert found.by_label == {"accepted_by_position": {"0": 16, "1": 14}}


def test_adapters_are_those_of_the_newest_series():
    page = (
        b'vllm:lora_requests_info{max_lora="4",running_lora_adapters="a",waiting_lora_adapters=""}'
        b" 100\n"
        b'vllm:lora_requests_info{max_lora="4",running_lora_adapters="a,b",'
        b'waiting_lora_adapters="c"} 200\nvllm:num_requests_running 2\n'
    )
    (found,) = followed((9, page), (12, page))
    assert found.lora == {
        "running_lora_adapters": "a,b",
        "waiting_lora_adapters": "c",
        "max_lora": "4",
    }


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=200),
    st.lists(st.floats(0.001, 50), min_size=1, max_size=8, unique=True),
)
def test_the_bounds_enclose_the_percentile_that_they_are_of(values, bounds):
    edges = [*sorted(bounds), math.inf]
    found = histogram(
        {edge: sum(value <= edge for value in values) for edge in edges}, sum(values), len(values)
    )
    for quantile, (lower, upper) in ((0.5, found.p50), (0.99, found.p99)):
        true = np.sort(values)[math.ceil(quantile * len(values)) - 1]
        assert lower <= true <= (math.inf if upper is None else upper)


def test_a_histogram_that_nothing_was_added_to_has_no_percentiles():
    assert histogram({}, 1.0, 1.0) is None
    found = histogram({1.0: 0, math.inf: 0}, 0.0, 0)
    assert (found.count, found.avg, found.p50) == (0, None, None)


def test_every_name_has_one_meaning():
    assert len(KNOWN) == sum(
        (2 if server == "sglang" else 3 if server == "dynamo" else 1) * len(names)
        for meaning in MEANINGS
        for server, names in meaning.names.items()
    )
