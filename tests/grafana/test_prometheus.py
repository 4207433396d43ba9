"""Every query of the dashboard, the rules and what is pushed, against the real programs."""

import json
import math
import re
import socket
from pathlib import Path

import pytest
import yaml

GRAFANA = Path(__file__).parents[2] / "grafana"
BOARD = json.loads((GRAFANA / "benchcore.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {one["name"]: one for one in BOARD["templating"]["list"]}
QUERIED = [name for name, one in VARIABLES.items() if one["type"] == "query"]
ALERTS = [
    rule["alert"]
    for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


def escaped(value):
    """A value as Grafana writes it into a regular expression that stands in a string."""
    return re.sub(r"([\\^$*+?.()|{}\[\]/])", r"\\\\\1", value)


def chosen(**values):
    """The text that Grafana puts for each variable; what is not given is `All`."""
    everything = {name: VARIABLES[name]["allValue"] for name in QUERIED}
    quantiles = VARIABLES["quantile"]["query"].split(",")
    lists = {"quantile": quantiles, **values}
    texts = {name: "(" + "|".join(map(escaped, some)) + ")" for name, some in lists.items()}
    return {"metric_prefix": "benchcore_", **everything, **texts}


def substituted(expr, texts):
    text = re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda found: texts[found[1] or found[2]], expr)
    assert "$" not in text
    return text


@pytest.fixture(scope="session")
def ours(labels):
    """Everything about the run with labels chosen by name."""
    named = {name: [value] for name, value in labels.items()}
    return chosen(**named, workload=["synthetic"], level=["c1", "c4"], quantile=["0.5", "0.99"])


@pytest.mark.integration
@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_of_a_panel_returns_data(prometheus, panel, ours, labels):
    for target in panel["targets"]:
        found = prometheus.query(substituted(target["expr"], ours))
        assert found, target["expr"]
        assert all(math.isfinite(value) for _, value in found)
        for series, _ in found:
            assert {name: series.get(name, value) for name, value in labels.items()} == labels
        # Of all runs: as many again, of the run without labels.
        every = prometheus.query(substituted(target["expr"], chosen(quantile=["0.5", "0.99"])))
        assert len(every) == (1 if target["expr"].startswith("sum(") else 2 * len(found))


@pytest.mark.integration
def test_a_legend_and_a_column_name_labels_that_the_query_has(prometheus, ours):
    for panel in PANELS:
        for target in panel["targets"]:
            series, _ = prometheus.query(substituted(target["expr"], ours))[0]
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(series)
        for one in panel["transformations"]:
            columns = one["options"].get("indexByName", {})
            values = {name for name in columns if name.startswith("Value")}
            assert set(columns) - values <= set(series) if columns else True


@pytest.mark.integration
def test_what_is_compared_is_what_was_there_so_many_days_ago(prometheus, ours):
    by_title = {panel["title"]: panel for panel in PANELS}
    for name in ("Time to first token (TTFT)", "End-to-end latency (e2e)", "Requests"):
        three = by_title[f"{name}: now, a day and a week before"]["targets"]
        now, day, week = (
            sorted(value for _, value in prometheus.query(substituted(one["expr"], ours)))
            for one in three
        )
        assert day == pytest.approx([0.8 * value for value in now])
        assert week == pytest.approx([0.5 * value for value in now])
        (change,) = by_title[f"{name}: change in a week"]["targets"]
        for _, value in prometheus.query(substituted(change["expr"], ours)):
            assert value == pytest.approx(1.0)


@pytest.mark.integration
def test_the_score_lies_in_its_interval(prometheus, ours, run_folder):
    table = next(panel for panel in PANELS if panel["title"] == "Score of the last run")
    ((score,), (low,), (high,), (samples,)) = (
        [value for _, value in prometheus.query(substituted(one["expr"], ours))]
        for one in table["targets"]
    )
    accuracy = json.loads((run_folder / "accuracy.json").read_text())
    assert score == accuracy["score"]
    assert samples == accuracy["n"]
    assert low == pytest.approx(max(score - 1.96 * accuracy["stderr"], 0))
    assert high == pytest.approx(min(score + 1.96 * accuracy["stderr"], 1))


@pytest.mark.integration
def test_the_variables_offer_what_was_pushed(prometheus, labels):
    every = {
        **{name: [value] for name, value in labels.items()},
        "model": [labels["model"], "sim-1"],
        "scenario": [labels["scenario"], "climb"],
        "instance": sorted([labels["instance"], socket.gethostname()]),
        "workload": ["synthetic"],
        "level": ["c1", "c4"],
    }
    assert {name: offered(prometheus, name, chosen()) for name in QUERIED} == every
    # A variable offers what is left by those before it.
    of_one = chosen(model=[labels["model"]])
    assert offered(prometheus, "scenario", of_one) == [labels["scenario"]]
    of_other = chosen(model=["sim-1"])
    assert offered(prometheus, "scenario", of_other) == ["climb"]
    assert offered(prometheus, "quant", of_other) == []
    assert offered(prometheus, "level", of_other) == ["c1", "c4"]


def offered(prometheus, name, texts):
    query = substituted(VARIABLES[name]["query"]["query"], texts)
    series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
    assert label == name
    return prometheus.label_values(label, series)


@pytest.mark.integration
def test_the_rules_are_loaded_and_evaluated(prometheus):
    (group,) = prometheus.get("rules")["groups"]
    assert [rule["name"] for rule in group["rules"]] == ALERTS
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}


def test_the_rules_and_the_configuration_are_correct(promtool):
    for done in (
        promtool("check", "rules", GRAFANA / "alerts.yml"),
        promtool("check", "config", GRAFANA / "prometheus.yml"),
    ):
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_and_do_not_fire(promtool):
    done = promtool("test", "rules", GRAFANA / "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_where_it_fires_and_one_where_it_does_not():
    tests = yaml.safe_load((GRAFANA / "alerts_test.yml").read_text())["tests"]
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in tests
        for case in test["alert_rule_test"]
    ]
    assert {(name, fires) for name in ALERTS for fires in (False, True)} == set(cases)


@pytest.mark.integration
def test_every_alert_is_about_what_is_pushed(prometheus):
    pushed = set(prometheus.label_values("__name__", '{job="benchcore"}'))
    for name in ("alerts.yml", "alerts_test.yml"):
        text = (GRAFANA / name).read_text()
        assert set(re.findall(r"benchcore_\w+", text)) <= pushed


def test_every_alert_says_what_happened():
    for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule["annotations"]) == {"summary", "description"}
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["for"]


@pytest.mark.integration
def test_what_is_pushed_is_of_the_form_that_prometheus_asks_for(promtool, command, run_folder):
    text = command(run_folder, "push", run_folder, "--print", "--allow-simulator")
    done = promtool("check", "metrics", stdin=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "# TYPE benchcore_ttft_seconds untyped" in text
    assert "# TYPE benchcore_valid gauge" in text


def test_the_files_for_provisioning_fit_together():
    folder = GRAFANA / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text())
    (source,) = source["datasources"]
    assert source["type"] == VARIABLES["datasource"]["query"] == "prometheus"
    provider = yaml.safe_load((folder / "dashboards" / "benchcore.yaml").read_text())
    assert [one["type"] for one in provider["providers"]] == ["file"]
    scraped = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    assert scraped["global"]["scrape_interval"] == source["jsonData"]["timeInterval"]
    assert all(one["honor_labels"] for one in scraped["scrape_configs"])
