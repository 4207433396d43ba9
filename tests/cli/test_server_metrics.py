"""What servers say of a climb beside what benchcore counted: on the simulator, by a user's hand."""

import csv
import json

import pytest

from benchcore.runs.server_metrics import SERVER_METRICS, read_server_metrics
from benchcore.sim import SimProfile

pytestmark = [pytest.mark.integration, pytest.mark.perf]

SHORT = ("--input-tokens", "16", "--output-tokens", "8", "--idle", "0s", "--warmup", "2")


def only_run(results):
    (folder,) = results.iterdir()
    with (folder / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    ok = [row for row in rows if row["outcome"] == "ok"]
    return folder, json.loads((folder / "run.json").read_bytes()), ok, len(rows) - len(ok)


def growth(folder, name, source, label=""):
    """What a counter grew by in all that was read of a source, over its labels."""
    first, last = {}, {}
    for one in read_server_metrics(folder / SERVER_METRICS, lambda known: known == name):
        if one.source == source and label in one.labels:
            first.setdefault(one.labels, one.value)
            last[one.labels] = one.value
    return sum(last[labels] - first[labels] for labels in last)


@pytest.mark.parametrize("load", ["1", "4", "4 --workers 2"], ids=["c1", "c4", "c4, workers"])
def test_the_counters_of_the_server_are_the_sums_of_our_rows(
    benchcore, simulator_with, tmp_path, load
):
    server = simulator_with(profile=SimProfile.named("default"))
    done = benchcore.measure(
        *("climb", "--base-url", server.base_url, "--requests", "40", *SHORT),
        *("--concurrency", *load.split()),
    )
    assert done.returncode == 0, done.stderr
    folder, run, rows, broken_off = only_run(tmp_path / "results")
    source = server.base_url
    ended = growth(folder, "vllm:request_success_total", source, 'finished_reason="length"')
    # One that was broken off behind the window may count there, and does not here; c1 has none.
    assert load != "1" or not broken_off
    assert len(rows) <= ended <= len(rows) + broken_off
    for name, column, most in (("prompt", "prompt_tokens", 16), ("generation", "output_tokens", 8)):
        ours = sum(int(row[column]) for row in rows)
        theirs = growth(folder, f"vllm:{name}_tokens_total", source)
        assert ours <= theirs <= ours + broken_off * most
    (level,) = run["levels"]
    (figures,) = level["server_metrics"]
    assert (figures["source"], figures["servers"], figures["restarted"]) == (
        source,
        ["vllm"],
        False,
    )
    # Of what was on its way at either end of the window, it is between two pages or it is not.
    assert 20 <= figures["counters"]["requests"] <= len(rows)
    assert figures["gauges"]["running"]["max"] >= 0
    # Ours begin before the server's and end after: the bounds enclose the median but for that. The
    # slowest may be one that only one side counts to the window.
    lower, upper = figures["histograms"]["ttft"]["p50"]
    assert lower <= level["metrics"]["ttft"]["p50"] <= upper + 0.01
    assert figures["histograms"]["ttft"]["p99"][0] >= lower
    # A row of the file can be set beside a row of requests.csv.
    times = [
        one.time - level["start_unix_seconds"]
        for one in read_server_metrics(folder / SERVER_METRICS)
    ]
    end = max(float(row["done_seconds"]) for row in rows)
    assert times[0] < 0
    assert times[0] > -5
    assert end < times[-1] < end + 5


def test_replicas_and_exporters_are_read_beside_the_target(benchcore, simulator_with, tmp_path):
    target, replica = simulator_with(), simulator_with()
    done = benchcore.measure(
        *("climb", "--base-url", target.base_url, "--concurrency", "2", "--requests", "20"),
        *(
            "--metrics-url",
            replica.base_url,
            "--metrics-url",
            f"{replica.base_url}/metrics?token=sk-secret",
        ),
        *("--metrics-url", f"{target.base_url}/metrics", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    folder, run, _, _ = only_run(tmp_path / "results")
    (level,) = run["levels"]
    sources = [one["source"] for one in level["server_metrics"]]
    # The target's own page is no further source, and two pages of one address are told apart.
    assert sources == [target.base_url, replica.base_url, f"{replica.base_url} #2"]
    assert level["server_metrics"][0]["counters"]["requests"] > 0
    assert level["server_metrics"][1]["counters"]["generation_tokens"] == 0
    kept = {one.source for one in read_server_metrics(folder / SERVER_METRICS)}
    assert kept == set(sources)
    assert "sk-secret" not in (folder / "run.json").read_text()


def test_what_has_no_page_of_metrics_is_refused_before_the_load(benchcore, simulator, tmp_path):
    args = ("climb", "--base-url", simulator.base_url, "--concurrency", "2", "--requests", "20")
    done = benchcore.measure(*args, "--metrics-url", f"{simulator.base_url}/health", *SHORT)
    assert done.returncode == 3
    (line,) = [one for one in done.stderr.splitlines() if "--metrics-url" in one]
    assert "answers 200, and no metrics in Prometheus's format" in line
    done = benchcore.measure(*args, "--metrics-url", "http://127.0.0.1:1", *SHORT)
    assert done.returncode == 3
    assert "--metrics-url http://127.0.0.1:1: does not answer" in done.stderr


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1:8000", "is not http://HOST[:PORT][/PATH]"),
        ("ftp://a/metrics", "is not http://HOST[:PORT][/PATH]"),
        ("http://user:pass@a/metrics", "must not contain a user or password"),
        ("http://a b/metrics", "white space"),
        ("http://a:x/metrics", "is not an address"),
    ],
)
def test_what_is_no_address_is_a_fault_of_the_command(benchcore, address, why):
    done = benchcore.run("climb", "--sim", "--metrics-url", address)
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if "--metrics-url" in one]
    assert why in line
    assert "pass@" not in line
