"""`benchcore push --from-csv` as a user types it, with a real Pushgateway where it is sent."""

import json
import shutil
import urllib.request
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from benchcore.base.errors import ConfigError
from benchcore.cli.push import push
from tests.publish.test_mapped_metrics import TABLE
from tests.publish.test_push import RUN, gateway  # noqa: F401

MAP = Path(__file__).parent.parent / "publish" / "maps" / "vllm.yaml"
NOWHERE = "http://127.0.0.1:1"
SUMMARY_MAP = """\
labels: {scenario: {column: workload}, level: {column: level}}
metrics:
  - {metric: ttft_seconds, quantile: 0.5, column: ttft_seconds_p50}
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the command in a folder with a table and its map."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROM_PUSHGATEWAY_URL", raising=False)
    Path("bench.csv").write_text(TABLE)
    shutil.copy(MAP, "vllm.yaml")

    def run(*args):
        done = CliRunner().invoke(push, list(map(str, args)), standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        assert done.return_value == 0
        return done.output

    return run


FROM = ("--from-csv", "bench.csv", "--map", "vllm.yaml")


def test_the_renamed_metrics_are_printed(call):
    lines = call(*FROM, "--print", "--prefix", "").splitlines()
    assert lines[:3] == [
        "# HELP ttft_seconds Time to first token (TTFT).",
        "# TYPE ttft_seconds untyped",
        (
            'ttft_seconds{instance="",level="c1",mode="closed",model="org/model",quant="",'
            'quantile="0.5",run_type="",scenario="nightly",workload="sharegpt"} 0.0123'
        ),
    ]
    assert sum(not line.startswith("#") for line in lines) == 11


def test_a_dry_run_says_what_would_be_sent_where(call):
    assert call(*FROM, "--dry-run", "--url", NOWHERE, "--job", "nightly") == (
        "would push 11 series of bench.csv to http://127.0.0.1:1 under "
        '{job="nightly", scenario="nightly", model="org/model"}\n'
    )


@pytest.mark.parametrize(
    ("args", "error", "says"),
    [
        ((), ConfigError, "results: holds no run; name one, or measure one with benchcore climb"),
        (("run", *FROM), click.UsageError, "give RUN, or --from-csv FILE and --map MAP instead"),
        (FROM[:2], click.UsageError, "--from-csv needs --map MAP"),
        (("run", *FROM[2:]), click.UsageError, "--map needs --from-csv"),
        (FROM, click.UsageError, "no Pushgateway is named"),
        ((*FROM, "--prefix", "9"), ConfigError, "--prefix '9': cannot begin"),
        ((*FROM[:3], "gone.yaml"), ConfigError, "gone.yaml: No such file"),
        (("--from-csv", "gone.csv", *FROM[2:]), ConfigError, "gone.csv: No such file"),
    ],
)
def test_what_cannot_be_done_is_told(call, args, error, says):
    with pytest.raises(error) as told:
        call(*args)
    assert says in str(told.value)


def test_the_simulators_table_is_not_pushed_by_accident(call):
    from benchcore.cli.sim import sim

    done = CliRunner().invoke(sim, ["--csv", "sim.csv", "--csv-levels", "c1"])
    assert done.exit_code == 0, done.output
    Path("map.yaml").write_text(SUMMARY_MAP)
    args = ("--from-csv", "sim.csv", "--map", "map.yaml", "--url", NOWHERE, "--dry-run")
    with pytest.raises(ConfigError, match=r"sim.csv: comes from the simulator; --allow-simulator"):
        call(*args)
    assert call(*args, "--allow-simulator").startswith("would push 1 series of sim.csv")
    assert 'level="c1"' in call(*args[:4], "--print")


def test_a_run_is_pushed_as_ever(call):
    Path("run").mkdir()
    Path("run/run.json").write_text(json.dumps(RUN))
    said = call("run", "--url", NOWHERE, "--dry-run")
    assert said.startswith("would push 16 series of run to http://127.0.0.1:1 under {job=")
    assert "\nbenchcore_valid{" in call("run", "--print")


@pytest.mark.integration
def test_a_real_gateway_holds_it_under_its_key(call, gateway):  # noqa: F811
    assert call(*FROM, "--url", gateway) == (
        f"pushed 11 series of bench.csv to {gateway} under "
        '{job="benchcore", scenario="nightly", model="org/model"}\n'
    )

    def held(name="benchcore_"):
        text = urllib.request.urlopen(f"{gateway}/metrics", timeout=600).read().decode()
        return [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith(name)
        ]

    assert len(held()) == 11
    (pushed,) = held("push_time_seconds")
    assert {name: text for name, text in pushed.labels.items() if text} == {
        "job": "benchcore",
        "scenario": "nightly",
        "model": "org/model",
    }
    (slow,) = [
        one
        for one in held()
        if one.labels.get("quantile") == "0.99"
        and (one.name, one.labels["level"]) == ("benchcore_ttft_seconds", "c64")
    ]
    assert slow.value == 0.25025
    assert slow.labels["job"] == "benchcore"
    assert slow.labels["model"] == "org/model"
    # The next table of the same replaces it: a level that is gone leaves no series.
    Path("bench.csv").write_text("".join(TABLE.splitlines(keepends=True)[:2]))
    call(*FROM, "--url", gateway)
    assert {one.labels["level"] for one in held()} == {"c1"}
