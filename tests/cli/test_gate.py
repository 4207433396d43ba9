"""`report`, `compare`, `gate` and `baseline` as a user types them, on runs of the simulator."""

import json
import re
import shutil

import jsonschema
import pytest

from tests.schema import FOLDER

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of the simulator."""
    from tests.conftest import Benchcore

    folder = tmp_path_factory.mktemp("runs")
    done = Benchcore(folder).measure(
        *("climb", "--sim", "--concurrency", "4,16", "--requests", "80", "--no-progress"),
        *("--name", "nightly", "--label", "scenario=sim"),
    )
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "results").iterdir()
    # Whether the machine was calm is no matter here.
    run = json.loads((path / "run.json").read_bytes())
    for level in run["levels"]:
        level["validity"], level["reasons"] = "valid", []
    (path / "run.json").write_text(json.dumps(run))
    return path


@pytest.fixture
def runs(measured, benchcore, tmp_path):
    """That run twice, the second time as if it were of the next night: they differ by nothing."""
    results = tmp_path / "results"
    names = ("20260101T000000Z-nightly", "20260102T000000Z-nightly")
    return [shutil.copytree(measured, results / name) for name in names]


def test_the_newest_run_is_shown_as_it_was_when_it_ended(benchcore, runs):
    done = benchcore.run("report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"results/{runs[1].name}\n")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "SIMULATOR: these are the figures" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("c4 ", "c16 "))]
    levels = json.loads((runs[1] / "run.json").read_bytes())["levels"]
    assert [row[0] for row in rows] == ["c4", "c16"]
    assert float(rows[0][1]) == pytest.approx(levels[0]["request_throughput"], abs=0.06)


def test_json_is_run_json_and_what_its_schema_says(benchcore, runs):
    done = benchcore.run("report", runs[0], "--format", "json")
    schema = json.loads((FOLDER / "run.schema.json").read_text())
    jsonschema.validate(json.loads(done.stdout), schema)
    assert json.loads(done.stdout) == json.loads((runs[0] / "run.json").read_bytes())


def test_markdown_is_short(benchcore, runs):
    done = benchcore.run("report", runs[0], "--format", "markdown")
    assert done.stdout.startswith("**nightly**: sim-1, complete, ")
    assert "| c4 | " in done.stdout
    assert len(done.stdout) < 2000


def test_checks_and_evals_are_shown_too(benchcore):
    assert benchcore.run("check", "--sim", "--suite", "smoke", "--quiet").returncode == 0
    done = benchcore.run("report")
    assert "4 of 4 judged checks passed (100.0 %)" in done.stdout
    assert benchcore.run("eval", "mmlu", "--limit", "5", "--quiet").returncode == 0
    done = benchcore.run("report")
    assert done.stdout.splitlines()[1].split()[0] == "mmlu"


def test_a_page_and_its_plots_are_written(benchcore, runs, tmp_path):
    done = benchcore.run("report", runs[0], "--format", "html", "--plots", "plots", "--gpus", "2")
    assert done.stdout == f"{runs[0]}/report.html\n"
    assert "per GPU (2)" in (runs[0] / "report.html").read_text()
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"curve.svg", "curve.png", "percentiles-ttft.svg", "requests.png"} <= names
    assert (tmp_path / "plots" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "plots" / "curve.svg").read_text().startswith("<?xml")


def test_ours_under_vllms_keys(benchcore, runs):
    found = json.loads(benchcore.run("report", runs[0], "--format", "vllm").stdout)
    levels = json.loads((runs[0] / "run.json").read_bytes())["levels"]
    assert [one["max_concurrency"] for one in found] == [4, 16]
    assert found[0]["median_ttft_ms"] == pytest.approx(levels[0]["metrics"]["ttft"]["p50"] * 1e3)


def test_two_runs_are_compared(benchcore, runs):
    done = benchcore.run("compare", *runs)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert done.stdout.count("request throughput") == 2
    found = json.loads(benchcore.run("compare", *runs, "--format", "json").stdout)
    (other,) = found["others"]
    assert [level["level"] for level in other["levels"]] == ["c4", "c16"]
    figures = {one["figure"]: one for one in other["levels"][0]["figures"]}
    first, second = (json.loads((run / "run.json").read_bytes())["levels"][0] for run in runs)
    assert figures["ttft.p99"]["first"] == first["metrics"]["ttft"]["p99"]
    assert figures["ttft.p99"]["second"] == second["metrics"]["ttft"]["p99"]
    assert figures["ttft.p99"]["judged_by"] == "requests"
    assert figures["itl.p99"]["significant"] is None
    markdown = benchcore.run("compare", *runs, "--format", "markdown").stdout
    assert "| c4 | TTFT p50 | " in markdown


def test_the_page_of_a_comparison_lays_curves_over_one_another(benchcore, runs, tmp_path):
    done = benchcore.run("compare", *runs, "--format", "html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "comparison.html\n"
    page = (tmp_path / "comparison.html").read_text()
    drawn = json.loads(re.search(r'id="plots">(.*?)</script>', page)[1])
    assert len(drawn) == page.count("<figure ") == 6
    for plot in drawn:
        labels = [series["label"] for series in plot["panels"][0]["series"]]
        assert labels == [run.name for run in runs]
    assert "Percentiles of TTFT at c16" in page


def test_history_lists_the_runs_and_writes_an_index(benchcore, runs, tmp_path):
    done = benchcore.run("history")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [
        runs[1].name,
        runs[0].name,
    ]
    assert len(json.loads(benchcore.run("history", "--format", "json").stdout)["runs"]) == 2
    assert benchcore.run("history", "--format", "html").stdout == "results/index.html\n"
    page = (tmp_path / "results" / "index.html").read_text()
    assert f'<a href="{runs[0].name}/report.html">' in page


def test_what_was_asked_differently_is_not_compared_unless_told(benchcore, runs):
    changed = json.loads((runs[0] / "run.json").read_bytes())
    changed["workload"]["input_tokens"] = "9"
    (runs[0] / "run.json").write_text(json.dumps(changed))
    done = benchcore.run("compare", *runs)
    assert done.returncode == 2
    assert "were asked different things: workload.input_tokens is '9' in one" in done.stderr
    assert benchcore.run("compare", *runs, "--anyway").returncode == 0
    assert (
        benchcore.run("gate", runs[1], "--baseline", runs[0], "--allow-simulator").returncode == 2
    )


def test_a_gate_finds_its_baseline_and_passes(benchcore, runs):
    done = benchcore.run("gate", runs[1], "--allow-simulator")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{runs[1].name} against {runs[0].name}: passed\n")
    found = json.loads(
        benchcore.run("gate", runs[1], "--allow-simulator", "--format", "json").stdout
    )
    assert found["passed"] is True
    assert len(found["rules"]) == 8


def test_a_simulators_run_is_no_evidence_unless_told(benchcore, runs):
    done = benchcore.run("gate", runs[1])
    assert done.returncode == 2
    assert "a run of the simulator says nothing about a server" in done.stderr
    done = benchcore.run("baseline", "set", runs[0], "--name", "main")
    assert done.returncode == 2
    assert "it comes from the simulator" in done.stderr


def test_a_failing_gate_gives_5_and_only_warns_where_that_is_wanted(benchcore, runs, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {metric: e2e.p99, max: 0.0001}\n")
    args = ("gate", runs[1], "--allow-simulator", "--rules", rules)
    done = benchcore.run(*args)
    assert done.returncode == 5
    assert done.stderr == "benchcore: 2 of 2 rules failed; see above\n"
    assert done.stdout.count("FAIL  ") == 2
    assert benchcore.run(*args, "--warn-only").returncode == 0
    rules.write_text("rules:\n  - {metric: e2e.p99, level: c99, max: 1}\n")
    done = benchcore.run(*args)
    assert done.returncode == 5
    assert "no rule found anything to judge" in done.stderr


def test_baselines_are_kept_listed_shown_and_found(benchcore, runs, tmp_path):
    for run in runs:
        done = benchcore.run("baseline", "set", run, "--name", "main", "--allow-simulator")
        assert done.stdout == "sim/main: results/baselines/sim/main\n"
    kept = tmp_path / "results" / "baselines" / "sim" / "main"
    assert (kept / "run.json").read_bytes() == (runs[1] / "run.json").read_bytes()
    assert sorted(path.name for path in kept.iterdir()) == [
        "requests.csv",
        "run.json",
        "summary.csv",
    ]
    listed = benchcore.run("baseline", "list").stdout.split()
    assert listed[:1] == ["sim/main"]
    assert "c16" in benchcore.run("baseline", "show", "sim/main").stdout
    for name in ("main", "sim/main"):
        done = benchcore.run("gate", runs[0], "--baseline", name, "--allow-simulator")
        assert " against main: " in done.stdout
    done = benchcore.run("gate", runs[0], "--baseline", "gone", "--allow-simulator")
    assert done.returncode == 2
    assert "is not a folder and not a baseline of results: sim/main" in done.stderr
    assert benchcore.run("baseline", "show", "gone").returncode == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["report"], "results: holds no run; name one, or measure one"),
        (["report", "gone"], "gone: does not exist; name the folder of a run"),
        (["compare", "gone"], "name two runs or more"),
        (["gate", "gone"], "gone: does not exist"),
        (["baseline", "set", "gone", "--name", "x"], "gone: does not exist"),
    ],
)
def test_bad_input_gets_one_line_and_2(benchcore, args, says):
    done = benchcore.run(*args)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


def test_a_first_run_has_nothing_to_be_held_against(benchcore, runs):
    done = benchcore.run("gate", runs[0], "--allow-simulator")
    assert done.returncode == 2
    assert "holds no earlier valid run like" in done.stderr


def test_the_page_of_an_eval_keeps_its_samples(benchcore, tmp_path):
    assert benchcore.run("eval", "mmlu", "--limit", "5", "--quiet").returncode == 0
    (scored,) = (tmp_path / "results").glob("*-eval-mmlu")
    before = (scored / "report.html").read_text()
    assert benchcore.run("report", "--format", "html").returncode == 0
    assert (scored / "report.html").read_text() == before
    assert "<h2>Samples</h2>" in before


def test_climbs_and_evals_do_not_compare(benchcore, runs, tmp_path):
    assert benchcore.run("eval", "mmlu", "--limit", "5", "--quiet").returncode == 0
    (scored,) = (tmp_path / "results").glob("*-eval-mmlu")
    done = benchcore.run("compare", runs[0], scored)
    assert done.returncode == 2
    assert "holds no levels" in done.stderr


def test_a_baseline_must_be_whole(benchcore, runs):
    run = json.loads((runs[0] / "run.json").read_bytes())
    (runs[0] / "run.json").write_text(json.dumps({**run, "status": "interrupted"}))
    done = benchcore.run("baseline", "set", runs[0], "--name", "x", "--allow-simulator")
    assert "cannot be a baseline: it is interrupted" in done.stderr
    run["levels"][0]["validity"] = "invalid"
    (runs[0] / "run.json").write_text(json.dumps(run))
    done = benchcore.run("baseline", "set", runs[0], "--name", "x", "--allow-simulator")
    assert "cannot be a baseline: level c4 is invalid" in done.stderr
    done = benchcore.run("baseline", "set", runs[1], "--name", "a/b", "--allow-simulator")
    assert "--name 'a/b': write letters" in done.stderr
