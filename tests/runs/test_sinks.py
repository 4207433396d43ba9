"""Sinks: what they write of a run, read back by other means."""

import csv
import io
import json
import math
import os

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

import benchcore
from benchcore.base.files import each_file
from benchcore.client.records import Outcome
from benchcore.metrics.percentiles import QUANTILES
from benchcore.runs.run_json import dump
from benchcore.runs.sinks import (
    FanOut,
    LevelHead,
    QuietSink,
    RequestRow,
    SinkOptions,
    histogram_log,
    installed_sinks,
    tag,
)
from benchcore.runs.tables import SUMMARY, SummaryCsvSink

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def run(simulator):
    import asyncio

    async def climb():
        return await benchcore.climb(
            benchcore.Target(simulator.base_url),
            concurrency=[1, 3],
            repeats=2,
            requests=25,
            idle_seconds=0,
            workload=benchcore.Synthetic(input_tokens=16, output_tokens=6, seed=1),
        )

    return asyncio.run(climb())


def test_the_built_in_sinks_are_found_by_their_entry_points():
    assert list(installed_sinks()) == ["csv", "events", "hlog", "json", "server-metrics"]


def test_a_run_is_saved_after_the_fact(run, tmp_path):
    folder = run.save(tmp_path, "later")
    assert json.loads((folder / "run.json").read_bytes()) == json.loads(dump(run.to_json()))
    with (folder / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 25
    assert [(row["level"], row["repeat"]) for row in rows[::25]] == [
        ("c1", "1"),
        ("c3", "1"),
        ("c1", "2"),
        ("c3", "2"),
    ]
    for row in rows:
        assert float(row["scheduled_seconds"]) <= float(row["sent_seconds"])
        assert float(row["sent_seconds"]) < float(row["first_token_seconds"])
        assert float(row["first_token_seconds"]) <= float(row["last_token_seconds"])
    with (folder / "summary.csv").open() as file:
        summary = list(csv.DictReader(file))
    assert tuple(summary[0]) == SUMMARY.names
    assert summary[0]["level"] == "c1"
    assert summary[0]["rate"] == ""
    for row, level in zip(summary, run.levels, strict=True):
        for name in QUANTILES:
            written = float(row[f"e2e_seconds_{name}"])
            assert written == pytest.approx(level.e2e.percentiles[name], rel=1e-8)


def test_the_histogram_log_is_read_by_the_library_and_agrees(run):
    lines = histogram_log(run).decode().splitlines()
    tagged = [line for line in lines if line.startswith("Tag=")]
    found = {}
    for line in tagged:
        name, start, length, peak, encoded = line.split(",")
        found[name.removeprefix("Tag=")] = HdrHistogram.decode(encoded)
        assert float(start) >= 0
        assert float(length) > 0
        assert float(peak) > 0
    names = {"c1", "c3", "c1.2", "c3.2"}
    assert {name.partition("/")[0] for name in found} == names
    assert set(found) == {tag(level, metric) for level in run.levels for metric in level.metrics}
    assert {f"{name}/e2e" for name in names} <= set(found)
    level = run.levels[1]
    hdr = found["c3/ttft"]
    assert hdr.get_total_count() == level.ttft.count == 25
    values = sorted(
        record.first_token_ns - record.sent_ns
        for record in level.records
        if record.outcome is Outcome.OK
    )
    # Three significant digits, at a rank that the library rounds down by at most one.
    near = (values[12], values[11])
    assert any(math.isclose(hdr.get_value_at_percentile(50), v, rel_tol=2e-3) for v in near)


def test_json_holds_no_infinity():
    with pytest.raises(ValueError, match=r"run.levels\[0\].x is inf"):
        dump({"levels": [{"x": math.inf}]})
    with pytest.raises(ValueError, match="nan"):
        dump({"x": float(np.float64("nan"))})
    assert json.loads(dump({"x": None, "y": [1.5]})) == {"x": None, "y": [1.5]}


class Broken:
    """A sink whose disk is full."""

    def __getattr__(self, name):
        def call(*_args):
            raise OSError(28, "No space left on device")

        return call


class Counting:
    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *_args: self.calls.append(name)


def test_a_broken_sink_is_told_once_and_the_others_go_on(tmp_path):
    told = []
    counting = Counting()
    sinks = FanOut({"bad": Broken(), "good": counting}, told.append)
    sinks.open(None, tmp_path, SinkOptions())
    sinks.requests([])
    sinks.flush()
    sinks.level(None, None)
    sinks.close(None)
    assert counting.calls == ["open", "requests", "flush", "level", "close"]
    assert told == ["bad: No space left on device"]
    assert sinks.problems == {"bad": "bad: No space left on device"}


CSV_FILES = ("requests.csv", "timeline.csv", "summary.csv")


def fill(sink, name):
    """Let a file of an open sink meet a full disk from now on, or a folder in its place."""
    if name == "summary.csv":
        (sink.folder / name).unlink()
        (sink.folder / name).mkdir()
        return
    file = {"requests.csv": sink._requests, "timeline.csv": sink._timeline}[name]._file
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fileno())
    os.close(full)


@pytest.mark.parametrize("full", CSV_FILES)
def test_a_file_that_cannot_be_written_does_not_stop_its_siblings(run, tmp_path, full):
    def written(folder, full=None):
        told = []
        folder.mkdir()
        sink = SummaryCsvSink()
        sinks = FanOut({"csv": sink}, told.append)
        sinks.open(run, folder, SinkOptions())
        if full:
            fill(sink, full)
        for level in run.levels:
            head = LevelHead(level.level, level.repeat, level.start_ns)
            sinks.requests([RequestRow(head, record, "window") for record in level.records])
            for row in level.rows:
                sinks.second(head, row)
            sinks.level(run, level)
        sinks.close(run)
        return told

    fault = "Is a directory" if full == "summary.csv" else "No space left on device"
    assert written(tmp_path / "good") == []
    assert written(tmp_path / "bad", full) == [f"csv: {full}: {fault}"]
    for name in set(CSV_FILES) - {full}:
        assert (tmp_path / "bad" / name).read_bytes() == (tmp_path / "good" / name).read_bytes()


def test_every_file_that_is_full_is_told(tmp_path):
    told = []

    class Two(QuietSink):
        def flush(self):
            each_file({"a": self.fail, "b": self.fail, "c": lambda: None})

        def fail(self):
            raise OSError(28, "No space left on device")

    sinks = FanOut({"two": Two()}, told.append)
    sinks.flush()
    sinks.flush()
    assert told == ["two: a: No space left on device", "two: b: No space left on device"]
    assert sinks.problems == {"two": "; ".join(told)}


def test_cells_hold_no_line_of_their_own(run, tmp_path):
    record = run.levels[0].records[0]
    before = record.error
    record.error = 'two\nlines, and "quotes"'
    try:
        folder = run.save(tmp_path)
        with (folder / "requests.csv").open(newline="") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
        assert rows[0]["error"] == 'two lines, and "quotes"'
        assert len(rows) == 100
    finally:
        record.error = before
