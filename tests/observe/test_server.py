import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.observe.server import COLUMNS, UNKNOWN, busy, columns, parse

NAMES_OF_VLLM = Path(__file__).parents[1] / "real/captures/vllm-metrics.txt"


def vllm(
    running=3, waiting=2, kv=0.4, preemptions=1, hits=50, queries=100, queue=(2.0, 4), engine="0"
):
    labels = f'{{engine="{engine}",model_name="m"}}'
    total, count = queue
    return f"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{labels} {running}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{labels} {waiting}
vllm:num_requests_waiting_by_reason{{engine="{engine}",reason="capacity"}} 77.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{labels} {kv}
# TYPE vllm:num_preemptions_total counter
vllm:num_preemptions_total{labels} {preemptions}
vllm:num_preemptions_created{labels} 1.78e+09
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{labels} {queries}
vllm:prefix_cache_hits_total{labels} {hits}
vllm:prefix_cache_hits_created{labels} 1.78e+09
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{{engine="{engine}",le="0.3",model_name="m"}} 2.0
vllm:request_queue_time_seconds_bucket{{engine="{engine}",le="+Inf",model_name="m"}} {count}
vllm:request_queue_time_seconds_count{labels} {count}
vllm:request_queue_time_seconds_sum{labels} {total}
vllm:request_prefill_time_seconds_sum{labels} {total * 3}
vllm:request_prefill_time_seconds_count{labels} {count}
vllm:request_decode_time_seconds_sum{labels} {total * 5}
vllm:request_decode_time_seconds_count{labels} {count}
""".encode()


def test_every_name_that_is_asked_for_is_one_that_vllm_has():
    names = set(NAMES_OF_VLLM.read_text().split())
    page = "".join(f'{name}{{engine="0"}} 7\n' for name in sorted(names)).encode()
    sample = parse(page)
    assert set(sample) <= names
    found = columns([sample, {name: [14.0] for name in sample}])
    # It speculates only where it is told to, and knows nothing of GPUs.
    assert {name for name, value in found.items() if value == UNKNOWN} == {
        "server_spec_decode_acceptance_ratio",
        "gpu_memory_bytes_max",
        "gpu_utilization_avg",
    }


def test_the_columns_of_a_level_on_vllm():
    samples = [
        parse(vllm(running=3, waiting=0, kv=0.2, preemptions=1, hits=50, queries=100)),
        parse(vllm(running=9, waiting=5, kv=0.9, preemptions=2, hits=80, queries=180)),
        parse(
            vllm(running=4, waiting=1, kv=0.5, preemptions=4, hits=110, queries=200, queue=(5, 10))
        ),
    ]
    assert columns(samples) == {
        "server_kv_cache_usage_max": 0.9,
        "server_prefix_cache_hit_ratio": 0.6,
        "server_running_max": 9.0,
        "server_waiting_max": 5.0,
        "server_preemptions": 3.0,
        "server_queue_seconds_avg": 0.5,
        "server_prefill_seconds_avg": 1.5,
        "server_decode_seconds_avg": 2.5,
        "server_spec_decode_acceptance_ratio": UNKNOWN,
        "gpu_memory_bytes_max": UNKNOWN,
        "gpu_utilization_avg": UNKNOWN,
    }


def test_several_engines_add_up_and_the_fullest_cache_counts():
    page = vllm(running=3, kv=0.4) + vllm(running=5, kv=0.7, engine="1")
    sample = parse(page)
    found = columns([sample, sample])
    assert (found["server_running_max"], found["server_kv_cache_usage_max"]) == (8.0, 0.7)
    assert busy(sample) == 3 + 5 + 2 + 2


def test_speculation_is_accepted_over_drafted():
    page = "vllm:spec_decode_num_{}_tokens_total {}\n"
    samples = [
        parse((page.format("accepted", a) + page.format("draft", d)).encode())
        for a, d in ((10, 20), (40, 80))
    ]
    assert columns(samples)["server_spec_decode_acceptance_ratio"] == 0.5


@pytest.mark.parametrize(
    ("page", "expected_busy", "expected"),
    [
        (
            b"sglang:num_running_reqs 4\nsglang:num_queue_reqs 3\nsglang:token_usage 0.25\n",
            7,
            {
                "server_running_max": 4,
                "server_waiting_max": 3,
                "server_kv_cache_usage_max": 0.25,
            },
        ),
        (
            (
                b"llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n"
                b"llamacpp:kv_cache_usage_ratio 0.5\n"
            ),
            3,
            {
                "server_running_max": 2,
                "server_waiting_max": 1,
                "server_kv_cache_usage_max": 0.5,
            },
        ),
        (
            b"vllm:gpu_cache_usage_perc 0.125\nvllm:num_requests_running 1\n",
            1,
            {"server_kv_cache_usage_max": 0.125, "server_running_max": 1},
        ),
    ],
)
def test_other_servers_have_other_names(page, expected_busy, expected):
    sample = parse(page)
    assert busy(sample) == expected_busy
    assert columns([sample, sample]) == dict.fromkeys(COLUMNS, UNKNOWN) | expected


def test_a_server_that_says_nothing_is_unknown():
    assert columns([]) == columns([{}, {}]) == dict.fromkeys(COLUMNS, UNKNOWN)
    assert busy({}) is None
    assert parse(b"go_goroutines 12\nprocess_cpu_seconds_total 3\n") == {}


@pytest.mark.parametrize("totals", [(100, 20), (100, 5, 150), (100, 0, 0)])
def test_a_counter_that_fell_was_reset_and_tells_nothing(totals):
    samples = [parse(vllm(preemptions=n, queries=n, hits=n)) for n in totals]
    found = columns(samples)
    assert found["server_preemptions"] == UNKNOWN
    assert found["server_prefix_cache_hit_ratio"] == UNKNOWN
    assert found["server_running_max"] == 3


def test_a_counter_that_was_not_there_at_first_tells_nothing():
    samples = [{"vllm:num_requests_running": [1.0]}, parse(vllm()), parse(vllm(preemptions=9))]
    assert columns(samples)["server_preemptions"] == UNKNOWN


def test_a_counter_that_stood_still():
    samples = [parse(vllm()), parse(vllm())]
    found = columns(samples)
    assert found["server_preemptions"] == 0.0
    assert found["server_prefix_cache_hit_ratio"] == UNKNOWN
    assert found["server_queue_seconds_avg"] == UNKNOWN


def test_what_is_no_finite_number_is_left_out():
    sample = parse(vllm(kv="NaN", running="+Inf"))
    assert columns([sample])["server_kv_cache_usage_max"] == UNKNOWN
    assert "vllm:num_requests_running" not in sample


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>not found</html>",
        b"vllm:num_requests_running many\n",
        b'vllm:num_requests_running{engine="0 1\n',
        b"vllm:num_requests_running {\n",
        b"vllm:num_requests_running \xff\n",
        b'vllm:num_requests_running{model="m", ="b"} 3.0\n',
    ],
)
def test_a_page_that_is_none_tells_nothing(page):
    assert parse(page) == {}


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_page_is_too_strange(before, after):
    for values in parse(before + b"vllm:num_requests_running" + after).values():
        assert all(math.isfinite(value) for value in values)


def test_lines_are_picked_by_their_whole_name():
    name = b"vllm:num_requests_running"
    assert parse(b"%b_more 5\nx%b 6\n# %b 7\n" % (name, name, name)) == {}
