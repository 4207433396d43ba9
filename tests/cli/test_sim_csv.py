"""`benchcore sim --csv`: a load test that nobody ran, whose figures fit together all the same."""

import csv
import io
import math

import pytest
from click.testing import CliRunner

from benchcore.cli.sim import sim
from benchcore.metrics.figures import METRICS
from benchcore.observe.server import COLUMNS as SERVER_COLUMNS
from benchcore.runs.tables import SUMMARY

SHORT_ANSWERS = ("--set", "answer_tokens_median=12")
"""Where it does not matter how long a level takes in virtual time, which is real time here."""
PERCENTILES = ("min", "p50", "p75", "p90", "p95", "p99", "p999", "max")


def written(*args):
    done = CliRunner().invoke(sim, ["--csv", *args])
    assert done.exit_code == 0, done.output
    return done.stdout


def read(text):
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == SUMMARY.names
    return rows


@pytest.fixture(scope="module")
def rows():
    return read(written())


def test_every_level_has_every_column(rows):
    assert [row["level"] for row in rows] == [
        *("c1", "c4", "c16", "c32", "c48", "c64", "r4", "r16")
    ]
    for row in rows:
        closed = row["level"].startswith("c")
        assert None not in row
        load = {"concurrency", "rate", "arrival"}
        empty = {name for name, cell in row.items() if cell == ""}
        assert {name for name in empty if not name.startswith(("connect_", "dispatch_lag_"))} == (
            {"rate", "arrival"} if closed else {"concurrency"}
        )
        assert empty - load <= {
            f"{metric}_seconds_{name}"
            for metric in ("connect", "dispatch_lag")
            for name in (*PERCENTILES, "avg", "std", "count")
        }
        assert (row["dispatch_lag_seconds_p50"] == "") == closed
        assert (row["workload"], row["target_kind"]) == ("sample", "simulator")
        assert row["validity"] == "valid"


def test_counts_add_up_and_percentiles_rise(rows):
    for row in rows:
        scheduled, *parts = (
            int(row[name]) for name in ("scheduled", "ok", "failed", "cancelled", "dropped")
        )
        assert scheduled == sum(parts) >= 60
        assert float(row["failure_rate"]) == pytest.approx(parts[1] / scheduled)
        assert float(row["goodput"]) <= float(row["request_throughput"])
        for metric in METRICS:
            figures = [row[f"{metric}_seconds_{name}"] for name in PERCENTILES]
            if figures[0]:
                values = list(map(float, figures))
                assert values == sorted(values)
                assert values[0] <= float(row[f"{metric}_seconds_avg"]) <= values[-1]
        assert int(row["e2e_seconds_count"]) == parts[0]
        assert float(row["ttft_seconds_p50"]) < float(row["e2e_seconds_p50"])


def test_load_has_the_price_that_batching_gives_it(rows):
    closed = [row for row in rows if row["mode"] == "closed"]

    def figures(name):
        return [float(row[name]) for row in closed]

    for name in ("output_token_throughput", "e2e_seconds_p50", "server_running_max"):
        assert figures(name) == sorted(figures(name))
    for name in ("itl_seconds_p50", "ttft_seconds_p50"):
        assert figures(name) == sorted(figures(name))
    # The default profile's batch has 48 places: 16 of 64 users wait for one.
    assert figures("server_running_max") == [1, 4, 16, 32, 48, 48]
    assert figures("server_waiting_max")[-1] >= 16
    assert figures("output_token_throughput")[-1] < 1.05 * figures("output_token_throughput")[-2]
    assert figures("ttft_seconds_p50")[-1] > 10 * figures("ttft_seconds_p50")[-2]
    # Little's law, in users: throughput times the time of one request.
    for row in closed[:-1]:
        users = float(row["request_throughput"]) * float(row["e2e_seconds_avg"])
        assert users == pytest.approx(float(row["concurrency"]), rel=0.12)
    for row in rows[-2:]:
        assert float(row["request_throughput"]) == pytest.approx(float(row["rate"]), rel=0.15)


def test_what_the_server_says_is_possible(rows):
    for row in rows:
        found = {name: float(row[name]) for name in SERVER_COLUMNS}
        assert found.pop("server_spec_decode_acceptance_ratio") == -1
        assert all(math.isfinite(value) and value >= 0 for value in found.values())
        for name in (
            *("server_kv_cache_usage_max", "server_prefix_cache_hit_ratio"),
            "gpu_utilization_avg",
        ):
            assert 0 < found[name] <= 1
        assert found["server_prefill_seconds_avg"] < float(row["ttft_seconds_max"])


def test_a_seed_is_a_load_test_and_repeats_are_not_the_same():
    short = ("--csv-levels", "c1,c2", "--csv-repeats", "2", *SHORT_ANSWERS)
    text = written(*short)
    assert text == written(*short)
    assert text != written(*short, "--seed", "1")
    first, second = (read(text)[place] for place in (0, 2))
    assert [(row["level"], row["repeat"]) for row in read(text)] == [
        *(("c1", "1"), ("c2", "1"), ("c1", "2"), ("c2", "2"))
    ]
    assert first["e2e_seconds_avg"] != second["e2e_seconds_avg"]


def test_the_profile_says_how_fast_it_is():
    quick = ("--csv-levels", "c1", *SHORT_ANSWERS)
    (row,) = read(written(*quick, "--set", "decode_base_seconds=0.02"))
    # 20 ms and 40 µs for the one sequence of each step.
    assert float(row["itl_seconds_p50"]) == pytest.approx(0.02004, rel=1e-3)
    (row,) = read(written(*quick, "--set", "reasoning_tokens=50"))
    assert float(row["ttfo_seconds_p50"]) > float(row["ttft_seconds_p50"]) + 49 * 0.005


def test_a_file_is_written_whole_and_nothing_is_served(tmp_path):
    path = tmp_path / "sample.csv"
    done = CliRunner().invoke(sim, ["--csv", str(path), "--csv-levels", "c1,c2", *SHORT_ANSWERS])
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr == f"wrote 2 levels of the simulator sim-1 to {path}\n"
    assert [row["level"] for row in read(path.read_text())] == ["c1", "c2"]
    assert path.read_text() == written("-", "--csv-levels", "c1,c2", *SHORT_ANSWERS)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ["/nowhere/at/all.csv", "--csv-levels", "c1", *SHORT_ANSWERS],
            1,
            "--csv /nowhere/at/all.csv: No such file or directory; name",
        ),
        (["--csv-levels", "c8,c2"], 2, "--csv-levels: 8,2 does not climb; did you mean 2,8?"),
        (["--csv-levels", "c1.5"], 2, "--csv-levels: 'c1.5' is not a level; give levels such"),
        (["--csv-levels", "rnan"], 2, "--csv-levels: 'rnan' is not a level"),
        (["--csv-levels", ""], 2, "--csv-levels: '' is not a level"),
        (["--csv-levels", "c1", "--set", "speed=1"], 2, "a profile has no field 'speed'"),
    ],
)
def test_what_cannot_be_written_is_told(benchcore, args, code, says):
    done = benchcore.run("sim", "--csv", *args)
    assert done.returncode == code
    assert done.stderr.startswith(f"benchcore: {says}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
