import json
import resource
import socket
import sys

import pytest

from benchcore.observe import machine as host


def test_the_facts_of_this_machine_can_be_written():
    facts = host.host_facts()
    assert set(facts) == {
        *("hostname", "system", "kernel", "machine", "processor", "processors"),
        *("clock", "clock_source", "open_files"),
    }
    assert facts["processors"] >= 1
    assert facts["hostname"] == socket.gethostname()
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "processor\t: 0\nmodel name\t: A fast one @ 3 GHz\nmodel name\t: other\n",
            "A fast one @ 3 GHz",
        ),
        ("processor : 0\nFeatures : fp asimd\n", None),
    ],
)
def test_the_processors_name_is_the_kernels(tmp_path, monkeypatch, text, expected):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    monkeypatch.setattr(host, "_CPUINFO", path)
    assert host.processor_name() == expected


def test_a_machine_without_such_files_says_what_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(host, "_CLOCK_SOURCE", tmp_path / "none")
    monkeypatch.setattr(host.platform, "processor", lambda: "arm")
    assert host.processor_name() == "arm"
    monkeypatch.setattr(host.platform, "processor", lambda: "")
    assert host.processor_name() is None
    assert host.clock_source() is None


def test_the_clock_source_is_the_kernels(tmp_path, monkeypatch):
    (tmp_path / "source").write_text("tsc\n")
    monkeypatch.setattr(host, "_CLOCK_SOURCE", tmp_path / "source")
    assert host.clock_source() == "tsc"


def test_processors_are_those_this_process_may_use(monkeypatch):
    if sys.platform == "linux":
        monkeypatch.setattr(host.os, "sched_getaffinity", lambda _pid: {0, 5, 7})
        assert host.usable_processors() == 3
    monkeypatch.setattr(host.sys, "platform", "darwin")
    monkeypatch.setattr(host.os, "cpu_count", lambda: 6)
    assert host.usable_processors() == 6
    monkeypatch.setattr(host.os, "cpu_count", lambda: None)
    assert host.usable_processors() == 1


def test_a_limit_that_is_none_is_null(monkeypatch):
    monkeypatch.setattr(host.resource, "getrlimit", lambda _which: (1024, resource.RLIM_INFINITY))
    assert host.host_facts()["open_files"] == {"soft": 1024, "hard": None}
