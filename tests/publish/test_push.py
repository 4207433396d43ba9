"""What is pushed, and a real Pushgateway that takes it."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from benchcore.base.errors import ConfigError, TargetError
from benchcore.observe.machine import host_facts
from benchcore.publish.prometheus import run_labels, run_metrics
from benchcore.publish.pushgateway import Pushgateway, shown
from benchcore.runs.checks import Checks
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run import Run
from benchcore.runs.run_json import write_head
from benchcore.runs.samples import Eval

PUSHGATEWAY = shutil.which("prometheus-pushgateway") or shutil.which("pushgateway")
SUMMARY = {"p50": 0.05, "p75": 0.06, "p90": 0.07, "p95": 0.08, "p99": 0.09, "p999": None}
RUN = {
    "schema_version": 1,
    "status": "complete",
    "name": "nightly",
    "started_at": "2026-11-21T00:00:00Z",
    "labels": {"scenario": "chat", "run_type": "daily", "quant": "fp8"},
    "target": {"kind": "server", "model": "org/model"},
    "host": {"hostname": "gpu0"},
    "levels": [
        {
            "level": "c64",
            "repeat": 1,
            "workload": "synthetic",
            "mode": "closed",
            "validity": "valid",
            "metrics": {"ttft": SUMMARY, "itl": SUMMARY},
            "request_throughput": 12.5,
            "output_token_throughput": 400.0,
            "goodput": None,
            "goodput_ratio": 1.0,
            "failure_rate": 0.0,
        }
    ],
}
CHECKS = {
    "summary": {"pass": 8, "flaky": 1, "fail": 1, "pass_ratio": 0.9},
    "results": [
        {"suite": "sse", "case_id": "sse.one_done", "verdict": "fail"},
        {"suite": "sse", "case_id": "sse.framing", "verdict": "flaky"},
        {"suite": "guided", "case_id": "guided.regex", "verdict": "skip"},
    ],
}
SCORE = {"task": "gpqa", "score": 0.5, "stderr": None, "n": 198}


def run_of(found):
    return Run.model_validate(found)


def samples(registry):
    return {
        (sample.name, *sorted((k, v) for k, v in sample.labels.items() if k in OWN)): sample.value
        for family in text_string_to_metric_families(shown(registry))
        for sample in family.samples
    }


OWN = ("quantile", "level", "case_id", "task")


def test_every_name_of_the_contract_with_its_value():
    found = samples(
        run_metrics(run_of(RUN), Checks.model_validate(CHECKS), Eval.model_validate(SCORE))
    )
    c64 = ("level", "c64")
    assert found == {
        **{
            (f"benchcore_{metric}_seconds", c64, ("quantile", quantile)): value
            for metric in ("ttft", "itl")
            for quantile, value in (
                ("0.5", 0.05),
                ("0.75", 0.06),
                ("0.9", 0.07),
                ("0.95", 0.08),
                ("0.99", 0.09),
            )
        },
        ("benchcore_request_throughput", c64): 12.5,
        ("benchcore_output_token_throughput", c64): 400.0,
        ("benchcore_goodput_ratio", c64): 1.0,
        ("benchcore_failure_ratio", c64): 0.0,
        ("benchcore_valid", c64): 1.0,
        ("benchcore_functional_cases",): 10.0,
        ("benchcore_functional_cases_passed",): 9.0,
        ("benchcore_functional_cases_failed",): 1.0,
        ("benchcore_functional_pass_ratio",): 0.9,
        ("benchcore_functional_case_pass", ("case_id", "sse.one_done")): 0.0,
        ("benchcore_functional_case_pass", ("case_id", "sse.framing")): 1.0,
        ("benchcore_accuracy_score", ("task", "gpqa")): 0.5,
        ("benchcore_accuracy_samples", ("task", "gpqa")): 198.0,
        ("benchcore_run_timestamp_seconds",): 1795219200.0,
    }


def test_each_has_the_labels_of_the_run():
    assert run_labels(run_of(RUN)) == {
        "model": "org/model",
        "quant": "fp8",
        "scenario": "chat",
        "run_type": "daily",
        "instance": "gpu0",
    }
    for family in text_string_to_metric_families(shown(run_metrics(run_of(RUN)))):
        for sample in family.samples:
            assert sample.labels.items() >= run_labels(run_of(RUN)).items()


def test_a_run_without_labels_has_the_machine_as_its_instance(tmp_path):
    """Two machines would else overwrite each other's figures."""
    climbed = Run.begun("id", "2026-01-01T00:00:00Z", target={}, host=host_facts())
    assert run_labels(climbed)["instance"] == socket.gethostname()
    head = {"name": "check", "command": [], "target": TargetFacts(), "labels": {}}
    write_head(tmp_path, "2026-01-01T00:00:00Z", "complete", **head)
    written = json.loads((tmp_path / "run.json").read_text())
    assert run_labels(run_of(written))["instance"] == socket.gethostname()


def test_what_is_not_known_is_no_label_none():
    imported = {**RUN, "levels": [{**RUN["levels"][0], "workload": None, "mode": None}]}
    text = shown(run_metrics(run_of(imported)))
    assert 'workload=""' in text
    assert "None" not in text


def test_a_prefix_of_ones_own_or_none():
    assert "\nvalid{" in shown(run_metrics(run_of(RUN), prefix=""))
    assert "\nllm_valid{" in shown(run_metrics(run_of(RUN), prefix="llm_"))
    with pytest.raises(ConfigError, match="cannot begin the name of a metric"):
        run_metrics(run_of(RUN), prefix="9-")


@pytest.fixture
def gateway(tmp_path):
    """A real Pushgateway on loopback."""
    if PUSHGATEWAY is None:
        pytest.skip("no prometheus-pushgateway")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(PUSHGATEWAY, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
            # Debian's keeps what it has in a file of the system by default.
            f"--persistence.file={tmp_path / 'pushed'}",
        ]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(6000):
            try:
                urllib.request.urlopen(f"{url}/-/ready", timeout=600).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=600)


@pytest.mark.integration
def test_a_real_gateway_holds_what_was_pushed_under_its_key(gateway):
    labels = run_labels(run_of(RUN))
    key = {name: labels[name] for name in ("scenario", "model", "quant", "instance")}
    Pushgateway(gateway).push(
        run_metrics(run_of(RUN), Checks.model_validate(CHECKS), Eval.model_validate(SCORE)), key
    )
    text = urllib.request.urlopen(f"{gateway}/metrics", timeout=600).read().decode()
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("benchcore_")
    }
    rate = found["benchcore_request_throughput"]
    assert rate.value == 12.5
    assert rate.labels["job"] == "benchcore"
    assert rate.labels["model"] == "org/model"
    # A second run of the same replaces the first: a check that is gone leaves no series.
    Pushgateway(gateway).push(run_metrics(run_of(RUN)), key)
    text = urllib.request.urlopen(f"{gateway}/metrics", timeout=600).read().decode()
    assert "benchcore_functional_case_pass" not in text
    assert "benchcore_request_throughput" in text


def test_an_outage_is_tried_again_and_said():
    waits = []
    gateway = Pushgateway("http://127.0.0.1:1")
    with pytest.raises(TargetError, match="refused, 4 times; the run is on disk: push it later"):
        gateway.push(run_metrics(run_of(RUN)), {}, waits.append)
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"url": "http://127.0.0.1:1", "ca_file": "/gone.pem"}, ConfigError, "--ca-file /gone.pem"),
        ({"url": "http://[::1"}, ConfigError, "is not an address"),
    ],
)
def test_what_is_wrong_with_the_address_is_said_at_once(fields, error, says):
    with pytest.raises(error, match=says):
        Pushgateway(**fields).push(
            run_metrics(run_of(RUN)), {}, lambda _seconds: pytest.fail("waited")
        )


def test_the_password_is_sent_and_shown_nowhere():
    gateway = Pushgateway("http://a", user="u", password=SecretStr("secret"))
    assert "secret" not in repr(gateway)
    assert gateway._authorization() == [("Authorization", "Basic dTpzZWNyZXQ=")]
    assert Pushgateway("http://a")._authorization() == []


@pytest.mark.integration
def test_the_command_prints_refuses_and_pushes(benchcore, gateway, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(RUN))
    done = benchcore.run("push", folder, "--print", "--prefix", "x_")
    assert done.returncode == 0, done.stderr
    assert 'x_valid{instance="gpu0",level="c64"' in done.stdout
    assert benchcore.run("push", folder).returncode == 2
    done = benchcore.run("push", folder, "--url", gateway, "--dry-run")
    key = '{job="benchcore", scenario="chat", model="org/model", quant="fp8", instance="gpu0"}'
    assert done.stdout == f"would push 16 series of {folder} to {gateway} under {key}\n"
    assert "benchcore_valid" not in urllib.request.urlopen(f"{gateway}/metrics").read().decode()
    done = benchcore.run("push", folder, env={"PROM_PUSHGATEWAY_URL": gateway})
    assert done.stdout == f"pushed 16 series of {folder} to {gateway} under {key}\n"
    assert "benchcore_valid" in urllib.request.urlopen(f"{gateway}/metrics").read().decode()
    simulated = {**RUN, "target": {"kind": "simulator", "model": "sim-1"}}
    (folder / "run.json").write_text(json.dumps(simulated))
    done = benchcore.run("push", folder, "--url", gateway)
    assert done.returncode == 2
    assert "comes from the simulator; --allow-simulator" in done.stderr


def test_ci_has_a_gateway():
    if os.environ.get("CI"):
        assert PUSHGATEWAY is not None
