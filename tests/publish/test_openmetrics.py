"""`metrics.prom`: what node_exporter's textfile collector takes, and where it is laid."""

import os
import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

import benchcore
from benchcore.base.errors import ConfigError
from benchcore.publish.prometheus import DIRECTORY, OpenMetricsSink, textfile_name
from benchcore.runs.run import Level, Run
from benchcore.runs.sinks import SinkOptions
from tests.publish.test_push import RUN, run_of

PROMTOOL = shutil.which("promtool")


def run_with(kind="server", **changes):
    """A run with levels as `run.json` has them."""
    target = {"kind": kind, "model": "org/model"}
    return Run.model_validate({**RUN, "target": target, "levels": [], **changes})


def written(text):
    return {
        (sample.name, sample.labels.get("level"), sample.labels.get("quantile")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_grows_with_every_level_and_stands_at_the_end(tmp_path, monkeypatch):
    monkeypatch.delenv(DIRECTORY, raising=False)
    run, sink, path = run_with(), OpenMetricsSink(), tmp_path / "metrics.prom"
    sink.open(run, tmp_path, SinkOptions())
    assert not path.exists()
    (level,) = RUN["levels"]
    run.levels.append(Level.model_validate(level))
    sink.level(run, None)
    assert written(path.read_text())["benchcore_ttft_seconds", "c64", "0.99"] == 0.09
    changed = {**level, "level": "c128", "request_throughput": 20.0}
    run.levels.append(Level.model_validate(changed))
    sink.level(run, None)
    assert written(path.read_text())["benchcore_request_throughput", "c128", None] == 20.0
    path.unlink()
    sink.close(run)
    assert written(path.read_text())["benchcore_request_throughput", "c64", None] == 12.5
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.prom"]


def closed(folder, run=None, **options):
    run = run or run_with(levels=RUN["levels"])
    sink = OpenMetricsSink()
    sink.open(run, folder, SinkOptions(**options))
    sink.close(run)
    return (folder / "metrics.prom").read_text()


def test_it_is_the_text_format_without_time_stamps(tmp_path, monkeypatch):
    monkeypatch.delenv(DIRECTORY, raising=False)
    text = closed(tmp_path)
    assert text.endswith("\n")
    for line in text.splitlines():
        # A name, labels, one value: a third word would be a time stamp, and the file is skipped.
        assert re.fullmatch(r'# (HELP|TYPE) .*|\w+\{(\w+="[^"]*",?)*\} [-+.e\d]+', line)
    # OpenMetrics' own marks, which the format has not.
    assert "# EOF" not in text
    assert "# UNIT" not in text


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool")
def test_prometheus_own_tool_can_read_it(tmp_path, monkeypatch):
    monkeypatch.delenv(DIRECTORY, raising=False)
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=closed(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_copy_lies_where_the_variable_says(tmp_path, monkeypatch):
    folder, textfiles = tmp_path / "run", tmp_path / "textfiles"
    folder.mkdir()
    textfiles.mkdir()
    monkeypatch.setenv(DIRECTORY, str(textfiles))
    text = closed(folder)
    (copy,) = textfiles.iterdir()
    assert copy.name == textfile_name(run_of(RUN)) == "benchcore-chat-org-model-9c5b2362.prom"
    assert copy.read_text() == text
    # The next run of the same takes its place: two files with one series fail the scrape.
    closed(folder, run_with(levels=[]))
    (copy,) = textfiles.iterdir()
    assert "c64" not in copy.read_text()
    closed(folder, run_with(labels={"scenario": "rag"}))
    assert len(list(textfiles.iterdir())) == 2


def test_names_of_files_are_plain_and_differ_where_the_labels_do():
    def name(**labels):
        return textfile_name(
            run_of({**RUN, "name": None, "target": {}, "host": {}, "labels": labels})
        )

    assert re.fullmatch(r"benchcore-run-[0-9a-f]{8}\.prom", name())
    assert re.fullmatch(r"benchcore-a--b-[0-9a-f]{8}\.prom", name(scenario="../a/", model="b"))
    assert name(scenario="a b") != name(scenario="a/b")
    assert name(quant="fp8") != name(quant="int4")
    assert name(run_type="daily") == name(run_type="weekly")
    assert len(name(model="m" * 500)) < 110


def test_a_folder_that_is_not_there_is_told_before_the_load(tmp_path, monkeypatch):
    for path in (tmp_path / "gone", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        (tmp_path / "file").chmod(0o755)
        monkeypatch.setenv(DIRECTORY, str(path))
        with pytest.raises(ConfigError) as told:
            OpenMetricsSink()
        assert str(told.value) == (
            f"BENCHCORE_TEXTFILE_DIR: {path} is not a folder that can be written; make it, or "
            "unset the variable"
        )


def test_a_folder_that_goes_away_is_told_with_its_name(tmp_path, monkeypatch):
    textfiles = tmp_path / "textfiles"
    textfiles.mkdir()
    monkeypatch.setenv(DIRECTORY, str(textfiles))
    sink, run = OpenMetricsSink(), run_with()
    sink.open(run, tmp_path, SinkOptions())
    os.rmdir(textfiles)
    with pytest.raises(OSError, match=f"{textfiles}/benchcore-.*.prom: No such file") as told:
        sink.close(run)
    assert told.value.strerror is None
    assert (tmp_path / "metrics.prom").exists()


def test_the_simulators_figures_stay_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    with pytest.raises(ConfigError, match="comes from the simulator, whose figures belong on no"):
        closed(tmp_path, run_with("simulator"))
    assert list(tmp_path.iterdir()) == []
    closed(tmp_path, run_with("simulator"), allow_simulator=True)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.delenv(DIRECTORY)
    closed(tmp_path, run_with("simulator"))


@pytest.mark.integration
async def test_a_climb_leaves_its_figures_there(simulator, tmp_path, monkeypatch):
    textfiles = tmp_path / "textfiles"
    textfiles.mkdir()
    monkeypatch.setenv(DIRECTORY, str(textfiles))
    run = await benchcore.climb(
        benchcore.Target(simulator.base_url),
        concurrency=[1, 3],
        requests=25,
        idle_seconds=0,
        output=tmp_path / "results",
        sinks=["openmetrics"],
        workload=benchcore.Synthetic(input_tokens=16, output_tokens=6, seed=1),
    )
    (copy,) = textfiles.iterdir()
    assert copy.read_bytes() == (run.folder / "metrics.prom").read_bytes()
    found = written(copy.read_text())
    for level in run.levels:
        assert found["benchcore_ttft_seconds", level.level, "0.99"] == level.ttft.p99
        assert found["benchcore_request_throughput", level.level, None] == level.request_throughput
