"""`benchcore climb` on a machine with GPUs, here those of a small library of our own."""

import json
import os

import pytest

from tests.observe.scripted_nvml import STEPS, library, nvml

pytest.importorskip("pynvml")
pytestmark = [pytest.mark.integration, pytest.mark.perf]
__all__ = ["library", "nvml"]  # fixtures
MEAN_WATTS = sum(seconds * watts for seconds, watts in STEPS) / sum(seconds for seconds, _ in STEPS)


def climb(benchcore, simulator, tmp_path, *more):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--duration", "2s"),
        *("--input-tokens", "16", "--output-tokens", "4", "--idle", "0s", *more),
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    return done, json.loads((folder / "run.json").read_bytes())["levels"][0]


def test_energy_and_cost_stand_in_the_run_and_below_the_table(benchcore, simulator, tmp_path, nvml):
    nvml()  # the command gets an environment of its own
    for name in ("LD_LIBRARY_PATH", "NVML_T0", "NVML_STEPS"):
        benchcore.environment[name] = os.environ[name]
    done, level = climb(benchcore, simulator, tmp_path, "--gpu", "all", "--gpu-price", "1.8")
    found = level["gpus"]
    assert [device["device"] for device in found["devices"]] == ["GPU-0", "GPU-1"]
    assert found["energy_valid"], found["energy_reasons"]
    seconds = level["window_seconds"]
    # Whole periods of the script make nearly all of the window.
    assert found["energy_joules"] / seconds == pytest.approx(1.5 * MEAN_WATTS, rel=0.15)
    tokens = level["output_token_throughput"] * seconds
    requests = level["request_throughput"] * seconds
    assert level["tokens_per_joule"] == pytest.approx(tokens / found["energy_joules"])
    assert level["joules_per_request"] == pytest.approx(found["energy_joules"] / requests)
    cost = 1.8 * 2 * seconds / 3600 / tokens * 1e6
    assert level["cost_per_million_tokens"] == pytest.approx(cost)
    assert level["server"]["gpu_memory_bytes_max"] == 20 * 2**30
    assert level["server"]["gpu_utilization_avg"] == 0.75
    assert "c2: 2 GPU(s)" in done.stdout
    assert "clocks held down by power cap" in done.stdout
    assert "a million output tokens cost" in done.stdout


def test_a_price_alone_takes_the_number_of_gpus(benchcore, simulator, tmp_path):
    _, level = climb(
        benchcore, simulator, tmp_path, "--gpu-price", "1.8", "--gpu-count", "4", "--gpu", "none"
    )
    seconds = level["window_seconds"]
    tokens = level["output_token_throughput"] * seconds
    assert level["cost_per_million_tokens"] == pytest.approx(
        1.8 * 4 * seconds / 3600 / tokens * 1e6
    )
    assert "gpus" not in level
    assert "tokens_per_joule" not in level


def test_gpus_that_are_asked_for_and_not_there_are_one_line(benchcore, simulator):
    done = benchcore.run(
        *("climb", "--base-url", simulator.base_url, "--gpu", "all", "--concurrency", "1"),
        env={"LD_LIBRARY_PATH": "/nowhere"},
    )
    assert done.returncode == 2
    assert "benchcore: --gpu all: NVML: NVML Shared Library Not Found" in done.stderr
    assert "Traceback" not in done.stderr


def test_thresholds_are_told_once_and_kept(benchcore, simulator, tmp_path, nvml):
    nvml()
    for name in ("LD_LIBRARY_PATH", "NVML_T0", "NVML_STEPS"):
        benchcore.environment[name] = os.environ[name]
    done, level = climb(
        *(benchcore, simulator, tmp_path, "--gpu", "all"),
        *("--watch", "gpu_memory > 20 %", "--watch", "running >= 1", "--watch", "queue > 1e6"),
    )
    (memory,) = [alert for alert in level["alerts"] if alert["figure"] == "gpu_memory"]
    assert memory == {
        "rule": "gpu_memory > 20 %",
        "figure": "gpu_memory",
        "limit": 0.2,
        "begun_seconds": memory["begun_seconds"],
        "ended_seconds": None,
        "worst": 0.25,
    }
    assert {alert["figure"] for alert in level["alerts"]} == {"gpu_memory", "running"}
    text = "c2: gpu_memory > 20 %: memory in use of the fullest GPU: 25.0 %"
    assert done.stderr.count(text) == 1
    assert "gpu_memory > 20 % from" in done.stdout


def test_a_threshold_that_is_none_is_one_line(benchcore, simulator):
    done = benchcore.run(
        *("climb", "--base-url", simulator.base_url, "--watch", "gpu_memory > 950 %"),
    )
    assert done.returncode == 2
    assert "a share is at most 100 %, or 1" in done.stderr
    assert len(done.stderr.splitlines()) == 1
