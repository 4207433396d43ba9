"""`benchcore climb` on a machine with GPUs, here those of a small library of our own."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from tests.observe.scripted_nvml import STEPS, library, nvml

pytest.importorskip("pynvml")
pytestmark = [pytest.mark.integration, pytest.mark.perf]
__all__ = ["library", "nvml"]  # fixtures
MEAN_WATTS = sum(seconds * watts for seconds, watts in STEPS) / sum(seconds for seconds, _ in STEPS)


def climb(benchcore, simulator, tmp_path, *more):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--duration", "1s"),
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
    gpus = level["gpus"]
    assert [device["device"] for device in gpus["devices"]] == ["GPU-0", "GPU-1"]
    assert gpus["energy_valid"], gpus["energy_reasons"]
    seconds = level["window_seconds"]
    # Whole periods of the script make nearly all of the window.
    assert gpus["energy_joules"] / seconds == pytest.approx(1.5 * MEAN_WATTS, rel=0.15)
    tokens = level["output_token_throughput"] * seconds
    requests = level["request_throughput"] * seconds
    assert level["tokens_per_joule"] == pytest.approx(tokens / gpus["energy_joules"])
    assert level["joules_per_request"] == pytest.approx(gpus["energy_joules"] / requests)
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


def test_a_price_without_a_number_of_gpus_says_what_is_missing(benchcore, simulator, tmp_path):
    done, level = climb(benchcore, simulator, tmp_path, "--gpu-price", "1.8", "--gpu", "none")
    assert "cost_per_million_tokens" not in level
    note = "cost unknown: no GPU was read, so give --gpu-count beside --gpu-price"
    assert note in level["notes"]
    assert note in " ".join(done.stdout.split())


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


PAGE = """\
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="GPU-a",modelName="H100"}} 300
DCGM_FI_DEV_POWER_USAGE{{gpu="1",UUID="GPU-b",modelName="H100"}} 200
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0",UUID="GPU-a",modelName="H100"}} {first}
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="1",UUID="GPU-b",modelName="H100"}} {second}
DCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="GPU-a",modelName="H100"}} 90
DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-a",modelName="H100"}} 60000
DCGM_FI_DEV_FB_FREE{{gpu="0",UUID="GPU-a",modelName="H100"}} 20000
DCGM_FI_DEV_SM_CLOCK{{gpu="0",UUID="GPU-a",modelName="H100"}} 1755
DCGM_FI_DEV_CLOCKS_EVENT_REASONS{{gpu="0",UUID="GPU-a",modelName="H100"}} 4
"""


@pytest.fixture
def exporter():
    """Serves the page of a dcgm-exporter whose devices take 300 and 200 W, or stand still."""

    class Handler(BaseHTTPRequestHandler):
        still: ClassVar[bool] = False

        def do_GET(self):
            now = 0.0 if self.still else time.perf_counter()
            page = PAGE.format(first=int(now * 300e3), second=int(now * 200e3)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.handler = Handler
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_gpus_of_other_machines_are_read_from_a_dcgm_exporter(
    benchcore, simulator, tmp_path, exporter
):
    url = f"http://127.0.0.1:{exporter.server_port}/metrics"
    _, level = climb(
        *(benchcore, simulator, tmp_path, "--metrics-url", url),
        *("--gpu", "prefill=GPU-a;decode=GPU-b", "--gpu-price", "2"),
    )
    gpus, seconds = level["gpus"], level["window_seconds"]
    assert gpus["energy_valid"], gpus["energy_reasons"]
    assert gpus["energy_joules"] == pytest.approx(500 * seconds, rel=0.01)
    assert gpus["energy_joules_by_role"] == {
        "prefill": pytest.approx(300 * seconds, rel=0.01),
        "decode": pytest.approx(200 * seconds, rel=0.01),
    }
    first, second = gpus["devices"]
    assert (first["device"], first["name"], first["utilization_avg"]) == ("GPU-a", "H100", 0.9)
    assert first["memory_bytes_max"] == 60000 * 2**20
    assert first["memory_total_bytes"] == 80000 * 2**20
    assert first["throttled"] == {"power cap": 1.0}
    assert second["utilization_avg"] is None
    tokens = level["output_token_throughput"] * seconds
    assert level["cost_per_million_tokens"] == pytest.approx(2 * 2 * seconds / 3600 / tokens * 1e6)


def test_a_page_that_stands_still_is_no_reading(benchcore, simulator, tmp_path, exporter):
    exporter.handler.still = True
    url = f"http://127.0.0.1:{exporter.server_port}/metrics"
    _, level = climb(benchcore, simulator, tmp_path, "--metrics-url", url)
    assert level["gpus"]["energy_joules"] is None
    assert level["gpus"]["energy_reasons"] == [
        "GPU-a: fewer than two readings",
        "GPU-b: fewer than two readings",
    ]
    assert "tokens_per_joule" not in level
