"""The map of another tool's columns: what it may say, and what is told of one that is wrong."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from benchcore.base.errors import ConfigError
from benchcore.config.document import read_model
from benchcore.config.metric_map import METRICS, QUANTILES, MappedColumn, MetricMap, labels_of
from benchcore.publish.prometheus import run_metrics
from benchcore.publish.pushgateway import shown
from benchcore.runs.checks import Checks
from benchcore.runs.samples import Eval
from tests.publish.test_push import CHECKS, RUN, SCORE, SUMMARY, run_of

VLLM = Path(__file__).parent.parent / "publish" / "maps" / "vllm.yaml"


def faults(tmp_path, text):
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        read_model(path, MetricMap)
    return [line.removeprefix(str(path)) for line in str(told.value).splitlines()]


def column(metric="ttft_seconds", name="x", **fields):
    return MappedColumn.model_validate({"metric": metric, "column": name, **fields})


def test_the_map_of_vllm_is_read():
    found = read_model(VLLM, MetricMap)
    assert found.metrics[1] == column(quantile="0.99", name="p99_ttft_ms", scale=0.001)
    assert {name: (one.value, one.column) for name, one in found.labels.given().items()} == {
        "model": (None, "model_id"),
        "scenario": ("nightly", None),
        "workload": ("sharegpt", None),
        "level": (None, "max_concurrency"),
        "mode": ("closed", None),
    }
    assert found.grouping_labels() == ("scenario", "model")
    assert found.columns()[:3] == ["model_id", "max_concurrency", "median_ttft_ms"]


def test_every_fault_is_told_at_once_with_its_line(tmp_path):
    assert faults(
        tmp_path,
        """\
labels:
  modell: m
  level: {colum: concurrency}
  quant: {column: q, prefix: [1]}
metrics:
  - {metric: tttf_seconds, column: a, quantile: 0.99}
  - {metric: ttft_seconds, column: a}
  - {metric: ttft_seconds, column: a, quantile: p99}
  - {metric: goodput, column: a, quantile: 0.5}
  - {metric: goodput, column: a, scale: 0}
  - {metric: ttft_seconds, column: p99_ttft_ms, quantile: 0.99}
  - {metric: ttft_seconds, column: p50_ttft, quantile: 0.99}
missing: {a: 1}
""",
    ) == [
        ":4: labels.quant.prefix: input should be a valid string",
        ":3: labels.level.colum: is not known; did you mean column?",
        ":2: labels.modell: is not known; did you mean model?",
        ":6: metrics.0: metric 'tttf_seconds' is not known; did you mean ttft_seconds?",
        (
            ":7: metrics.1: ttft_seconds with no quantile: give one of 0.5, 0.75, 0.9, 0.95, 0.99, "
            "0.999"
        ),
        (
            ":8: metrics.2: ttft_seconds with quantile p99: give one of 0.5, 0.75, 0.9, 0.95, "
            "0.99, 0.999"
        ),
        ":9: metrics.3: goodput has no quantile",
        ":10: metrics.4.scale: input should be greater than 0",
        (
            ":11: metrics.5: column 'p99_ttft_ms' says ms and ttft_seconds needs scale 0.001, "
            "not 1; name_misleads: true where the column's name is wrong"
        ),
        (
            ":12: metrics.6: column 'p50_ttft' says 0.5, not quantile 0.99; name_misleads: true "
            "where the column's name is wrong"
        ),
        ":13: missing.0: input should be a valid string",
    ]


def test_what_does_not_fit_together_is_told_too(tmp_path):
    (line,) = faults(
        tmp_path,
        """\
labels: {model: {}}
metrics:
  - {metric: goodput, column: a}
""",
    )
    assert line == ":1: labels.model: give a text, or column and where wanted prefix"
    (line,) = faults(
        tmp_path,
        """\
labels: {model: m}
metrics:
  - {metric: ttft_seconds, column: a, quantile: 0.5}
  - {metric: ttft_seconds, column: b, quantile: "0.50"}
  - {metric: accuracy_score, column: c}
grouping: [model, quant]
""",
    )
    assert line == (
        ":1: the file: metrics has ttft_seconds 0.5 twice; keep one; grouping names quant, which "
        "is not in labels; accuracy_score needs the label task"
    )
    assert faults(tmp_path, "metrics: []\n") == [":1: metrics: holds no column; map one at least"]


@pytest.mark.parametrize(
    ("metric", "name", "scale"),
    [
        ("ttft_seconds", "p99_ttft_ms", 0.001),
        ("ttft_seconds", "Time To First Token (ms)", 0.001),
        ("ttft_seconds", "ttft.us", 1e-6),
        ("ttft_seconds", "s_per_token_ms", 0.001),
        ("ttft_seconds", "ttft_seconds_p99", 1.0),
        ("ttft_seconds", "ttftms", 1.0),
        ("ttft_seconds", "99%", 1000.0),
        ("run_timestamp_seconds", "began_ms", 0.001),
        ("failure_ratio", "failed %", 0.01),
        ("failure_ratio", "failure_pct", 0.01),
        ("failure_ratio", "failure_ratio", 1.0),
        ("failure_ratio", "failures", 0.01),
        ("request_throughput", "requests_per_ms", 1000.0),
    ],
)
def test_a_unit_in_a_name_must_fit_the_scale(metric, name, scale):
    quantile = {"quantile": "0.99"} if metric == "ttft_seconds" else {}
    assert column(metric, name, scale=scale, **quantile).scale == scale


@pytest.mark.parametrize(
    ("metric", "name", "scale", "needed"),
    [
        ("ttft_seconds", "p99_ttft_ms", 1.0, "0.001"),
        ("ttft_seconds", "TTFT (MS)", 1000.0, "0.001"),
        ("ttft_seconds", "ttft_s", 0.001, "1"),
        ("failure_ratio", "failed %", 1.0, "0.01"),
        ("failure_ratio", "failure_ratio", 0.01, "1"),
    ],
)
def test_one_that_does_not_is_refused_unless_the_name_is_wrong(metric, name, scale, needed):
    quantile = {"quantile": "0.99"} if metric == "ttft_seconds" else {}
    with pytest.raises(ValidationError, match=rf"needs scale {needed}, not"):
        column(metric, name, scale=scale, **quantile)
    assert column(metric, name, scale=scale, name_misleads=True, **quantile).scale == scale


@pytest.mark.parametrize(
    ("name", "quantile"),
    [("p50_x", "0.5"), ("x P99", "0.99"), ("x_p999", "0.999"), ("p99.9", "0.999"), ("mp90", "0.5")],
)
def test_a_quantile_in_a_name_is_known(name, quantile):
    assert column(name=name, quantile=quantile).quantile == quantile
    other = "0.75"
    if name == "mp90":
        assert column(name=name, quantile=other).quantile == other
    else:
        with pytest.raises(ValidationError, match=f"says {quantile}, not quantile 0.75"):
            column(name=name, quantile=other)


@given(st.sampled_from(QUANTILES), st.integers(0, 3))
def test_a_quantile_is_a_number_or_a_text_with_any_zeros(quantile, zeros):
    assert column(quantile=quantile + "0" * zeros).quantile == quantile
    assert column(quantile=float(quantile)).quantile == quantile


@given(st.text())
@example("")
@example("p99_p50")
@example("²ms")
def test_any_name_of_a_column_is_read_or_refused_in_one_line(name):
    try:
        read = column(name=name, quantile="0.99", scale=0.5).column
    except ValidationError as error:
        (fault,) = error.errors()
        read = fault["input"] if name == "" else fault["input"]["column"]
    assert read == name


def with_missing(*missing):
    return MetricMap.model_validate(
        {"metrics": [{"metric": "goodput", "column": "a"}], "missing": list(missing)}
    )


@pytest.mark.parametrize("value", ["", " ", None, "NaN", "nan", float("nan")])
def test_an_empty_cell_and_nan_are_not_known(value):
    assert with_missing().is_missing(value)


@given(st.integers(-(10**9), 10**9))
def test_a_number_that_stands_for_not_known_does_so_however_it_is_written(number):
    found = with_missing(number)
    for cell in (number, float(number), str(number), f" {number}.0 ", f"{number}.00"):
        assert found.is_missing(cell)
    assert not found.is_missing(number + 1)
    assert not found.is_missing("n/a")
    assert not with_missing("n/a").is_missing(number)
    assert with_missing("n/a").is_missing("n/a ")


def test_the_names_and_helps_are_those_of_a_run():
    (level,) = RUN["levels"]
    costs = ("tokens_per_joule", "joules_per_request", "cost_per_million_tokens")
    level = {**level, "goodput": 3.0, **dict.fromkeys(costs, 1.5)}
    level["metrics"] = dict.fromkeys(("ttft", "ttft_from_schedule", "itl", "tpot", "e2e"), SUMMARY)
    score = Eval.model_validate({**SCORE, "stderr": 0.1})
    run, checks = run_of({**RUN, "levels": [level]}), Checks.model_validate(CHECKS)
    registry = run_metrics(run, checks, score, prefix="")
    families = list(text_string_to_metric_families(shown(registry)))
    assert {one.name: one.documentation for one in families} == METRICS
    for family in families:
        for sample in family.samples:
            assert set(sample.labels) - {"quantile"} == set(labels_of(family.name))
