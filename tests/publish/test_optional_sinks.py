"""Optional sinks: there where they are named, and nowhere else."""

from importlib.metadata import EntryPoint

import pytest

from benchcore.base import plugins
from benchcore.base.errors import ConfigError
from benchcore.runs.run_json import JsonLinesSink
from benchcore.runs.sinks import FanOut, QuietSink, SinkOptions, installed_sinks

HERE = "tests.publish.test_optional_sinks"


class Plain:
    """A sink of somebody who has not heard of optional ones."""


def made():
    return QuietSink()


@pytest.fixture
def installed(monkeypatch):
    """Some sinks of benchcore and of others, and what takes more of them."""
    points = {
        "csv": "benchcore.runs.tables:SummaryCsvSink",
        "jsonl": "benchcore.runs.run_json:JsonLinesSink",
        "openmetrics": "benchcore.publish.prometheus:OpenMetricsSink",
        "otlp": "benchcore.publish.otlp:OtlpSink",
        "made": f"{HERE}:made",
        "plain": f"{HERE}:Plain",
    }
    found = [EntryPoint(name, value, "benchcore.sinks") for name, value in points.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: found)
    return found


def test_optional_ones_are_left_out(installed):
    assert list(installed_sinks()) == ["csv", "made", "plain"]


def test_those_that_are_named_are_there_each_once(installed, monkeypatch):
    monkeypatch.delenv("BENCHCORE_TEXTFILE_DIR", raising=False)
    found = installed_sinks(["openmetrics", "jsonl", "csv", "jsonl"])
    assert list(found) == ["csv", "jsonl", "made", "openmetrics", "plain"]
    assert isinstance(found["jsonl"], JsonLinesSink)
    assert installed_sinks(["jsonl"])["jsonl"] is not found["jsonl"]


def test_a_name_that_is_not_known_is_told_with_the_nearest(installed):
    with pytest.raises(ConfigError, match=r"^--sink jsonll: is not known; did you mean jsonl\?$"):
        installed_sinks(["csv", "jsonll"])
    says = "^--sink x: is not known; known are csv, jsonl, made, openmetrics, otlp, plain$"
    with pytest.raises(ConfigError, match=says):
        installed_sinks(["x"])


def test_one_that_cannot_be_loaded_is_told_and_not_an_internal_fault(installed):
    installed.append(EntryPoint("gone", f"{HERE}:Gone", "benchcore.sinks"))
    with pytest.raises(ConfigError, match=rf"^sink gone of {HERE}:Gone: cannot be loaded: Attrib"):
        installed_sinks()


class Told(QuietSink):
    """Notes what it hears; opening it may go wrong."""

    def __init__(self, wrong=None):
        super().__init__()
        self.wrong = wrong
        self.calls = []

    def open(self, *_args):
        self.calls.append("open")
        if self.wrong is not None:
            raise self.wrong

    def requests(self, _rows):
        self.calls.append("requests")

    def close(self, _run):
        self.calls.append("close")


def test_a_sink_that_was_not_opened_is_not_closed(tmp_path):
    full, good = Told(OSError(28, "No space left on device")), Told()
    sinks = FanOut({"full": full, "good": good})
    sinks.open(None, tmp_path, SinkOptions())
    sinks.requests([])
    sinks.close(None)
    assert full.calls == ["open"]
    assert good.calls == ["open", "requests", "close"]
    assert sinks.problems == {"full": "full: No space left on device"}


def test_what_cannot_work_ends_the_opening_and_those_before_it_are_closed(tmp_path):
    before, wrong, after = Told(), Told(ConfigError("no endpoint")), Told()
    sinks = FanOut({"a": before, "b": wrong, "c": after})
    with pytest.raises(ConfigError, match="no endpoint"):
        sinks.open(None, tmp_path, SinkOptions())
    sinks.close(None)
    assert before.calls == ["open", "close"]
    assert wrong.calls == ["open"]
    assert after.calls == []
