"""Which runs are old, and which stay all the same."""

import datetime as dt
import json

import pytest
from click.testing import CliRunner

from benchcore.base.errors import ConfigError
from benchcore.cli.upkeep import prune
from benchcore.scenario.upkeep import old_runs

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
MONTH = dt.timedelta(days=30)


@pytest.fixture
def results(tmp_path):
    def add(folder, file="run.json", status="complete", scenario="a", **labels):
        path = tmp_path / folder
        path.mkdir(parents=True)
        run = {"schema_version": 1, "status": status, "name": scenario, "levels": []}
        run["labels"] = labels
        (path / file).write_text(json.dumps(run))
        return path

    add("20260101T000000Z-a")
    add("20260102T000000Z-a")
    add("20260102T000000Z-b", scenario="b")
    add("20260103T000000Z-a", status="failed")
    add("20260104T000000Z-matrix-m", "matrix.json")
    add("20260225T000000Z-c", scenario="c")
    for day, run_type in enumerate(("daily", "daily", "pr", "pr"), 1):
        add(f"2026010{day}T000000Z-d", scenario="d", run_type=run_type)
    add("baselines/a/20260101T000000Z-main")
    add("examples/20260101T000000Z-sim")
    add("20260101T000000Z-notes", "notes.txt")
    add("20261399T000000Z-a")
    add("mine")
    (tmp_path / "20260101T000000Z-link").symlink_to(tmp_path / "mine")
    return tmp_path


def test_old_runs_go_and_the_newest_valid_one_of_each_run_type_stays(results):
    found = {run.path.name: run.kept for run in old_runs(results, MONTH, NOW)}
    stays = "the newest valid run of its scenario"
    assert found == {
        "20260101T000000Z-a": "",
        "20260102T000000Z-a": stays,
        "20260102T000000Z-b": stays,
        "20260103T000000Z-a": "",
        "20260104T000000Z-matrix-m": "",
        "20260101T000000Z-d": "",
        # The next nightly run is held against this one, whatever was run since.
        "20260102T000000Z-d": "the newest valid daily run of its scenario",
        "20260103T000000Z-d": "",
        "20260104T000000Z-d": "the newest valid pr run of its scenario",
    }


def test_nothing_is_older_than_everything(results):
    assert old_runs(results, dt.timedelta(days=10000), NOW) == []


def call(*args):
    return CliRunner().invoke(prune, [*map(str, args)], standalone_mode=False)


def test_the_command_removes_them_and_nothing_else(results):
    before = sorted(path.name for path in results.iterdir())
    dry = call("--keep", "1d", "--output", results, "--dry-run")
    assert sorted(path.name for path in results.iterdir()) == [".lock", *before]
    assert dry.output.count("would remove") == 5
    done = call("--keep", "1d", "--output", results)
    assert done.return_value == 0
    gone = {"20260101T000000Z-a", "20260103T000000Z-a", "20260104T000000Z-matrix-m"}
    gone |= {"20260101T000000Z-d", "20260103T000000Z-d"}
    assert {path.name for path in results.iterdir()} == {".lock", *before} - gone
    assert (results / "baselines/a/20260101T000000Z-main/run.json").is_file()
    assert (results / "mine/run.json").is_file()


@pytest.mark.parametrize("age", ["30", "d", "-1d", "99999999999999d"])
def test_an_age_is_a_number_with_its_unit(results, age):
    done = call("--keep", age, "--output", results)
    assert done.exception is not None
    assert "is not an age" in str(done.exception) or "goes back further" in str(done.exception)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    done = call("--keep", "1d", "--output", tmp_path / "gone")
    assert isinstance(done.exception, ConfigError)
    assert "gone: is not a folder; name the folder of results with --output" in str(done.exception)
    assert not (tmp_path / "gone").exists()
