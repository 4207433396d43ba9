"""`server_metrics.csv.gz`: what is written while a run goes on can be read back."""

import csv
import gzip

import numpy as np
import pytest

from benchcore.base.errors import ConfigError
from benchcore.base.secrets import hide, hiding
from benchcore.observe.families import PageReader
from benchcore.observe.scraper import Page
from benchcore.runs.run import Run
from benchcore.runs.server_metrics import (
    SERVER_METRICS,
    ServerMetricsSink,
    read_server_metrics,
    sums_at,
)
from benchcore.runs.sinks import SinkOptions

RUN = Run.begun("r1", "2026-11-28T00:00:00Z")


@pytest.fixture
def sink(tmp_path):
    made = ServerMetricsSink()
    made.open(RUN, tmp_path, SinkOptions())
    return made


class Source:
    def __init__(self, sink, name):
        self.sink, self.name, self.reader = sink, name, PageReader()

    def read(self, at, page):
        changes = self.reader.read(page)
        self.sink.server_metrics(Page(self.name, 0, self.reader.series, changes), at)


def rows(folder):
    return [
        (one.time, one.source, one.name, one.labels, one.value)
        for one in read_server_metrics(folder / SERVER_METRICS)
    ]


def test_changes_are_read_back_as_they_came(sink, tmp_path):
    first, second = Source(sink, "http://a"), Source(sink, "http://b:9400/gpu")
    first.read(1.5, b'x{l="a \\"b\\", c"} 1\ny 2\n')
    second.read(1.6, b"x 7e9\n")
    first.read(2.5, b'x{l="a \\"b\\", c"} 1\ny 3\n')
    first.read(3.25, b"y 3\n")
    sink.close(RUN)
    assert rows(tmp_path) == [
        (1.5, "http://a", "x", 'l="a \\"b\\", c"', 1.0),
        (1.5, "http://a", "y", "", 2.0),
        (1.6, "http://b:9400/gpu", "x", "", 7e9),
        (2.5, "http://a", "y", "", 3.0),
        (3.25, "http://a", "x", 'l="a \\"b\\", c"', None),
    ]
    lines = gzip.decompress((tmp_path / SERVER_METRICS).read_bytes()).decode().splitlines()
    assert lines[0] == "time,source,name,labels,value"
    assert lines[2] == "1.500000,http://a,y,,2"


def test_after_a_flush_everything_is_there_without_an_end(sink, tmp_path):
    source = Source(sink, "a")
    source.read(1.0, b"x 1\n")
    sink.flush()
    source.read(2.0, b"x 2\n")
    sink.flush()
    source.read(3.0, b"x 3\n")
    assert [row[-1] for row in rows(tmp_path)] == [1.0, 2.0]
    # What was cut in the middle of a flush is passed over.
    path = tmp_path / SERVER_METRICS
    path.write_bytes(path.read_bytes()[:-7])
    assert [row[-1] for row in rows(tmp_path)] == [1.0]


def test_without_a_page_there_is_no_file(sink, tmp_path):
    sink.flush()
    sink.close(RUN)
    assert list(tmp_path.iterdir()) == []


def test_a_secret_in_a_label_is_masked(sink, tmp_path):
    with hiding():
        hide(["sk-very-secret"])
        Source(sink, "a").read(1.0, b'x{key="sk-very-secret"} 1\n')
    sink.close(RUN)
    assert rows(tmp_path) == [(1.0, "a", "x", 'key="***"', 1.0)]


@pytest.mark.parametrize("data", [b"time,source\n", b"\x1f\x8b\x08\x00nothing at all of gzip's"])
def test_what_is_no_such_file_is_refused(tmp_path, data):
    path = tmp_path / SERVER_METRICS
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"server_metrics\.csv\.gz: cannot be read"):
        list(read_server_metrics(path))


def test_only_the_names_that_are_wanted_are_read(sink, tmp_path):
    Source(sink, "a").read(1.0, b"x 1\ny 2\n")
    sink.close(RUN)
    wanted = read_server_metrics(tmp_path / SERVER_METRICS, lambda name: name == "y")
    assert [one.name for one in wanted] == ["y"]


def test_a_label_may_be_as_long_as_a_page(sink, tmp_path):
    csv.field_size_limit(131_072)
    label = b"y" * 1_000_000
    Source(sink, "http://a").read(1, b'x{l="%s"} 1\n' % label)
    sink.close(RUN)
    ((*_, labels, value),) = rows(tmp_path)
    assert (labels, value) == (f'l="{label.decode()}"', 1.0)


def test_what_is_infinite_is_in_no_sum(sink, tmp_path):
    source = Source(sink, "http://a")
    source.read(1, b'x{l="1"} 1\nx{l="2"} 2\n')
    source.read(2, b'x{l="1"} 1\nx{l="2"} +Inf\n')
    sink.close(RUN)
    sums = sums_at(tmp_path / SERVER_METRICS, {"all": ["x"]}, np.array([1.5, 2.5]))
    assert sums["all"].tolist() == [3.0, 1.0]
