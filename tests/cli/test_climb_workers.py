"""`benchcore climb --workers` as a user types it."""

import csv
import json

import pytest

from benchcore.sim import SimProfile

pytestmark = [pytest.mark.integration, pytest.mark.perf]

SHORT = ("--input-tokens", "16", "--output-tokens", "4", "--idle", "0s")


def only_run(results):
    (folder,) = results.iterdir()
    return json.loads((folder / "run.json").read_bytes()), folder


def test_one_folder_one_table_one_verdict(benchcore, simulator_with, tmp_path):
    simulator = simulator_with(profile=SimProfile.named("fast", request_metrics=True))
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--workers", "2", "--concurrency", "2,4"),
        *("--requests", "30", *SHORT),
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:4]] == ["c2", "c4"]
    run, folder = only_run(tmp_path / "results")
    assert run["status"] == "complete"
    assert run["load"]["workers"] == 2
    for level in run["levels"]:
        assert (level["scheduled"], level["ok"]) == (30, 30)
        assert {name: one["count"] for name, one in level["in_band"].items()} == dict.fromkeys(
            ("queue", "prefill", "decode"), 30
        )
        assert [one["worker"] for one in level["workers"]] == [1, 2]
    with (folder / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["worker"] for row in rows} == {"1", "2"}
    # What the server says of each request comes from the workers with the rest of it.
    ended = [row for row in rows if row["outcome"] == "ok"]
    assert {row["server_source"] for row in ended} == {"vllm"}
    for row in ended:
        queue, prefill, decode = (
            float(row[f"server_{part}_seconds"]) for part in ("queue", "prefill", "decode")
        )
        sent, first, last = (
            float(row[f"{at}_seconds"]) for at in ("sent", "first_token", "last_token")
        )
        assert queue >= 0
        assert 0 < queue + prefill < first - sent
        assert 0 < decode < last - sent


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--slo", "ttft:1us", "--stop-on-slo"), "c2: ttft:0.001ms broken"),
        (("--stop-on-failures", "1%"), "of the requests failed, more than 1.0%"),
    ],
)
def test_a_climb_stops_by_its_rules(benchcore, simulator_with, tmp_path, options, why):
    faulty = simulator_with(faults=("error_event:2@0.2",), seed=5)
    done = benchcore.measure(
        *("climb", "--base-url", faulty.base_url, "--workers", "2", "--concurrency", "2,4"),
        *("--requests", "40", *SHORT, *options),
    )
    run, _ = only_run(tmp_path / "results")
    assert [level["level"] for level in run["levels"]] == ["c2"]
    assert why in run["stopped"], done.stderr


def test_no_worker_complains_of_a_target_that_refuses(benchcore, simulator_with):
    locked = simulator_with(api_key="k")
    done = benchcore.run("climb", "--base-url", locked.base_url, "--workers", "2")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("given", ["0", "-1", "many", "1.5", ""])
def test_what_is_no_number_of_workers_is_refused(benchcore, given):
    done = benchcore.run("climb", "--sim", f"--workers={given}")
    assert done.returncode == 2
    assert "is neither a number of processes, 1 or more, nor auto" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_of_another_machine_is_refused(benchcore, simulator):
    done = benchcore.run("climb", "--base-url", simulator.base_url, "--source-ip", "192.0.2.1")
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if "--source-ip" in one]
    assert "connections cannot come from there" in line
