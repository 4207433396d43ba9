"""Results of SGLang, GuideLLM and AIPerf."""

import json
import os

import pytest

from benchcore.base.errors import ConfigError
from benchcore.foreign.detect import read_foreign, results_in

SGLANG = {
    "backend": "sglang-oai-chat",
    "dataset_name": "random",
    "request_rate": 4.0,
    "max_concurrency": None,
    "random_input_len": 1024,
    "random_output_len": 128,
    "random_range_ratio": 0.5,
    "duration": 50.0,
    "completed": 200,
    "total_input_tokens": 1000,
    "total_output_tokens": 4000,
    "total_output_tokens_retokenized": 3990,
    "request_throughput": 4.0,
    "input_throughput": 20.0,
    "output_throughput": 80.0,
    "mean_e2e_latency_ms": 500.0,
    "median_e2e_latency_ms": 400.0,
    "std_e2e_latency_ms": 100.0,
    "p99_e2e_latency_ms": 1000.0,
    "mean_ttft_ms": 50.0,
    "median_ttft_ms": 40.0,
    "std_ttft_ms": 10.0,
    "p99_ttft_ms": 100.0,
    "mean_tpot_ms": 0.0,
    "median_tpot_ms": 0.0,
    "std_tpot_ms": 0.0,
    "p99_tpot_ms": 0.0,
    "mean_itl_ms": 5.0,
    "median_itl_ms": 4.0,
    "std_itl_ms": 1.0,
    "p95_itl_ms": 8.0,
    "p99_itl_ms": 10.0,
    "concurrency": 2.0,
    "accept_length": None,
}


def statistics(mean, count=10, **fields):
    percentiles = dict.fromkeys(("p001", "p01", "p05", "p10", "p25", "p50", "p75", "p90"), mean)
    return {
        "mean": mean,
        "median": mean,
        "mode": mean,
        "variance": 4.0,
        "std_dev": 2.0,
        "min": mean,
        "max": mean * 4,
        "count": count,
        "total_sum": mean * count,
        "percentiles": percentiles | {"p95": mean * 2, "p99": mean * 3, "p999": mean * 4},
    } | fields


ZERO = statistics(0.0, 0, std_dev=0.0)


def by_status(mean):
    return {"successful": statistics(mean), "errored": ZERO, "incomplete": ZERO}


BENCHMARK = {
    "type_": "generative_benchmark",
    "config": {
        "strategy": {"type_": "concurrent", "streams": 8, "max_concurrency": 8},
        "backend": {"target": "http://me:secret@host:8000/v1", "model": "tiny-llama"},
    },
    "start_time": 1795226107.5,
    "end_time": 1795226137.5,
    "duration": 30.0,
    "scheduler_metrics": {},
    "metrics": {
        "request_totals": {"successful": 10, "errored": 2, "incomplete": 4, "total": 16},
        "requests_per_second": by_status(0.5),
        "output_tokens_per_second": by_status(64.0),
        "prompt_tokens_per_second": by_status(32.0),
        "tokens_per_second": by_status(96.0),
        "prompt_token_count": by_status(16.0),
        "output_token_count": by_status(32.0),
        "request_latency": by_status(2.0),
        "time_to_first_token_ms": by_status(250.0),
        "time_per_output_token_ms": by_status(60.0),
        "inter_token_latency_ms": by_status(50.0),
    },
}
GUIDELLM = {
    "metadata": {"version": 1, "guidellm_version": "0.6.0"},
    "args": {},
    "benchmarks": [BENCHMARK],
}

AIPERF = {
    "schema_version": "1.1",
    "aiperf_version": "0.8.0",
    "request_throughput": {"unit": "requests/sec", "avg": 2.0},
    "request_latency": {
        "unit": "ms",
        "avg": 500.0,
        "p1": 250.0,
        "p50": 500.0,
        "p75": 600.0,
        "p90": 700.0,
        "p95": 800.0,
        "p99": 1000.0,
        "min": 250.0,
        "max": 1000,
        "std": 125.0,
        "count": 18,
        "sum": 9000.0,
    },
    "request_count": {"unit": "requests", "avg": 18.0},
    "error_request_count": {"unit": "requests", "avg": 2.0},
    "time_to_first_token": {"unit": "us", "avg": 250000.0, "p99": 500000.0},
    "inter_token_latency": {"unit": "ms", "avg": 5.0, "count": 18},
    "inter_chunk_latency": {"unit": "ms", "avg": 6.0, "count": 500},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 100.0},
    "output_token_throughput_per_user": {"unit": "tokens/sec/user", "avg": 200.0, "p50": 190.0},
    "total_isl": {"unit": "tokens", "avg": 900.0},
    "total_osl": {"unit": "tokens", "avg": 1000.0},
    "benchmark_duration": {"unit": "sec", "avg": 10.0},
    "input_config": {
        "endpoint": {"model_names": ["tiny-llama"], "type": "chat", "url": "http://host:8000"},
        "loadgen": {"concurrency": 8, "request_rate_mode": "concurrency_burst"},
    },
    "was_cancelled": False,
    "start_time": "2026-11-21T02:55:07.5+01:00",
    "end_time": "2026-11-21T02:55:17.5+01:00",
}


@pytest.fixture
def read(tmp_path):
    """Reads an object, or several as lines."""

    def read(*entries):
        path = tmp_path / "result.json"
        path.write_text("\n".join(map(json.dumps, entries)))
        return read_foreign(path).to_json()

    return read


def chosen(level, keys):
    return {key: level[key] for key in keys}


# SGLang


def test_sglang_in_seconds(read):
    run = read(SGLANG)
    (level,) = run["levels"]
    metrics = level["metrics"]
    assert sorted(metrics) == ["e2e", "icl", "ttft"]
    assert chosen(metrics["e2e"], ("count", "avg", "std", "p50", "p99", "p95", "min")) == {
        "count": 200,
        "avg": 0.5,
        "std": 0.1,
        "p50": 0.4,
        "p99": 1.0,
        "p95": None,
        "min": None,
    }
    assert chosen(metrics["icl"], ("count", "p95", "p99")) == {
        "count": None,
        "p95": 0.008,
        "p99": 0.01,
    }
    expected = {
        "level": "r4",
        "mode": "open",
        "rate": 4.0,
        "arrival": "poisson",
        "workload": "random",
        "ok": 200,
        "failed": None,
        "scheduled": None,
        "failure_rate": None,
        "request_throughput": 4.0,
        "input_token_throughput": 20.0,
        "output_token_throughput": 80.0,
        "total_token_throughput": 100.0,
        "window_seconds": 50.0,
        "validity": None,
    }
    assert chosen(level, expected) == expected
    assert run["origin"]["tool"] == "sglang.bench_serving"
    assert "failure_rate" not in level["definitions"]
    assert level["definitions"]["icl"].startswith("SGLang's itl")


def test_sglang_lines_are_levels_and_its_infinity_is_read(read):
    closed = SGLANG | {"request_rate": float("inf"), "max_concurrency": 16}
    burst = SGLANG | {"request_rate": float("inf")}
    run = read(SGLANG, closed, closed, burst)
    assert [(one["level"], one["repeat"]) for one in run["levels"]] == [
        ("r4", 1),
        ("c16", 1),
        ("c16", 2),
        ("burst", 1),
    ]
    assert run["load"] == {
        "concurrency": [16],
        "rate": [4.0],
        "arrival": "poisson",
        "max_inflight": None,
        "repeats": 2,
    }


def test_sglang_details_tell_the_failures(read):
    (level,) = read(SGLANG | {"errors": [""] * 200 + ["refused"] * 50})["levels"]
    assert chosen(level, ("scheduled", "failed", "failure_rate")) == {
        "scheduled": 250,
        "failed": 50,
        "failure_rate": 0.2,
    }


def test_sglang_start_is_its_duration_before_the_time_of_the_file(tmp_path):
    path = tmp_path / "result.jsonl"
    path.write_text(json.dumps(SGLANG))
    written = 1795226107 + SGLANG["duration"]
    os.utime(path, (written, written))
    assert read_foreign(path).to_json()["started_at"] == "2026-11-21T01:55:07Z"


def test_sglang_line_with_no_duration_is_named(read):
    with pytest.raises(ConfigError, match=r"result\.json:2: has no completed and duration"):
        read(SGLANG, SGLANG | {"duration": None})


# GuideLLM


def test_guidellm_in_seconds(read):
    run = read(GUIDELLM)
    (level,) = run["levels"]
    metrics = level["metrics"]
    assert sorted(metrics) == ["e2e", "tpot", "ttft"]
    assert metrics["e2e"] == {
        "count": 10,
        "avg": 2.0,
        "min": 2.0,
        "max": 8.0,
        "std": 2.0,
        "p50": 2.0,
        "p75": 2.0,
        "p90": 2.0,
        "p95": 4.0,
        "p99": 6.0,
        "p999": 8.0,
        "low_confidence": ["p75", "p90", "p95", "p99", "p999"],
    }
    assert (metrics["ttft"]["avg"], metrics["tpot"]["p99"]) == (0.25, 0.15)
    expected = {
        "level": "c8",
        "mode": "closed",
        "concurrency": 8,
        "scheduled": 16,
        "ok": 10,
        "failed": 2,
        "cancelled": 4,
        "failure_rate": 2 / 12,
        "window_seconds": 30.0,
        "request_throughput": 0.5,
        "output_token_throughput": 64.0,
        "input_token_throughput": 32.0,
        "total_token_throughput": 96.0,
        "validity": None,
    }
    assert chosen(level, expected) == expected
    assert (level["tokens"]["input"], level["tokens"]["output"]) == (160, 320)
    assert level["definitions"]["tpot"].startswith("GuideLLM's inter_token_latency")
    assert run["started_at"] == "2026-11-21T01:55:07Z"
    assert run["target"]["model"] == "tiny-llama"
    assert run["target"]["base_url"] == "http://host:8000/v1"
    assert run["origin"]["version"] == "0.6.0"


@pytest.mark.parametrize(
    ("strategy", "level", "mode", "arrival"),
    [
        ({"type_": "synchronous"}, "c1", "closed", None),
        ({"kind": "concurrent", "streams": 4}, "c4", "closed", None),
        ({"type_": "constant", "rate": 2.5}, "r2.5", "open", "constant"),
        ({"kind": "poisson", "rate": 3.0}, "r3", "open", "poisson"),
        ({"type_": "throughput", "max_concurrency": 512}, "throughput", None, None),
        ({"type_": "incremental"}, "incremental", None, None),
        ({}, "unknown", None, None),
    ],
)
def test_guidellm_strategy_names_the_level(read, strategy, level, mode, arrival):
    run = read(GUIDELLM | {"benchmarks": [BENCHMARK | {"config": {"strategy": strategy}}]})
    (found,) = run["levels"]
    assert chosen(found, ("level", "mode", "arrival")) == {
        "level": level,
        "mode": mode,
        "arrival": arrival,
    }


def test_guidellm_of_the_older_shape(read):
    old = {
        "args": {"strategy": {"type_": "constant", "rate": 2.0}},
        "run_stats": {"requests_made": BENCHMARK["metrics"]["request_totals"]},
        "worker": {"backend_target": "http://host:8000", "backend_model": "tiny-llama"},
        "start_time": 100.0,
        "end_time": 130.0,
        "metrics": {
            name: value for name, value in BENCHMARK["metrics"].items() if name != "request_totals"
        },
    }
    run = read({"benchmarks": [old]})
    (level,) = run["levels"]
    assert chosen(level, ("level", "ok", "failed", "window_seconds")) == {
        "level": "r2",
        "ok": 10,
        "failed": 2,
        "window_seconds": 30.0,
    }
    assert (run["target"]["base_url"], run["target"]["model"]) == ("http://host:8000", "tiny-llama")
    assert run["origin"]["version"] is None


def test_guidellm_zeros_of_what_no_request_has_are_absent(read):
    metrics = BENCHMARK["metrics"] | {
        "time_to_first_token_ms": {"successful": statistics(0.0, std_dev=0.0)},
        "requests_per_second": {"successful": ZERO},
    }
    (level,) = read(GUIDELLM | {"benchmarks": [BENCHMARK | {"metrics": metrics}]})["levels"]
    assert "ttft" not in level["metrics"]
    assert level["request_throughput"] is None


@pytest.mark.parametrize(
    ("benchmarks", "says"),
    [([], "holds no benchmarks"), ([{"metrics": {}}], r"benchmarks\[0\]: has no request_totals")],
)
def test_guidellm_without_figures_is_refused(read, benchmarks, says):
    with pytest.raises(ConfigError, match=says):
        read({"benchmarks": benchmarks})


# AIPerf


def test_aiperf_in_seconds(read):
    run = read(AIPERF)
    (level,) = run["levels"]
    metrics = level["metrics"]
    assert sorted(metrics) == ["e2e", "icl", "tpot", "ttft"]
    assert metrics["e2e"] == {
        "count": 18,
        "avg": 0.5,
        "min": 0.25,
        "max": 1.0,
        "std": 0.125,
        "p50": 0.5,
        "p75": pytest.approx(0.6),
        "p90": pytest.approx(0.7),
        "p95": 0.8,
        "p99": 1.0,
        "p999": None,
        "low_confidence": ["p90", "p95", "p99"],
    }
    assert chosen(metrics["ttft"], ("count", "avg", "p50", "p99")) == {
        "count": None,
        "avg": 0.25,
        "p50": None,
        "p99": 0.5,
    }
    assert (metrics["icl"]["count"], metrics["tpot"]["avg"]) == (500, 0.005)
    expected = {
        "level": "c8",
        "mode": "closed",
        "scheduled": 20,
        "ok": 18,
        "failed": 2,
        "failure_rate": 0.1,
        "window_seconds": 10.0,
        "request_throughput": 2.0,
        "output_token_throughput": 100.0,
        "input_token_throughput": 90.0,
        "total_token_throughput": None,
        "tokens_per_second_per_user": 200.0,
        "validity": None,
    }
    assert chosen(level, expected) == expected
    assert level["definitions"]["tpot"].startswith("AIPerf's inter_token_latency")
    assert run["started_at"] == "2026-11-21T01:55:07Z"
    assert run["target"] == {
        "kind": "import",
        "base_url": "http://host:8000",
        "model": "tiny-llama",
        "endpoint": "chat",
    }
    assert run["origin"]["version"] == "0.8.0"


@pytest.mark.parametrize(
    ("config", "level", "arrival"),
    [
        ({"loadgen": {"request_rate": 4.0, "request_rate_mode": "poisson"}}, "r4", "poisson"),
        (
            {"loadgen": {"request_rate": 4, "arrival_pattern": "gamma", "arrival_smoothness": 2.0}},
            "r4",
            "gamma:2",
        ),
        (
            {"phases": [{"name": "warmup", "concurrency": 2}, {"name": "m", "concurrency": 16}]},
            "c16",
            None,
        ),
        ({"phases": {"profiling": {"type": "constant", "rate": 2.0}}}, "r2", "constant"),
        ({"phases": [{"name": "a", "rate": 1}, {"name": "b", "rate": 2}]}, "phases", None),
        ({"phases": []}, "profile", None),
    ],
)
def test_aiperf_config_names_the_level(read, config, level, arrival):
    (found,) = read(AIPERF | {"input_config": config})["levels"]
    assert chosen(found, ("level", "arrival")) == {"level": level, "arrival": arrival}


def test_aiperf_of_the_newer_shape_names_its_target(read):
    config = {
        "models": {"items": [{"name": "tiny-llama"}]},
        "endpoint": {"urls": ["http://host:8000"], "type": "chat"},
    }
    target = read(AIPERF | {"input_config": config})["target"]
    assert (target["model"], target["base_url"]) == ("tiny-llama", "http://host:8000")


def test_aiperf_of_the_oldest_shape_where_every_request_failed(read):
    old = {
        "records": {"error_request_count": {"unit": "requests", "avg": 5.0}},
        "was_cancelled": True,
        "start_time": "2026-11-21T01:55:07.596754",
    }
    run = read(old)
    (level,) = run["levels"]
    assert chosen(level, ("ok", "failed", "failure_rate", "metrics", "interrupted")) == {
        "ok": 0,
        "failed": 5,
        "failure_rate": 1.0,
        "metrics": {},
        "interrupted": True,
    }
    assert (run["status"], run["started_at"]) == ("interrupted", "2026-11-21T01:55:07Z")


def test_aiperf_unit_that_is_unknown_is_refused(read):
    with pytest.raises(ConfigError, match="has a time in the unit 'fortnights'; known are s, sec"):
        read(AIPERF | {"time_to_first_token": {"unit": "fortnights", "avg": 1.0}})


def test_aiperf_without_counts_is_refused(read):
    with pytest.raises(ConfigError, match="has neither request_count nor error_request_count"):
        read({"request_latency": {"unit": "ms", "avg": 1.0}})


def test_aiperf_throughputs_are_of_one_duration(read):
    rates = {"total_token_throughput": 300.0, "output_token_throughput": 120.0}
    blocks = {name: {"unit": "tokens/sec", "avg": value} for name, value in rates.items()}
    (level,) = read({**AIPERF, **blocks})["levels"]
    assert level["input_token_throughput"] == 180.0
    assert level["total_token_throughput"] == 300.0


def test_aiperf_errors_are_told_in_its_own_words(read):
    summary = [{"error_details": {"code": 503, "message": "busy\x07"}, "count": 7}]
    (level,) = read({**AIPERF, "error_summary": summary})["levels"]
    assert "7 × 503 busy�" in level["notes"]


@pytest.mark.parametrize("below", ["", "artifacts"])
def test_aiperf_folder_of_artifacts_is_read(tmp_path, below):
    folder = tmp_path / "run"
    (folder / below).mkdir(parents=True, exist_ok=True)
    (folder / below / "profile_export_aiperf.json").write_text(json.dumps(AIPERF))
    assert results_in(folder) == [folder / below / "profile_export_aiperf.json"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=r"empty: has no profile_export_aiperf\.json"):
        results_in(empty)


def test_aiperf_says_its_input_throughput_since_0_13(read):
    rate = {"unit": "tokens/sec", "avg": 64.0}
    (level,) = read({**AIPERF, "input_token_throughput": rate})["levels"]
    assert level["input_token_throughput"] == 64.0


def test_a_request_of_aiperf_that_failed_is_not_good(read):
    good = {"unit": "requests", "avg": 5.0}
    (level,) = read({**AIPERF, "good_request_count": good})["levels"]
    assert level["goodput_ratio"] == 0.25  # of 18 and 2 failed
