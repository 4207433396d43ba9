import json

import pytest

from benchcore.base.errors import ConfigError
from benchcore.judge.history import read_history
from benchcore.show.lines import render_history
from benchcore.show.pages import history_page
from tests.show.test_page import Read


@pytest.fixture
def nights(make_run, tmp_path):
    """Twenty nights, of which the last eight are much slower."""
    for night in range(20):
        slow = 1.4 if night >= 12 else 1.0
        started = f"2026-01-{night + 1:02d}T00:00:00Z"
        make_run(
            f"202601{night + 1:02d}T000000Z-nightly",
            seed=night,
            count=200,
            slow=slow,
            started_at=started,
        )
    return tmp_path / "results"


def test_series_run_from_old_to_new_and_their_change_is_found(nights):
    history = read_history(nights)
    series = {(one.level, one.figure): one for one in history.series()}
    assert set(series) == {
        ("c8", figure)
        for figure in (
            "ttft.p99",
            "e2e.p99",
            "request_throughput",
            "output_token_throughput",
            "failure_rate",
        )
    }
    assert series["c8", "e2e.p99"].changes == [12]
    assert series["c8", "request_throughput"].changes == [12]
    assert series["c8", "failure_rate"].changes == []
    assert series["c8", "e2e.p99"].runs[12] == "20260113T000000Z-nightly"


def test_the_table_lists_runs_newest_first_and_says_what_changed(nights):
    text = render_history(read_history(nights))
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[1].split()[0] == "20260120T000000Z-nightly"
    assert "nightly c8 e2e p99 changed: " in text
    assert " at 20260113T000000Z-nightly" in text


def test_the_page_links_reports_and_marks_the_changes(nights):
    (nights / "20260102T000000Z-nightly" / "report.html").write_text("")
    page = history_page(read_history(nights))
    read = Read(page)
    links = [attrs["href"] for tag, attrs in read.tags if tag == "a"]
    assert links == ["20260102T000000Z-nightly/report.html"]
    assert "c8 e2e p99 of 20 runs, oldest first: 1 change(s) by more than chance" in read.text
    assert sum(1 for tag, _ in read.tags if tag == "figure") == 5
    assert len(page) < 1_000_000


def test_what_is_broken_unfinished_or_invalid_is_in_no_series(make_run, tmp_path):
    make_run("20260101T000000Z-a")
    make_run("20260102T000000Z-b", status="interrupted")
    make_run("20260103T000000Z-c", level={"validity": "invalid"})
    broken = make_run("20260104T000000Z-d")
    (broken / "run.json").write_text("{")
    history = read_history(tmp_path / "results")
    assert len(history.folders) == 3
    assert "is not JSON" in history.broken[0]
    assert {run for one in history.series() for run in one.runs} == {"20260101T000000Z-a"}
    assert "is not JSON" in render_history(history)


def test_scores_and_checks_have_series_too(make_run, tmp_path):
    path = make_run("20260101T000000Z-a")
    (path / "accuracy.json").write_text(json.dumps({"task": "gpqa", "score": 0.4}))
    (path / "functional.json").write_text(
        json.dumps({"summary": {"pass_ratio": 0.9}, "results": []})
    )
    found = {one.figure: one.values for one in read_history(tmp_path / "results").series()}
    assert found["accuracy gpqa"] == [0.4]
    assert found["functional.pass_ratio"] == [0.9]


def test_runs_that_were_asked_different_things_are_series_of_their_own(make_run, tmp_path):
    for night, length in enumerate(("512", "512", "2000", "512", "2000"), 1):
        make_run(
            f"2026010{night}T000000Z-chat",
            seed=night,
            labels={"scenario": "chat"},
            workload={"name": "synthetic", "kind": "synthetic", "input_tokens": length},
        )
    series = read_history(tmp_path / "results").series()
    nights = {one.scenario: [name[6:8] for name in one.runs] for one in series}
    assert nights == {
        "chat": ["01", "02", "04"],
        "chat (workload.input_tokens 2000)": ["03", "05"],
    }


@pytest.mark.parametrize("columns", ["80", "100"])
def test_the_name_of_a_run_is_never_broken(make_run, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    names = [f"2026010{night}T000000Z-a-rather-long-name-of-a-run" for night in (1, 2)]
    for name in names:
        make_run(name, labels={"scenario": "a-rather-long-scenario"})
    lines = render_history(read_history(tmp_path / "results")).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == names[::-1]
    assert max(map(len, lines[:3])) <= int(columns)
    assert lines[0].split()[-2:] == ["peak", "tok/s"]


def test_a_folder_without_runs(tmp_path):
    with pytest.raises(ConfigError, match="holds no run; measure one with benchcore climb"):
        read_history(tmp_path)


def test_a_hostile_name_stands_as_text(make_run, tmp_path):
    labels = {"scenario": "<img src=x>"}
    target = {"model": "<b>", "kind": "server"}
    make_run("20260101T000000Z-a", labels=labels, target=target)
    read = Read(history_page(read_history(tmp_path / "results")))
    assert {"img", "b"}.isdisjoint(tag for tag, _ in read.tags)
    assert "<img src=x>" in read.text
