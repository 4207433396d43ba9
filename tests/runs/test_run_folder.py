import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchcore.base.errors import ConfigError
from benchcore.runs.reading import RunFolder, newest, read_requests


def test_a_run_is_read_with_its_requests(make_run):
    folder = RunFolder(make_run("a", levels=(1, 8)))
    assert [level.level for level in folder.levels] == ["c1", "c8"]
    assert folder.unfinished == ""
    requests = folder.requests("c8", 1)
    assert requests.measured.all()
    assert requests.ok.all()
    ttft = requests.figure("ttft")
    found = folder.levels[1].metrics["ttft"]
    assert len(ttft) == 500
    assert float(np.sort(ttft)[494]) == pytest.approx(found.p99, abs=1e-8)
    assert folder.requests("c99", 1) is None
    with pytest.raises(KeyError):
        requests.figure("itl")


def test_without_rows_there_are_no_requests(make_run):
    path = make_run("a")
    (path / "requests.csv").unlink()
    assert RunFolder(path).requests("c8", 1) is None


def test_a_line_that_was_cut_is_passed_over(make_run):
    path = make_run("a", count=20)
    whole = (path / "requests.csv").read_text()
    (path / "requests.csv").write_text(whole[:-40])
    assert len(RunFolder(path).requests("c8", 1).outcome) == 19


def test_an_unfinished_run_says_so(make_run):
    folder = RunFolder(make_run("a", status="interrupted", error="boom"))
    assert "a is interrupted (boom): it holds what was measured until then" in folder.unfinished


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "has no run.json; name the folder of a run"),
        ('{"schema_version": 1, "sta', "is not JSON (unexpected end of data"),
        ("[]", "is not a run of benchcore; read the results of other tools with benchcore import"),
        ('{"duration": 3}', "is not a run of benchcore"),
        (
            '{"schema_version": 2, "status": "complete"}',
            "schema_version 2, but this benchcore reads",
        ),
        (
            '{"schema_version": 1, "status": "complete", "levels": [{"level": "c1"}]}',
            "is not of a run (levels[0].repeat: field required); it is damaged",
        ),
    ],
)
def test_a_truncated_foreign_or_newer_folder_gets_a_clear_message(tmp_path, content, says):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        RunFolder(tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        RunFolder(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder(tmp_path / "file")


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"level,repeat\n", "has no column stage"), (b"\xff\n", "cannot be read")],
)
def test_rows_that_are_none(make_run, data, says):
    path = make_run("a")
    (path / "requests.csv").write_bytes(data)
    with pytest.raises(ConfigError, match=says):
        RunFolder(path).requests("c8", 1)


def test_a_file_that_is_cut_short_is_named(make_run):
    path = make_run("a")
    (path / "accuracy.json").write_text("{")
    with pytest.raises(ConfigError, match=r"accuracy\.json: is not JSON"):
        RunFolder(path).eval()


def test_the_newest_run(make_run, tmp_path):
    make_run("20260101T000000Z-a")
    path = make_run("20260102T000000Z-a")
    (tmp_path / "results" / "20260103T000000Z-empty").mkdir()
    assert newest(tmp_path / "results") == path
    with pytest.raises(ConfigError, match="holds no run"):
        newest(tmp_path)


def test_an_older_run_that_knew_less_is_read(make_run):
    path = make_run("a")
    run = json.loads((path / "run.json").read_text())
    del run["host"], run["labels"]
    (path / "run.json").write_text(json.dumps(run))
    assert RunFolder(path).run.status == "complete"


HEAD = "level,repeat,stage,request_id,outcome,scheduled_seconds,sent_seconds,output_tokens,reused"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["c1", "c8"]),
            st.sampled_from([1, 2]),
            st.sampled_from(["window", "drain"]),
            st.floats(0, 1e4).map(lambda seconds: round(seconds, 9)),
            st.none() | st.integers(0, 10**6),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.sampled_from([1, 3, 4096]),
)
def test_rows_are_read_in_chunks_as_a_slow_reader_reads_them(made, chunk):
    lines = [
        f"{level},{repeat},{stage},id-{place},ok,{seconds:.9f},,"
        f"{'' if tokens is None else tokens},{int(reused)}"
        for place, (level, repeat, stage, seconds, tokens, reused) in enumerate(made)
    ]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchcore.runs.tables._ROWS", chunk)
        path = Path(name) / "requests.csv"
        path.write_text("\n".join([HEAD, *lines, "c1,1,window,cut"]))
        found = read_requests(path)
    for level in ("c1", "c8"):
        for repeat in (1, 2):
            rows = [(place, row) for place, row in enumerate(made) if row[:2] == (level, repeat)]
            if not rows:
                assert (level, repeat) not in found
                continue
            rows.sort(key=lambda one: one[1][3])
            requests = found[level, repeat]
            assert requests.texts["request_id"] == [f"id-{place}" for place, _ in rows]
            assert list(requests.second("scheduled_seconds")) == [row[3] for _, row in rows]
            assert np.isnan(requests.second("sent_seconds")).all()
            assert np.isnan(requests.second("end_seconds")).all()
            tokens = [np.nan if row[4] is None else row[4] for _, row in rows]
            assert requests.number("output_tokens").tolist() == pytest.approx(tokens, nan_ok=True)
            assert requests.number("reused").tolist() == [row[5] for _, row in rows]
            assert requests.measured.tolist() == [row[2] == "window" for _, row in rows]
            assert np.isnan(requests.number("turn")).all()


def test_the_rows_of_the_last_level_are_read_from_where_it_begins(tmp_path):
    path = tmp_path / "requests.csv"
    first = "".join(f"c1,1,window,é-{place},ok,{place}.0,,1,0\n" for place in range(3))
    path.write_text(f"{HEAD}\n{first}")
    begin = path.stat().st_size
    with path.open("a") as file:
        file.write("".join(f"c2,1,window,ü-{place},ok,{place}.5,,1,0\n" for place in range(2)))
    found = read_requests(path, begin)
    assert set(found) == {("c2", 1)}
    assert found["c2", 1].texts["request_id"] == ["ü-0", "ü-1"]
    assert set(read_requests(path)) == {("c1", 1), ("c2", 1)}
