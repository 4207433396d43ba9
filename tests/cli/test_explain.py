"""`benchcore explain` on a run of which a few requests stood still in the middle of decode."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.judge.spent import requests, some

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
STOOD_STILL = 0.1
COUNT = 200
SLOW = some(3, count=COUNT, share=0.04)
NAMES = ("scheduled", "sent", "first_token", "last_token", "done", "connect", "send", "rtt")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of two levels, c1 and c3, whose requests were spent as we say."""
    folder = tmp_path_factory.mktemp("explain") / "run"
    shutil.copytree(GOLDEN / "closed", folder)
    rows, _ = requests(1, COUNT, {"decode": (SLOW, STOOD_STILL)}, in_band=False)
    spans = [*NAMES, "reader"]
    with (folder / "requests.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["level", "repeat", "stage", "index", "request_id", "outcome", "output_tokens"]
        writer.writerow([*names, *(f"{name}_seconds" for name in spans)])
        for level in ("c1", "c3"):
            for place in range(COUNT):
                values = [rows.seconds[f"{name}_seconds"][place] for name in spans]
                cells = ["" if np.isnan(value) else f"{value:.9f}" for value in values]
                writer.writerow([level, 1, "window", place, f"{level}-{place}", "ok", 32, *cells])
    return folder


def measured(run):
    """Return the measured rows of the level of eight users."""
    with (run / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["level"] == "c3" and row["stage"] == "window"]


def test_it_says_what_slow_requests_spent_their_time_in(benchcore, run):
    done = benchcore.run("explain", run, "--level", "c3")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "Decode: 8 requests (4.0 %) were being decoded" in text
    assert "5 of the 5 slowest are among them" in text
    assert "c1" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_json_has_every_level_and_both_latencies(benchcore, run):
    done = benchcore.run("explain", run, "--json")
    levels = json.loads(done.stdout)["levels"]
    assert [level["level"] for level in levels] == ["c1", "c3"]
    explanations = levels[1]["explanations"]
    assert [found["until"] for found in explanations] == ["first token", "end"]
    decode = next(part for part in explanations[1]["parts"] if part["part"] == "decode")
    assert decode["concerned"] == SLOW.sum()
    assert decode["excess_seconds"] == pytest.approx(STOOD_STILL, rel=0.1)


def test_one_request_is_taken_apart(benchcore, run):
    row = measured(run)[-1]
    done = benchcore.run("explain", run, "--request", row["request_id"])
    assert done.returncode == 0, done.stderr
    cells = {line.split("  ")[0]: line.split() for line in done.stdout.splitlines()[2:]}
    whole = float(cells["whole"][1].replace(",", ""))
    reader = float(row["reader_seconds"])
    until_end = float(row["last_token_seconds"]) - float(row["scheduled_seconds"])
    assert whole == pytest.approx((until_end + reader) * 1e3, abs=0.001)
    assert float(cells["decode"][1].replace(",", "")) == pytest.approx(
        (float(row["last_token_seconds"]) - float(row["first_token_seconds"])) * 1e3, abs=0.001
    )


def test_a_trace_has_a_slice_for_each_request_with_its_parts_inside(benchcore, run, tmp_path):
    path = tmp_path / "trace.json"
    done = benchcore.run("explain", run, "--level", "c3", "--perfetto", path)
    assert done.stdout == f"{path}\n"
    events = json.loads(path.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    whole = [event for event in slices if event["args"]]
    assert len(whole) == COUNT
    tracks = {event["tid"] for event in whole}
    assert tracks == set(range(1, len(tracks) + 1))
    assert 2 <= len(tracks) <= 16
    for track in tracks:
        mine = sorted((e for e in whole if e["tid"] == track), key=lambda e: e["ts"])
        ends = [event["ts"] + event["dur"] for event in mine]
        assert all(end <= after["ts"] + 0.01 for end, after in zip(ends, mine[1:], strict=False))
    first = whole[0]
    inside = [
        event
        for event in slices
        if event["tid"] == first["tid"]
        and not event["args"]
        and first["ts"] <= event["ts"] < first["ts"] + first["dur"]
    ]
    assert sum(event["dur"] for event in inside) == pytest.approx(first["dur"], abs=1.1)
    begins = np.array([event["ts"] for event in inside])
    ends = np.array([event["ts"] + event["dur"] for event in inside])
    assert [event["name"] for event in inside][-2:] == ["decode", "reader"]
    assert begins[1:] == pytest.approx(ends[:-1], abs=0.01)
    assert {event["name"] for event in events if event["ph"] == "C"} == {
        *("requests in flight", "output tokens per second", "requests failed")
    }


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--level", "c9"), 2, "--level c9: {run} has no such level; it has c1, c3"),
        (("--request", "nobody"), 2, "--request nobody: {run} has no such request"),
        (
            ("--against", "{run}", "--request", "nobody"),
            2,
            "--against and --request are answers of their own: give one of them",
        ),
        (("--perfetto", "t.json"), 2, "--perfetto is of one level: name it with --level (c1, c3)"),
        (
            ("--perfetto", "t.json", "--request", "c1-0"),
            2,
            "--request and --perfetto are answers of their own: give one of them",
        ),
    ],
)
def test_what_is_not_there_is_one_line(benchcore, run, args, code, said):
    done = benchcore.run("explain", run, *(arg.format(run=run) for arg in args))
    assert done.returncode == code
    assert said.format(run=run) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_without_requests_and_one_without_levels_are_refused(benchcore, run, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "requests.csv").unlink()
    done = benchcore.run("explain", bare)
    assert done.returncode == 2
    assert done.stderr == (
        f"benchcore: {bare}: has no requests of c1; explain reads requests.csv\n"
    )
    done = benchcore.run("explain", GOLDEN / "checks")
    assert done.returncode == 2
    assert "holds no levels; explain takes the run of a climb" in done.stderr


def test_two_runs_are_held_against_each_other(benchcore, run):
    done = benchcore.run("explain", run, "--against", run, "--level", "c3")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert said.count("no part has changed by more than chance") == 4
    told = json.loads(benchcore.run("explain", run, "--against", run, "--json").stdout)
    assert [level["level"] for level in told["levels"]] == ["c1", "c3"]
    _, end = told["levels"][1]["differences"]
    assert [difference["of"] for difference in end] == ["typical", "slowest"]
    assert end[0]["before_seconds"] == end[0]["now_seconds"]
    done = benchcore.run("explain", run, "--against", GOLDEN / "open")
    assert done.returncode == 2
    assert f"--against {GOLDEN / 'open'}: has no requests of c1" in done.stderr


def test_a_trace_can_be_of_any_repeat(benchcore, tmp_path):
    run = tmp_path / "repeats"
    shutil.copytree(GOLDEN / "repeats", run)
    for name in ("c1", "c1 #2"):
        done = benchcore.run("explain", run, "--level", name, "--perfetto", "trace.json")
        assert done.returncode == 0, done.stderr
        trace = json.loads((tmp_path / "trace.json").read_bytes())
        assert trace["traceEvents"][0]["args"] == {"name": name}
    done = benchcore.run("explain", run, "--perfetto", "trace.json")
    assert "name it with --level (c1, c2, c1 #2, c2 #2, c1 #3, c2 #3)" in done.stderr


def test_requests_without_names_are_explained(benchcore, run, tmp_path):
    nameless = tmp_path / "nameless"
    shutil.copytree(run, nameless)
    with (run / "requests.csv").open(newline="") as file:
        rows = [row[:4] + row[5:] for row in csv.reader(file)]
    with (nameless / "requests.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = benchcore.run("explain", nameless, "--request", "c1-0")
    assert done.returncode == 2
    assert "--request c1-0" in done.stderr
    done = benchcore.run("explain", nameless, "--level", "c1", "--perfetto", "trace.json")
    assert done.returncode == 0, done.stderr
