"""What several scenarios come to, and what people and CI systems read of it."""

import json
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.runs.facts import TargetFacts
from benchcore.runs.reading import earlier, read_scenario, whole
from benchcore.runs.scenarios import (
    MatrixEntry,
    MatrixResult,
    ScenarioResult,
    StageResult,
    StageStatus,
    worst,
)
from benchcore.scenario.summary import junit, markdown, render_matrix, render_result


@given(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5])))
def test_the_first_of_1_3_4_5_counts(codes):
    found = worst(codes)
    if not any(codes):
        assert found == 0
    elif set(codes) & {1, 3, 4, 5}:
        assert found == min(set(codes) & {1, 3, 4, 5})
    else:
        assert found == 2


def part(name, status="passed", message="", code=0, **facts):
    return StageResult.begun(
        name,
        status=StageStatus(status),
        message=message or None,
        exit_code=code,
        started_at="2026-01-01T00:00:00Z",
        seconds=60.0,
        facts=facts,
    )


def result(name, *parts, status="complete", **fields):
    facts = {"file": "a.yaml", "command": [], "labels": {}, "target": TargetFacts(), "digest": "d"}
    found = ScenarioResult.begun(
        name, "daily", f"r-{name}", "2026-01-01T00:00:00Z", **facts, **fields
    )
    found.stages = list(parts)
    found.end(status)
    return found


def entry(name, result, code=0, message=None):
    """Return a scenario of a matrix that has run."""
    found = MatrixEntry.waiting(name, f"{name}.yaml")
    found.begin(f"r-{name}")
    found.end(code, result, message)
    return found


CHECKS = {"pass": 3, "flaky": 1, "total": 5}
LEVELS = {
    "levels": [
        {"level": "c1", "output_token_throughput": None},
        {"level": "c8", "output_token_throughput": 812.4},
    ]
}


def matrix():
    good = result("good", part("functional", **CHECKS), part("perf", **LEVELS))
    bad = result(
        "b|d",
        part("functional", "failed", "1 of 5 <checks> failed", 5, **CHECKS),
        part("perf", "warned", "c1: invalid", **LEVELS),
        part("accuracy", "skipped", "functional failed"),
        part("gate", "failed", "the server | is gone\nfor good", 3),
    )
    found = MatrixResult.begun("m", "m.yaml", "daily", "x")
    found.scenarios = [
        entry("good", good),
        entry("b|d", bad, 3),
        entry("dead", None, 1, "its process ended with -9"),
        MatrixEntry.waiting("out", "", verdict="skipped", message="needs eight GPUs"),
    ]
    found.end("complete")
    return found


def test_a_matrix_is_as_bad_as_its_worst_scenario():
    found = matrix()
    assert (found.verdict, found.exit_code) == ("failed", 1)
    found.scenarios.pop(2)
    found.end("complete")
    assert found.exit_code == 3
    found.scenarios.pop(1)
    found.end("complete")
    assert (found.verdict, found.exit_code) == ("passed", 0)
    found.end("interrupted", 15)
    assert (found.verdict, found.exit_code) == ("interrupted", 143)


def test_facts_of_somebody_elses_stage_have_no_headline():
    assert part("perf", **LEVELS).headline == "c8: 812 tokens/s"
    assert part("perf", levels=3).headline == ""
    assert part("mine", **LEVELS).headline == ""


@pytest.mark.parametrize("name", ["verdict", "exit_code"])
def test_what_has_ended_says_what_it_has_come_to(tmp_path, name):
    whole = result("a", part("perf")).to_json()
    (tmp_path / "result.json").write_text(json.dumps(whole | {name: None}))
    with pytest.raises(ConfigError, match=rf"is not of a scenario \({name}: field required\)"):
        read_scenario(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(whole | {name: None, "status": "running"}))
    assert read_scenario(tmp_path).status == "running"


def test_the_summary_fits_a_comment_and_keeps_its_table():
    assert (
        markdown(matrix())
        == """\
## m, daily: ❌ failed

| scenario | verdict | functional | perf | accuracy | gate | minutes |
|---|---|---|---|---|---|--:|
| good | ✅ passed | 4/5 (passed) | c8: 812 tokens/s (passed) |  |  | 2.0 |
| b\\|d | ❌ failed | 4/5 (failed) | c8: 812 tokens/s (warned) | skipped | failed | 4.0 |
| dead | ❌ failed |  |  |  |  |  |
| out | ⏭️ skipped |  |  |  |  |  |

- **b\\|d**, functional failed: 1 of 5 &lt;checks&gt; failed
- **b\\|d**, perf warned: c1: invalid
- **b\\|d**, gate failed: the server \\| is gone for good
- **dead**: its process ended with -9
- out was left out: needs eight GPUs
"""
    )


def test_ci_systems_see_a_case_for_each_stage():
    root = ET.fromstring(junit(matrix()))
    suites = {suite.get("name"): suite for suite in root}
    counts = {
        name: tuple(int(suite.get(kind)) for kind in ("tests", "failures", "errors", "skipped"))
        for name, suite in suites.items()
    }
    assert counts == {
        "good": (2, 0, 0, 0),
        "b|d": (4, 1, 1, 1),
        "dead": (1, 0, 1, 0),
        "out": (1, 0, 0, 1),
    }
    case = suites["b|d"][0]
    assert case.attrib == {"classname": "benchcore.b|d", "name": "functional", "time": "60.000"}
    assert case.find("failure").get("message") == "1 of 5 <checks> failed"
    assert suites["b|d"][1].find("system-out").text == "warned: c1: invalid"


def test_what_has_not_run_has_not_failed():
    entries = [MatrixEntry.waiting(name, f"{name}.yaml") for name in ("a", "b")]
    entries[0].begin("r")
    found = MatrixResult.begun("m", "m.yaml", "pr", "x", scenarios=entries)
    assert [entry.verdict for entry in entries] == ["running", "waiting"]
    assert markdown(found).startswith("## m, pr: ⏳ running\n")
    assert "| b | ⏳ waiting |" in markdown(found)
    suites = ET.fromstring(junit(found))
    assert [suite.get("errors") for suite in suites] == ["0", "0"]
    assert [suite[0].find("skipped").get("message") for suite in suites] == ["running", "waiting"]


def test_a_scenario_that_failed_outside_its_stages_is_an_error_in_ci():
    failed = entry("a", result("a", status="failed"), 1, "the disk is full")
    (suite,) = ET.fromstring(junit(MatrixResult.begun("m", "m", "pr", "x", scenarios=[failed])))
    assert [suite.get(kind) for kind in ("tests", "errors")] == ["1", "1"]
    assert suite[0].find("error").get("message") == "the disk is full"
    assert failed.result.exit_code == 1


@pytest.mark.parametrize("text", ["[1]", "{}", '{"scenarios": [{}]}', '{"scenarios": 3}'])
def test_a_damaged_matrix_is_one_line(tmp_path, text):
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(
        ConfigError, match=r"is not of a matrix \(.*\); it is damaged: name another run$"
    ):
        earlier(tmp_path)


def test_a_terminal_of_a_hundred_columns_is_enough():
    text = render_matrix(matrix()) + render_result(matrix().scenarios[1].result)
    assert max(map(len, text.splitlines())) <= 100
    assert "  dead: failed\n    its process ended with -9\n" in text
    assert "  functional  failed      60 s: 4/5: 1 of 5 <checks> failed\n" in text


@pytest.fixture
def folder(tmp_path):
    """The folder of a finished scenario."""
    found = result("a", part("functional"), part("perf"), part("accuracy", "warned", code=0))
    level = {
        "level": "c1",
        "repeat": 1,
        "mode": "closed",
        "metrics": {},
        "validity": "valid",
        "failure_rate": 0.0,
        "scheduled": 2,
    }
    run = {"schema_version": 1, "status": "complete", "levels": [level]}
    for name, content in (
        ("result.json", found.to_json()),
        ("run.json", run),
        ("functional.json", {"summary": {"pass_ratio": 1.0}, "results": []}),
        ("accuracy.json", {"task": "gpqa", "score": 1.0}),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    for name in ("summary.csv", "timeline.csv", "histograms.hlog"):
        (tmp_path / name).write_text("x")
    head = "level,repeat,stage,outcome,scheduled_seconds,sent_seconds,last_token_seconds"
    rows = [f"c1,1,{stage},ok,0,0,1,1" for stage in ("warmup", "window", "window")]
    (tmp_path / "requests.csv").write_text("\n".join([f"{head},done_seconds", *rows, ""]))
    return tmp_path


def test_what_is_finished_is_whole(folder):
    assert whole(folder).scenario == "a"
    assert whole(folder, "d").scenario == "a"
    with pytest.raises(ConfigError, match="belongs to a scenario that said something else then"):
        whole(folder, "other")


def test_what_lost_a_request_is_not_finished(folder):
    text = (folder / "requests.csv").read_text()
    (folder / "requests.csv").write_text(text.rpartition("c1,")[0])
    with pytest.raises(ConfigError, match=r"requests.csv: does not have every request"):
        whole(folder)


@pytest.mark.parametrize(("code", "again"), [(1, True), (2, True), (3, True), (4, False)])
def test_what_the_machine_spoiled_is_not_finished(folder, code, again):
    found = json.loads((folder / "result.json").read_text())
    found["stages"][0] |= {"status": "failed", "exit_code": code}
    (folder / "result.json").write_text(json.dumps(found | {"exit_code": code}))
    if again:
        with pytest.raises(ConfigError, match=f"ended with {code}, which may be different now"):
            whole(folder)
    else:
        assert whole(folder).exit_code == code


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", ""),
        ("result.json", "{}"),
        ("run.json", "{"),
        ("run.json", '{"schema_version": 1, "status": "running", "levels": []}'),
        ("functional.json", "[]"),
        ("accuracy.json", ""),
    ],
)
def test_what_is_cut_is_not_finished(folder, name, content):
    (folder / name).write_text(content)
    with pytest.raises(ConfigError):
        whole(folder)


@pytest.mark.parametrize("change", [{"status": "interrupted"}, {"dry_run": True}])
def test_what_did_not_end_is_not_finished(folder, change):
    found = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(found | change))
    with pytest.raises(ConfigError):
        whole(folder)


@pytest.mark.parametrize(
    "name",
    ["functional.json", "accuracy.json", "run.json", "summary.csv", "requests.csv", "timeline.csv"],
)
def test_what_lost_a_file_is_not_finished(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigError):
        whole(folder)
