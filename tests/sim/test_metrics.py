from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from benchcore.sim.metrics import Tally


async def scrape(server) -> dict[str, float]:
    answer = await server.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + sample.labels.get("finished_reason", ""): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if "le" not in sample.labels
    }


async def test_metrics_have_the_names_that_vllm_gives_them(server):
    await server.stream()
    names = set(await scrape(server))
    assert names >= {
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:request_success_totallength",
        "vllm:cache_config_info",
        "vllm:iteration_tokens_total_sum",
        "vllm:time_to_first_token_seconds_sum",
        "vllm:inter_token_latency_seconds_sum",
        "vllm:request_time_per_output_token_seconds_sum",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:request_queue_time_seconds_sum",
        "vllm:request_inference_time_seconds_sum",
        "vllm:request_prefill_time_seconds_sum",
        "vllm:request_decode_time_seconds_sum",
        "vllm:request_prompt_tokens_sum",
        "vllm:request_generation_tokens_sum",
    }


async def test_metrics_count_what_was_served(server):
    for _ in range(2):
        await server.chat(messages=[{"role": "user", "content": "word " * 40}], max_tokens=5)
    await server.chat(max_tokens=5, min_tokens=5, model="nobody")
    found = await scrape(server)
    assert found["vllm:generation_tokens_total"] == 10
    assert found["vllm:request_generation_tokens_sum"] == 10
    assert found["vllm:request_success_totallength"] == 2
    assert found["vllm:prefix_cache_queries_total"] == found["vllm:request_prompt_tokens_sum"]
    assert found["vllm:prefix_cache_hits_total"] == 32
    assert found["vllm:prompt_tokens_total"] == found["vllm:request_prompt_tokens_sum"] - 32
    assert found["vllm:inter_token_latency_seconds_count"] == 8
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["vllm:kv_cache_usage_perc"] == 0


async def test_times_of_a_request_add_up(server):
    await server.stream(max_tokens=20)
    found = await scrape(server)
    parts = ("queue", "prefill", "decode")
    whole = sum(found[f"vllm:request_{part}_time_seconds_sum"] for part in parts)
    assert abs(found["vllm:e2e_request_latency_seconds_sum"] - whole) < 1e-9
    assert found["vllm:request_decode_time_seconds_sum"] > 0.015


async def test_preemptions_are_counted(make_server):
    figures = {"blocks": 8, "max_model_len": 100, "prefix_cache": False}
    server = await make_server(figures)
    await server.stream(n=2, max_tokens=90)
    assert (await scrape(server))["vllm:num_preemptions_total"] == 1
    assert server.accounts()[0]["preemptions"] == 1


def test_a_tally_counts_each_value_in_the_bucket_that_it_does_not_exceed():
    tally = Tally((0.125, 0.25))
    for value in (0.0625, 0.125, 0.1875, 0.5):
        tally.add(value)
    family = tally.family("name", "words", ("model", "0"))
    assert {sample.labels.get("le"): sample.value for sample in family.samples} == {
        "0.125": 2,
        "0.25": 3,
        "+Inf": 4,
        None: 0.875,
    }
