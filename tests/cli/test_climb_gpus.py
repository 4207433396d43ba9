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
