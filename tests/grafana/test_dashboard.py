"""The dashboard's file: what made it, its form, and what it asks for."""

import itertools
import json
import re
import runpy
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from benchcore.publish.prometheus import run_metrics
from benchcore.runs.checks import Checks
from benchcore.runs.run import Run
from benchcore.runs.samples import Eval

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
BOARD = json.loads((GRAFANA / "benchcore.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
CONTRACT = {
    *("ttft_seconds", "ttft_from_schedule_seconds", "itl_seconds", "tpot_seconds", "e2e_seconds"),
    *("request_throughput", "output_token_throughput", "goodput", "goodput_ratio"),
    *("failure_ratio", "valid", "run_timestamp_seconds"),
    *("functional_cases", "functional_cases_passed", "functional_cases_failed"),
    *("functional_pass_ratio", "functional_case_pass"),
    *("accuracy_score", "accuracy_stderr", "accuracy_samples"),
}
"""Names of section 8 of the contract, without their prefix."""
LABELS = {
    *("model", "quant", "scenario", "run_type", "instance", "workload", "level", "mode"),
    *("quantile", "suite", "case_id", "task"),
}


def test_the_names_are_those_that_a_run_is_pushed_with():
    quantiles = dict.fromkeys(("p50", "p99"), 0.1)
    level = {
        "level": "c1",
        "repeat": 1,
        "workload": "short",
        "mode": "closed",
        "validity": "valid",
        "metrics": dict.fromkeys(("ttft", "ttft_from_schedule", "itl", "tpot", "e2e"), quantiles),
        **dict.fromkeys(("request_throughput", "output_token_throughput", "goodput"), 1.0),
        **dict.fromkeys(("goodput_ratio", "failure_rate"), 0.5),
    }
    checks = {
        "summary": {"pass": 1, "flaky": 0, "fail": 0, "pass_ratio": 1.0},
        "results": [{"suite": "sse", "case_id": "sse.framing", "verdict": "pass"}],
    }
    score = {"task": "gpqa", "score": 0.5, "stderr": 0.1, "n": 198}
    head = {"schema_version": 1, "status": "complete", "started_at": "2026-11-21T00:00:00Z"}
    run = Run.model_validate({**head, "levels": [level]})
    told = Checks.model_validate(checks), Eval.model_validate(score)
    families = list(run_metrics(run, *told, prefix="").collect())
    assert {family.name for family in families} == CONTRACT
    assert {name for one in families for sample in one.samples for name in sample.labels} == LABELS


def test_the_file_is_what_the_description_prints():
    done = subprocess.run(
        [sys.executable, GRAFANA / "dashboard.py"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stdout == (GRAFANA / "benchcore.json").read_text()


def of_type(value, hint, where):
    """Check a value against its declared type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        likely = [one for one in args if is_a(value, typing.get_origin(one) or one)]
        assert likely, f"{where}: {value!r} is no {hint}"
        of_type(value, likely[0], where)
    elif origin is typing.Literal:
        assert value in args, f"{where}: {value!r} is no {hint}"
    elif origin in (list, dict):
        assert isinstance(value, origin), f"{where}: {value!r} is no {hint}"
        for key, one in value.items() if origin is dict else enumerate(value):
            of_type(one, args[-1], f"{where}.{key}")
    elif hint not in (typing.Any, object):
        assert is_a(value, hint), f"{where}: {value!r} is no {hint}"
        well_typed(value, where)


def is_a(value, kind):
    if isinstance(value, bool):
        return kind in (bool, object, typing.Literal)
    if kind is typing.Literal:
        return True  # which of them is for the caller to see
    return isinstance(value, int | float if kind is float else kind)


def well_typed(value, where="dashboard"):
    """Check the fields of one of Grafana's types against their declarations."""
    if type(value).__module__.startswith("grafana_foundation_sdk.models") and hasattr(
        value, "to_json"
    ):
        for name, hint in typing.get_type_hints(type(value)).items():
            of_type(getattr(value, name), hint, f"{where}.{name}")


def test_the_dashboard_is_of_grafanas_own_types():
    """The SDK generates them from Grafana's schemas; a field that they do not know gets lost."""
    built = runpy.run_path(str(GRAFANA / "dashboard.py"))["build"]()
    well_typed(built)
    for panel in built.panels:
        if isinstance(panel, models.Panel):
            well_typed(panel.options)
            well_typed(panel.field_config.defaults.custom)
    register_default_plugins()
    read = models.Dashboard.from_json(json.loads((GRAFANA / "benchcore.json").read_text()))
    assert json.loads(JSONEncoder().encode(read)) == BOARD


@pytest.mark.parametrize(
    ("field", "value"), [("title", 1), ("grid_pos", "left"), ("panels", [1]), ("refresh", True)]
)
def test_another_type_is_noticed(field, value):
    built = runpy.run_path(str(GRAFANA / "dashboard.py"))["build"]()
    setattr(built.panels[1] if field == "grid_pos" else built, field, value)
    with pytest.raises(AssertionError, match=field):
        well_typed(built)


def test_a_field_that_grafana_does_not_know_is_noticed():
    register_default_plugins()
    wrong = json.loads((GRAFANA / "benchcore.json").read_text())
    wrong["panels"][1]["targets"][0]["expression"] = "up"
    read = models.Dashboard.from_json(wrong)
    assert json.loads(JSONEncoder().encode(read)) == BOARD


def test_panels_have_ids_titles_descriptions_and_units():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert len({panel["title"] for panel in BOARD["panels"]}) == len(ids)
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        unit = panel["fieldConfig"]["defaults"].get("unit", "none")
        assert unit in known or unit.startswith("suffix:"), panel["title"]


def test_panels_do_not_overlap_and_fill_their_rows():
    taken = {}
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        for cell in itertools.product(
            range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        ):
            assert cell not in taken, (panel["title"], taken[cell])
            taken[cell] = panel["title"]
    width, height = (max(places) + 1 for places in zip(*taken, strict=True))
    assert width == 24
    assert len(taken) == width * height, "there is a hole"


def test_validity_is_shown_first():
    assert PANELS[0]["title"] == "Valid, by level"
    assert PANELS[0]["targets"][0]["expr"].startswith("${metric_prefix}valid{")


@pytest.mark.parametrize(("title", "expr"), QUERIES)
def test_a_query_names_only_metrics_and_labels_of_the_contract(title, expr):
    named = re.findall(r"(\S*?)(\w+)\{([^}]*)\}", expr.replace("${metric_prefix}", "PREFIX:"))
    assert named
    for before, name, selector in named:
        assert before.endswith("PREFIX:")
        assert name in CONTRACT
        matchers = re.findall(r'(\w+)=~"\$(\w+)"(?:,|$)', selector)
        assert len(matchers) == selector.count("=")
        assert all(label == variable for label, variable in matchers)
        assert {label for label, _ in matchers} <= LABELS
    assert expr.count("${metric_prefix}") == len(named)
    for names in re.findall(r" by \(([^)]*)\)", expr):
        assert set(names.split(", ")) <= LABELS


def test_every_metric_of_the_contract_is_shown():
    shown = {name for _, expr in QUERIES for name in re.findall(r"metric_prefix}(\w+)\{", expr)}
    assert shown == CONTRACT


def test_the_variables():
    found = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert list(found) == [
        *("datasource", "metric_prefix", "model", "quant", "scenario", "run_type", "instance"),
        *("workload", "level", "quantile"),
    ]
    assert found["metric_prefix"]["type"] == "textbox"
    assert found["metric_prefix"]["query"] == "benchcore_"
    assert found["quantile"]["query"] == "0.5,0.75,0.9,0.95,0.99,0.999"
    multiple = [name for name, one in found.items() if one.get("multi")]
    assert multiple == list(found)[2:]
    used = {name for _, expr in QUERIES for name in re.findall(r"\$\{?(\w+)", expr)}
    assert used | {"datasource"} == set(found)


def test_the_page_of_the_documentation_names_every_metric_and_label():
    page = (ROOT / "docs" / "grafana.md").read_text()
    named = re.findall(r"`(\w+)`", page)
    assert set(named) >= CONTRACT | LABELS
