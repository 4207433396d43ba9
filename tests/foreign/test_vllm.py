"""Results of `vllm bench serve`, and ours under its keys."""

import json

import pytest

from benchcore.base.errors import ConfigError
from benchcore.foreign.detect import read_foreign
from benchcore.foreign.vllm import vllm_result
from benchcore.runs.run import Level, Run

SUMMARY = {
    "date": "20261121-015600",
    "endpoint_type": "openai-chat",
    "backend": "openai-chat",
    "label": None,
    "model_id": "tiny-llama",
    "tokenizer_id": "tiny-llama",
    "num_prompts": 100,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 4,
    "duration": 60.0,
    "completed": 98,
    "failed": 2,
    "total_input_tokens": 3000,
    "total_output_tokens": 6000,
    "request_throughput": 1.5,
    "request_goodput": None,
    "output_throughput": 100.0,
    "total_token_throughput": 150.0,
    "max_output_tokens_per_s": 140.0,
    "max_concurrent_requests": 4,
    "mean_ttft_ms": 20.0,
    "median_ttft_ms": 16.0,
    "std_ttft_ms": 4.0,
    "p50_ttft_ms": 16.0,
    "p90_ttft_ms": 24.0,
    "p99_ttft_ms": 32.0,
    "p99.9_ttft_ms": 40.0,
    "mean_itl_ms": 2.0,
    "median_itl_ms": 1.0,
    "std_itl_ms": 0.5,
    "p99_itl_ms": 8.0,
    "mean_tpot_ms": 2.5,
    "median_tpot_ms": 2.0,
    "std_tpot_ms": 0.0,
    "p99_tpot_ms": 4.0,
    "mean_e2el_ms": 100.0,
    "median_e2el_ms": 90.0,
    "std_e2el_ms": 10.0,
    "p95_e2el_ms": 150.0,
}
DETAILED = SUMMARY | {
    "num_prompts": 4,
    "completed": 3,
    "failed": 1,
    "input_lens": [8, 8, 8, 8],
    "output_lens": [3, 2, 0, 1],
    "ttfts": [0.25, 0.5, 0.125, 0.75],
    "itls": [[0.125, 0.375], [0.25], [0.5], []],
    "generated_texts": ["a", "b", "", "c"],
    "errors": ["", "", "Traceback", ""],
}


@pytest.fixture
def level_of(tmp_path):
    """Reads one result and returns its level."""

    def read(**fields):
        path = tmp_path / "result.json"
        path.write_text(json.dumps(SUMMARY | fields))
        (level,) = read_foreign(path).to_json()["levels"]
        return level

    return read


def test_a_summary_keeps_each_figure_in_seconds_and_nothing_else(level_of):
    level = level_of()
    unknown = dict.fromkeys(("min", "max", "p75", "p95"))
    assert level["metrics"]["ttft"] == {
        "count": 98,
        "avg": 0.02,
        "std": 0.004,
        "p50": 0.016,
        "p90": 0.024,
        "p99": 0.032,
        "p999": 0.04,
        "low_confidence": ["p99", "p999"],
        **unknown,
    }
    assert level["metrics"]["icl"]["p99"] == 0.008
    assert level["metrics"]["icl"]["count"] is None
    assert level["metrics"]["tpot"]["std"] == 0.0
    assert level["metrics"]["e2e"]["p95"] == 0.15
    assert level["metrics"]["e2e"]["p99"] is None
    assert sorted(level["metrics"]) == ["e2e", "icl", "tpot", "ttft"]


def test_a_level_has_our_keys(level_of):
    level = level_of()
    expected = {
        "level": "c4",
        "workload": None,
        "mode": "closed",
        "concurrency": 4,
        "rate": None,
        "arrival": None,
        "max_inflight": None,
        "repeat": 1,
        "window_seconds": 60.0,
        "scheduled": 100,
        "ok": 98,
        "failed": 2,
        "cancelled": None,
        "dropped": None,
        "failure_rate": 0.02,
        "request_throughput": 1.5,
        "output_token_throughput": 100.0,
        "input_token_throughput": 50.0,
        "total_token_throughput": 150.0,
        "goodput": None,
        "itl": None,
        "validity": None,
        "reasons": [],
    }
    assert {key: level[key] for key in expected} == expected
    assert (level["tokens"]["input"], level["tokens"]["output"]) == (3000, 6000)


def test_each_figure_that_is_given_is_defined_and_no_other(level_of):
    definitions = level_of()["definitions"]
    assert sorted(definitions) == [
        "e2e",
        "failure_rate",
        "icl",
        "input_token_throughput",
        "output_token_throughput",
        "request_throughput",
        "total_token_throughput",
        "tpot",
        "ttft",
    ]
    assert definitions["icl"].startswith("vLLM's itl: gaps between chunks")
    assert "waiting for a connection and connecting are in it" in definitions["ttft"]
    assert definitions["ttft"].endswith("percentiles are interpolated between ranks")
    assert "goodput" in level_of(request_goodput=1.0)["definitions"]


@pytest.mark.parametrize(
    ("fields", "level", "mode", "arrival", "cap"),
    [
        ({}, "c4", "closed", None, None),
        ({"request_rate": 2.5, "max_concurrency": None}, "r2.5", "open", "poisson", None),
        ({"request_rate": 2.0, "burstiness": 0.5}, "r2", "open", "gamma:0.5", 4),
        ({"request_rate": 2.0, "burstiness": float("inf")}, "r2", "open", "constant", 4),
        ({"max_concurrency": None}, "burst", None, None, None),
        (
            {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1, "ramp_up_end_rps": 9},
            "r1-9",
            None,
            None,
            None,
        ),
    ],
)
def test_the_load_names_the_level(level_of, fields, level, mode, arrival, cap):
    found = level_of(**fields)
    assert (found["level"], found["mode"]) == (level, mode)
    assert (found["arrival"], found["max_inflight"]) == (arrival, cap)


def test_saved_requests_are_summarized_by_nearest_rank_without_the_failed(level_of):
    level = level_of(**DETAILED)
    assert level["metrics"]["ttft"] == {
        "count": 3,
        "avg": 0.5,
        "min": 0.25,
        "max": 0.75,
        "std": pytest.approx(0.2041241452),
        "p50": 0.5,
        **dict.fromkeys(("p75", "p90", "p95", "p99", "p999"), 0.75),
        "low_confidence": ["p50", "p75", "p90", "p95", "p99", "p999"],
    }
    assert [level["metrics"]["icl"][key] for key in ("count", "p50", "max")] == [3, 0.25, 0.375]
    assert [level["metrics"]["tpot"][key] for key in ("count", "min", "max")] == [2, 0.25, 0.25]
    assert [level["metrics"]["e2e"][key] for key in ("count", "p50", "max")] == [3, 0.75, 0.75]
    assert "nearest rank, computed here" in level["definitions"]["ttft"]


def test_saved_latencies_are_taken_before_the_sum_of_the_gaps(level_of):
    level = level_of(**DETAILED, latencies=[1.25, 1.0, 0.0, 0.75])
    assert level["metrics"]["e2e"]["max"] == 1.25
    assert level["metrics"]["tpot"]["max"] == 0.5


@pytest.mark.parametrize(
    "fields",
    [
        {"completed": 2},
        {"itls": [[0.1], [], []]},
        {"itls": [[None, 0.1], [0.1], [], []]},
        {"ttfts": None},
    ],
)
def test_saved_requests_that_do_not_add_up_are_not_used(level_of, fields):
    assert level_of(**DETAILED | fields)["metrics"]["ttft"]["avg"] == 0.02


def test_zeros_of_what_was_not_measured_are_absent(level_of):
    zeros = {key: 0.0 for key in SUMMARY if key.endswith("_ms") and "e2el" not in key}
    assert list(level_of(**zeros)["metrics"]) == ["e2e"]
    failed = level_of(completed=0, failed=100, **zeros)
    assert (failed["metrics"], failed["failure_rate"]) == ({}, 1.0)


def test_without_failed_the_prompts_tell(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({key: SUMMARY[key] for key in SUMMARY if key != "failed"}))
    (level,) = read_foreign(path).to_json()["levels"]
    assert (level["failed"], level["scheduled"]) == (2, 100)
    assert "failed is not in the file: num_prompts − completed" in level["notes"]


def test_the_run_says_when_of_what_and_from_where(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(SUMMARY))
    run = read_foreign(path, "vllm").to_json()
    assert run["started_at"] == "2026-11-21T01:55:00Z"
    assert run["target"] == {
        "kind": "import",
        "base_url": None,
        "model": "tiny-llama",
        "endpoint": "chat",
    }
    assert run["origin"]["tool"] == "vllm bench serve"
    assert run["origin"]["file"] == "result.json"
    assert len(run["origin"]["sha256"]) == 64
    assert (run["schema_version"], run["status"], run["command"]) == (1, "complete", None)
    assert run["load"]["concurrency"] == [4]


def test_appended_results_are_levels_and_repeats(tmp_path):
    path = tmp_path / "appended.json"
    entries = [SUMMARY, SUMMARY | {"max_concurrency": 8}, SUMMARY]
    path.write_text("\n".join(map(json.dumps, entries)))
    run = read_foreign(path).to_json()
    assert [(one["level"], one["repeat"]) for one in run["levels"]] == [
        ("c4", 1),
        ("c8", 1),
        ("c4", 2),
    ]
    assert run["load"]["concurrency"] == [4, 8]
    assert run["load"]["repeats"] == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"duration": "long"}, "has no completed and duration"),
        ({"duration": 0.0}, "has no completed and duration"),
        ({"completed": -1}, "has no completed and duration"),
        ({"total_input_sequences": 5}, "is of an embedding benchmark"),
    ],
)
def test_what_is_no_result_is_refused(level_of, fields, says):
    with pytest.raises(ConfigError, match=says):
        level_of(**fields)


def test_several_models_are_refused(tmp_path):
    path = tmp_path / "mixed.json"
    path.write_text("\n".join(map(json.dumps, [SUMMARY, SUMMARY | {"model_id": "other"}])))
    with pytest.raises(ConfigError, match="several models: other, tiny-llama; split it by model"):
        read_foreign(path)


LEVEL = {"level": "c8", "repeat": 1, "validity": None, "failure_rate": None}
OURS = {
    **LEVEL,
    "mode": "closed",
    "concurrency": 8,
    "rate": None,
    "arrival": None,
    "window_seconds": 30.0,
    "scheduled": 12,
    "ok": 9,
    "failed": 1,
    "dropped": 2,
    "request_throughput": 0.25,
    "output_token_throughput": 64.0,
    "total_token_throughput": None,
    "tokens": {"input": 90, "output": None},
    "metrics": {
        "ttft": {"count": 9, "avg": 0.5, "std": 0.25, "p50": 0.5, "p99": 1.0, "p999": 2.0},
        "icl": {"p50": 0.125},
        "itl": {"p50": 0.0625},
    },
}


def run_of(said):
    return Run.model_validate({"schema_version": 1, "status": "complete", **said})


def test_ours_under_the_keys_of_vllm():
    run = {
        "started_at": "2026-11-21T01:55:07Z",
        "name": "mine",
        "target": {"model": "tiny-llama", "endpoint": "chat"},
    }
    found = vllm_result(run_of(run), Level.model_validate(OURS))
    definitions = found.pop("benchcore_definitions")
    assert found == {
        "date": "20261121-015537",  # vLLM's date is of the end
        "backend": "openai-chat",
        "label": "mine",
        "model_id": "tiny-llama",
        "num_prompts": 12,
        "request_rate": "inf",
        "max_concurrency": 8,
        "duration": 30.0,
        "completed": 9,
        "failed": 3,
        "total_input_tokens": 90,
        "request_throughput": 0.25,
        "output_throughput": 64.0,
        "mean_ttft_ms": 500.0,
        "median_ttft_ms": 500.0,
        "std_ttft_ms": 250.0,
        "p50_ttft_ms": 500.0,
        "p99_ttft_ms": 1000.0,
        "p99.9_ttft_ms": 2000.0,
        "median_itl_ms": 125.0,
        "p50_itl_ms": 125.0,
    }
    assert "benchcore's ICL" in definitions["itl"]


def test_what_we_write_for_vllm_is_read_again(tmp_path):
    run = {
        "started_at": "2026-11-21T01:55:07Z",
        "name": "mine",
        "target": {"model": "tiny-llama", "endpoint": "chat"},
    }
    path = tmp_path / "levels.json"
    levels = [OURS, {**OURS, "level": "c16", "concurrency": 16}]
    path.write_text(
        json.dumps([vllm_result(run_of(run), Level.model_validate(one)) for one in levels])
    )
    found = read_foreign(path).to_json()
    assert [level["level"] for level in found["levels"]] == ["c8", "c16"]
    assert found["started_at"] == run["started_at"]
    for level in found["levels"]:
        assert level["request_throughput"] == OURS["request_throughput"]
        assert level["metrics"]["ttft"]["p99"] == OURS["metrics"]["ttft"]["p99"]


def test_what_failed_is_told_in_the_tools_own_words(tmp_path):
    path = tmp_path / "result.json"
    trace = "Traceback (most recent call last):\n  File x\nConnectionError: \x1b[2Jrefused"
    path.write_text(json.dumps({**SUMMARY, "errors": ["", trace, trace, "Bad Request"]}))
    notes = read_foreign(path).to_json()["levels"][0]["notes"]
    assert notes[1:3] == ["2 × ConnectionError: �[2Jrefused", "1 × Bad Request"]


@pytest.mark.parametrize(
    ("arrival", "shape"), [("poisson", 1.0), ("constant", "inf"), ("gamma:0.5", 0.5)]
)
def test_an_open_loop_has_a_rate_and_a_shape(arrival, shape):
    level = {**LEVEL, "mode": "open", "rate": 2.0, "arrival": arrival, "metrics": {}}
    found = vllm_result(run_of({}), Level.model_validate(level))
    del found["benchcore_definitions"]
    assert found == {"request_rate": 2.0, "burstiness": shape}


def test_there_and_back_again(tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(SUMMARY))
    run = read_foreign(path)
    found = vllm_result(run, run.levels[0])
    assert found.pop("benchcore_definitions")["itl"].startswith("vLLM's itl")
    kept = {key: SUMMARY[key] for key in found if key in SUMMARY and key != "date"}
    assert {key: found[key] for key in kept} == pytest.approx(kept)
    # Percentiles that vLLM was not told to write, but knows as the median.
    assert set(found) - set(SUMMARY) == {f"p50_{name}_ms" for name in ("itl", "tpot", "e2el")}
