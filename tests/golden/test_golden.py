"""Run folders of an earlier version are read as they were read then."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchcore.base.errors import ConfigError
from benchcore.cli.reports import report
from benchcore.runs.checks import Checks
from benchcore.runs.reading import RunFolder, read_result
from benchcore.runs.run import Run
from benchcore.runs.run_json import dump
from benchcore.runs.samples import Eval
from benchcore.runs.scenarios import MatrixResult, ScenarioResult
from benchcore.runs.tables import REQUESTS, SUMMARY, TIMELINE

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for path in HERE.glob("runs/**/run.json"))
FORMATS = {"txt": [], "md": ["--format", "markdown"], "json": ["--json"]}


def shown(folder, suffix):
    done = CliRunner(env={"COLUMNS": "100"}).invoke(report, [str(folder), *FORMATS[suffix]])
    assert done.exit_code == 0, done.output
    return done.output.replace(f"{HERE}/", "")


def name_of(folder):
    return "-".join(folder.relative_to(HERE / "runs").parts)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_is_reported_as_it_was(folder, suffix):
    assert shown(folder, suffix) == (HERE / "expected" / f"{name_of(folder)}.{suffix}").read_text()


KINDS = {
    "run.json": Run,
    "functional.json": Checks,
    "accuracy.json": Eval,
    "result.json": ScenarioResult,
    "matrix.json": MatrixResult,
}
TABLES = {"requests.csv": REQUESTS, "timeline.csv": TIMELINE, "summary.csv": SUMMARY}


def files(names):
    return [path for name in names for path in sorted(HERE.glob(f"runs/**/{name}"))]


def relative(path):
    return str(path.relative_to(HERE / "runs"))


@pytest.mark.parametrize("path", files(KINDS), ids=relative)
def test_a_file_of_json_is_read_and_written_again_byte_for_byte(path):
    assert dump(read_result(path, KINDS[path.name]).to_json()) == path.read_bytes()


@pytest.mark.parametrize("path", files(TABLES), ids=relative)
def test_a_table_is_read_and_written_again_byte_for_byte(path):
    table = TABLES[path.name]
    rows = [[table.read(*cell) for cell in row.items()] for row in table.cells(path)]
    head, _, lines = path.read_bytes().partition(b"\n")
    # Columns that came later stand behind those that there were.
    assert f"{table.head().decode().rstrip()},".startswith(f"{head.decode()},")
    later = len(table.names) - len(head.split(b","))
    padded = [[*row, *[None] * later] for row in rows]
    assert table.written(padded).replace(b"," * later + b"\n", b"\n") == lines


@pytest.mark.parametrize("path", files(["summary.csv"]), ids=relative)
def test_the_summary_says_what_the_run_says(path):
    run = RunFolder(path.parent).run
    rows = [(level, run.target.kind) for level in run.levels]
    written = list(csv.reader((SUMMARY.head() + SUMMARY.lines(rows)).decode().splitlines()))
    before = list(csv.reader(path.read_text().splitlines()))
    # Figures that came later stand behind those that there were.
    assert [row[: len(before[0])] for row in written] == before


@pytest.mark.parametrize("name", KINDS)
def test_keys_that_are_not_known_are_kept_in_their_place(name, tmp_path):
    (first, *_) = files([name])
    path = tmp_path / name
    found = json.loads(first.read_bytes())
    path.write_bytes(dump({"0": 1, **found, "new": [{}]}))
    assert dump(read_result(path, KINDS[name]).to_json()) == path.read_bytes()


def test_what_an_older_version_did_not_say_is_unknown_and_not_zero(tmp_path):
    level = {
        "level": "c1",
        "repeat": 1,
        "mode": "closed",
        "validity": None,
        "failure_rate": None,
        "metrics": {"ttft": {"p50": 1}},
    }
    old = {"schema_version": 1, "status": "complete", "levels": [level]}
    (tmp_path / "run.json").write_bytes(dump(old))
    run = RunFolder(tmp_path).run
    (read,) = run.levels
    assert (read.ok, read.window_seconds, read.steady_state, read.server) == (None,) * 4
    assert (read.reasons, read.outcomes, read.tokens.output) == ([], {}, None)
    assert (read.metrics["ttft"].p50, read.metrics["ttft"].p99) == (1, None)
    assert dump(run.to_json()) == dump(old)  # 1 stays 1 and is not 1.0
    whole = run.whole()
    assert (whole["stopped"], whole["target"], "origin" in whole) == (None, {}, False)
    assert whole["levels"][0]["metrics"]["ttft"] == {
        "p50": 1,
        "count": None,
        "p75": None,
        "p90": None,
        "p95": None,
        "p99": None,
        "p999": None,
        "low_confidence": [],
    }


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("levels", 0, "metrics", "ttft", "p99"), "1", "should be a valid number"),
        (("levels", 0, "metrics", "ttft", "p99"), True, "should be a valid number"),
        (("levels", 0, "metrics", "ttft"), 5, "should be a valid dictionary"),
        (("levels", 0, "ok"), 1.5, "should be a valid integer"),
        (("levels", 0, "tokens"), None, "should be a valid dictionary"),
        (("labels", "team"), 5, "should be a valid string"),
        (("status",), "lost", "should be 'running', 'complete', 'interrupted' or 'failed'"),
    ],
)
def test_what_is_of_another_type_is_refused_with_its_place(place, value, says, tmp_path):
    found = json.loads((HERE / "runs" / "closed" / "run.json").read_bytes())
    inner = found
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (tmp_path / "run.json").write_bytes(dump(found))
    where = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place)[1:]
    with pytest.raises(ConfigError) as told:
        RunFolder(tmp_path)
    assert str(told.value) == (
        f"{tmp_path}/run.json: is not of a run ({where}: input {says}); it is damaged: "
        "name another run"
    )
