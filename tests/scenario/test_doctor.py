"""The doctor: what it looks at, and what it says of a planned load."""

import json
import resource

import pytest

from benchcore.metrics.validity import Evidence, Validity
from benchcore.scenario import doctor
from benchcore.scenario.doctor import Ceiling, ceiling, check_ceiling, check_plan


class Level:
    """What `ceiling` looks at of a level."""

    def __init__(self, cpu, requests, tokens, validity=None):
        self.evidence = Evidence(cpu_share=cpu)
        self.request_throughput = requests
        self.output_token_throughput = tokens
        judged = validity or Validity("valid")
        self.verdict, self.reasons = judged.verdict, judged.reasons


def test_the_ceiling_solves_for_the_cost_of_a_token_and_of_a_request():
    # 100 µs a request and 10 µs a token.
    short = Level(1000 * 100e-6 + 1000 * 10e-6, 1000.0, 1000.0)
    long = Level(30 * 100e-6 + 6000 * 10e-6, 30.0, 6000.0)
    found = ceiling(short, long)
    assert found.cpu_per_request == pytest.approx(100e-6)
    assert found.cpu_per_token == pytest.approx(10e-6)
    assert found.tokens_per_second == pytest.approx(90_000)
    assert found.requests_per_second == pytest.approx(0.9 / 110e-6)


@pytest.mark.parametrize(
    ("streams", "tps", "ok", "advice"),
    [
        (512, 60, True, ""),
        (1000, 60, False, "tight: leave the machine to benchcore alone, with the server elsewhere"),
        (
            2000,
            60,
            False,
            "too much for one process: give climb --workers 3",
        ),
    ],
)
def test_a_planned_load_is_held_against_the_ceiling(monkeypatch, streams, tps, ok, advice):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 100_000))
    monkeypatch.setattr(doctor, "most_workers", lambda: 7)
    finding = check_plan(Ceiling(10e-6, 100e-6), streams, tps)
    assert (finding.ok, finding.advice) == (ok, advice)
    share = streams * tps / 90_000
    assert finding.found == (
        f"{streams} streams × {tps} tokens/s = {streams * tps:,} tokens/s: "
        f"{share:.0%} of the ceiling"
    )


def test_a_planned_load_above_all_workers_is_for_more_machines(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 100_000))
    monkeypatch.setattr(doctor, "most_workers", lambda: 1)
    finding = check_plan(Ceiling(10e-6, 100e-6), 2000, 60)
    assert finding.advice == "too much for this machine: split it over several"


def test_a_planned_load_that_needs_more_open_files_than_there_may_be(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 300))
    finding = check_plan(Ceiling(10e-6, 100e-6), 250, 1)
    assert not finding.ok
    assert finding.advice == "250 connections pass the limit of 300 open files"


def test_an_unsound_trial_is_told():
    level = Level(0.5, 1, 1, Validity("suspect", ["cpu: busy"]))
    *_, trial = check_ceiling(Ceiling(10e-6, 100e-6), level)
    assert (trial.ok, trial.advice) == (False, "cpu: busy")


@pytest.mark.parametrize(
    ("hard", "ok"), [(resource.RLIM_INFINITY, True), (65_536, True), (1024, False)]
)
def test_open_files(monkeypatch, hard, ok):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, hard))
    (finding,) = [found for found in doctor.check_machine() if found.what == "open files"]
    assert finding.ok is ok


@pytest.mark.parametrize(("source", "ok"), [("tsc", True), ("hpet", False), (None, True)])
def test_the_clock_source(monkeypatch, source, ok):
    monkeypatch.setattr(doctor, "clock_source", lambda: source)
    (finding,) = [found for found in doctor.check_machine() if found.what == "clock source"]
    assert finding.ok is ok


async def test_stamps_that_do_not_come_are_told(monkeypatch):
    class Deaf(doctor.Stamper):
        def attach(self, _sock):
            return False

    monkeypatch.setattr(doctor, "Stamper", Deaf)
    finding = await doctor.check_stamps()
    assert not finding.ok
    assert finding.found == "0 of 20 first reads stamped by the kernel"


@pytest.mark.integration
def test_the_command_looks_at_everything(benchcore, tmp_path):
    asked = ("--seconds", "1", "--concurrency", "16", "--tps", "10", "--json")
    done = benchcore.run("doctor", *asked, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (tmp_path / "cache" / "benchcore" / "ceiling.json").exists()
    assert [finding["what"] for finding in found] == [
        "processors",
        "clock source",
        "open files",
        "reader",
        "receive stamps",
        "timers",
        "processor time",
        "ceiling",
        "with workers",
        "trial level",
        "kept for climbs",
        "planned load",
    ]
    text = benchcore.run("doctor", "--seconds", "0").stdout
    assert "receive stamps" in text
    assert "ceiling" not in text


@pytest.mark.integration
@pytest.mark.parametrize(
    "args", [("--concurrency", "4"), ("--concurrency", "4", "--tps", "1", "--seconds", "0")]
)
def test_half_a_plan_is_refused(benchcore, args):
    done = benchcore.run("doctor", *args)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
