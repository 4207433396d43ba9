# ruff: noqa: INP001  a script, in no package
"""Describe the Grafana dashboard and print it as JSON.

    python grafana/dashboard.py > grafana/benchcore.json

The description uses `grafana-foundation-sdk`, which Grafana Labs generates from Grafana's own
schemas: a field that does not exist is an error here and not a panel that stays empty. `grafanalib`
was the other choice; its last release is of January 2024 and its panels are written by hand. The
SDK has one release per Grafana; the one for 10.1 is taken because a newer Grafana reads what an
older one wrote, and not the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from benchcore.config.catalogue import LATENCIES as FIGURES

# `$name` would run on into the rest of the metric's name.
PREFIX: Final = "${metric_prefix}"
RUN: Final = ",".join(
    f'{name}=~"${name}"' for name in ("model", "quant", "scenario", "run_type", "instance")
)
LEVEL: Final = f'{RUN},workload=~"$workload",level=~"$level"'
QUANTILE: Final = f'{LEVEL},quantile=~"$quantile"'
QUANTILES: Final = ("0.5", "0.75", "0.9", "0.95", "0.99", "0.999")
# What Grafana's own editor writes for a variable; with `qryType` 1, a query of label values.
VARIABLE_REF: Final = "PrometheusVariableQueryEditor-VariableQuery"
SOURCE: Final = models.DataSourceRef("prometheus", "${datasource}")

OF_RUN: Final = "{{model}} {{quant}} {{scenario}} {{instance}}"
OF_LEVEL: Final = f"{OF_RUN} {{{{workload}}}} {{{{level}}}}"
OF_QUANTILE: Final = f"{OF_LEVEL} q{{{{quantile}}}}"

LATENCIES: Final = {
    "ttft": "From the first byte sent to the first token.",
    "ttft_from_schedule": "From the planned instant: what a request waited before it was sent "
    "counts.",
    "itl": "Between two tokens of one answer.",
    "tpot": "Of an answer, after its first token.",
    "e2e": "From the first byte sent to the end of the answer.",
}
RATES: Final = {
    "request_throughput": ("Requests", "reqps", "Requests that ended ok, per second."),
    "output_token_throughput": ("Output tokens", "suffix: tok/s", "Output tokens, per second."),
    "goodput": ("Goodput", "reqps", "Requests that met every SLO, per second."),
    "goodput_ratio": ("Goodput ratio", "percentunit", "Share of requests that met every SLO."),
    "failure_ratio": ("Failure ratio", "percentunit", "Share of requests that failed."),
}
COMPARED: Final = {
    "ttft_seconds": (FIGURES["ttft"].full, "s", QUANTILE, OF_QUANTILE),
    "e2e_seconds": (FIGURES["e2e"].full, "s", QUANTILE, OF_QUANTILE),
    "request_throughput": ("Requests", "reqps", LEVEL, OF_LEVEL),
}
# A run is daily: it is missing when it is two hours late.
LATE_SECONDS: Final = 26 * 3600
# Of a normal distribution, 95 % lies within so many standard errors.
HALF_WIDTH: Final = 1.96


def query(expr: str, legend: str = "", ref_id: str = "A") -> prometheus.Dataquery:
    """Return a query that draws lines over time."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref_id).range()


def latest(expr: str, legend: str = "", ref_id: str = "A") -> prometheus.Dataquery:
    """Return a query for the last values only."""
    return query(expr, legend, ref_id).instant()


def cells(expr: str, ref_id: str = "A") -> prometheus.Dataquery:
    """Return a query for the last values, a row each and a column for each label."""
    return latest(expr, ref_id=ref_id).format(PromQueryFormat.TABLE)


def lines(title: str, unit: str, text: str, queries: Iterable[prometheus.Dataquery]) -> Any:
    """Return a panel of lines; they are stairs, because a value stays until the next push."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .min(0)
        .line_interpolation(kinds.LineInterpolation.STEP_AFTER)
        .fill_opacity(0)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.TABLE)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull"])
        )
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
    )
    for one in queries:
        panel.with_target(one)
    return panel


def numbers(title: str, unit: str, text: str, queries: Iterable[prometheus.Dataquery]) -> Any:
    """Return a panel of large numbers on a coloured ground."""
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .unit(unit)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(kinds.BigValueGraphMode.NONE)
        .color_mode(kinds.BigValueColorMode.BACKGROUND)
        .text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)
    )
    for one in queries:
        panel.with_target(one)
    return panel


def steps(first: str, *more: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Return colours: the first, and others from a value on."""
    found = [models.Threshold(None, first), *(models.Threshold(*one) for one in more)]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def words(no: str, yes: str) -> list[models.ValueMapping]:
    """Return what stands, in red and in green, for 0 and for 1."""
    options = {
        "0": models.ValueMappingResult(text=no, color="red", index=0),
        "1": models.ValueMappingResult(text=yes, color="green", index=1),
    }
    return [models.ValueMap(options=options)]


def columns(named: dict[str, str]) -> models.DataTransformerConfig:
    """Return a table's columns in their order, with their names; times are left out."""
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {column: place for place, column in enumerate(named)},
        "renameByName": {column: name for column, name in named.items() if name != column},
    }
    return models.DataTransformerConfig(id_val="organize", options=options)


def validity() -> Iterable[Any]:
    """Return what decides whether the rest may be read."""
    valid = f"{PREFIX}valid{{{LEVEL}}}"
    text = (
        "VALID: the load generator measured the server. INVALID: it measured itself; do not read "
        "the figures of that level. A Pushgateway keeps the last value: see the age beside."
    )
    yield (
        numbers("Valid, by level", "none", text, [latest(valid, OF_LEVEL)])
        .mappings(words("INVALID", "VALID"))
        .thresholds(steps("red", (1, "green")))
        .span(10)
        .height(7)
    )
    age = f"time() - {PREFIX}run_timestamp_seconds{{{RUN}}}"
    text = "Since the last run that was pushed began; red after 26 hours."
    yield (
        numbers("Age of the last run", "s", text, [latest(age, f"{OF_RUN} {{{{run_type}}}}")])
        .thresholds(steps("green", (LATE_SECONDS, "red")))
        .span(6)
        .height(7)
    )
    yield (
        statetimeline.Panel()
        .title("Valid, over time")
        .description("A change of colour is a push; a gap is a gateway that was not scraped.")
        .mappings(words("INVALID", "VALID"))
        .thresholds(steps("red", (1, "green")))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .merge_values(True)
        .fill_opacity(70)
        .line_width(0)
        .show_value(kinds.VisibilityMode.NEVER)
        .with_target(query(valid, OF_LEVEL))
        .span(8)
        .height(7)
    )


def latency() -> Iterable[Any]:
    """Return a panel for each latency."""
    for place, (name, text) in enumerate(LATENCIES.items()):
        expr = f"{PREFIX}{name}_seconds{{{QUANTILE}}}"
        panel = lines(f"{FIGURES[name].full}, at $quantile", "s", text, [query(expr, OF_QUANTILE)])
        yield panel.span(8 if place < 3 else 12).height(9)


def throughput() -> Iterable[Any]:
    """Return a panel for each rate and share."""
    for place, (name, (title, unit, text)) in enumerate(RATES.items()):
        panel = lines(title, unit, text, [query(f"{PREFIX}{name}{{{LEVEL}}}", OF_LEVEL)])
        if unit == "percentunit":
            panel.max(1)
        yield panel.span(8 if place < 3 else 12).height(9)


def comparison() -> Iterable[Any]:
    """Return today beside a day and a week before, and the change in a week."""
    for name, (title, unit, selector, legend) in COMPARED.items():
        series = f"{PREFIX}{name}{{{selector}}}"
        yield (
            lines(
                f"{title}: now, a day and a week before",
                unit,
                "What was the last pushed value now, 24 hours ago and 7 days ago.",
                [
                    query(series, f"now {legend}", "A"),
                    query(f"{series} offset 1d", f"-1d {legend}", "B"),
                    query(f"{series} offset 7d", f"-7d {legend}", "C"),
                ],
            )
            .override_by_query("B", dashed(4))
            .override_by_query("C", dashed(10))
            .span(8)
            .height(9)
        )
    for name, (title, unit, selector, legend) in COMPARED.items():
        series = f"{PREFIX}{name}{{{selector}}}"
        change = f"{series} / ({series} offset 7d) - 1"
        text = "Against 7 days before; red where it is 10 % worse."
        slower, less = steps("green", (0.1, "red")), steps("red", (-0.1, "green"))
        yield (
            numbers(f"{title}: change in a week", "percentunit", text, [latest(change, legend)])
            .decimals(1)
            .thresholds(slower if unit == "s" else less)
            .span(8)
            .height(6)
        )


def dashed(length: int) -> list[models.DynamicConfigValue]:
    """Return the look of a line that is there to compare with."""
    style = {"fill": "dash", "dash": [length, length]}
    return [models.DynamicConfigValue("custom.lineStyle", style)]


def functional() -> Iterable[Any]:
    """Return how the functional checks went."""
    ratio = f"{PREFIX}functional_pass_ratio{{{RUN}}}"
    text = "Checks that passed, as a share of those that passed or failed."
    yield (
        numbers("Pass ratio", "percentunit", text, [latest(ratio, OF_RUN)])
        .thresholds(steps("red", (1, "green")))
        .span(6)
        .height(6)
    )
    counts = {
        "functional_cases": "judged",
        "functional_cases_passed": "passed",
        "functional_cases_failed": "failed",
    }
    yield (
        numbers(
            "Checks",
            "none",
            "Checks that passed or failed; what was skipped or not supported is in none of them.",
            [
                latest(f"sum({PREFIX}{name}{{{RUN}}})", legend, ref_id)
                for ref_id, (name, legend) in zip("ABC", counts.items(), strict=True)
            ],
        )
        .color_mode(kinds.BigValueColorMode.VALUE)
        .thresholds(steps("text"))
        .override_by_query("C", [threshold_override("green", (1, "red"))])
        .span(6)
        .height(6)
    )
    yield (
        lines("Pass ratio, over time", "percentunit", text, [query(ratio, OF_RUN)])
        .max(1)
        .span(12)
        .height(6)
    )
    by = "suite, case_id, model, quant, scenario, instance"
    case = f"min by ({by}) ({PREFIX}functional_case_pass{{{RUN}}})"
    named = {"Value": "verdict", "suite": "suite", "case_id": "check"}
    named |= {name: name for name in ("model", "quant", "scenario", "instance")}
    yield (
        table.Panel()
        .title("Checks, failed ones first")
        .description("Each check that passed or failed in the last run.")
        .with_target(cells(case))
        .with_transformation(columns(named))
        .mappings(words("fail", "pass"))
        .override_by_name("verdict", [coloured(), models.DynamicConfigValue("custom.width", 90)])
        .sort_by([common.TableSortByFieldState().display_name("verdict").desc(False)])
        .span(24)
        .height(12)
    )


def threshold_override(first: str, *more: tuple[float, str]) -> models.DynamicConfigValue:
    """Return the colours of one query among several."""
    return models.DynamicConfigValue("thresholds", steps(first, *more).build())


def coloured() -> models.DynamicConfigValue:
    """Return the look of a table's cell whose ground has the colour of its value."""
    options = {"type": "color-background", "mode": "basic"}
    return models.DynamicConfigValue("custom.cellOptions", options)


def accuracy() -> Iterable[Any]:
    """Return scores, each with its interval."""
    by = "task, model, quant, scenario, instance"
    score = f"max by ({by}) ({PREFIX}accuracy_score{{{RUN}}})"
    stderr = f"max by ({by}) ({PREFIX}accuracy_stderr{{{RUN}}})"
    samples = f"max by ({by}) ({PREFIX}accuracy_samples{{{RUN}}})"
    low = f"clamp_min({score} - {HALF_WIDTH} * {stderr}, 0)"
    high = f"clamp_max({score} + {HALF_WIDTH} * {stderr}, 1)"
    text = "Mean score and, dashed, score ± 1.96 standard errors: 95 % where samples are many."
    legend = f"{{{{task}}}} {OF_RUN}"
    yield (
        lines(
            "Score, with its interval",
            "percentunit",
            text,
            [
                query(score, legend, "A"),
                query(low, f"{legend} low", "B"),
                query(high, f"{legend} high", "C"),
            ],
        )
        .max(1)
        .override_by_query("B", dashed(4))
        .override_by_query("C", dashed(4))
        .span(12)
        .height(10)
    )
    named = {"task": "task", "Value #A": "score", "Value #B": "low", "Value #C": "high"}
    named |= {"Value #D": "samples"}
    named |= {name: name for name in ("model", "quant", "scenario", "instance")}
    yield (
        table.Panel()
        .title("Score of the last run")
        .show_header(True)
        .description(text)
        .unit("percentunit")
        .decimals(1)
        .with_target(cells(score, "A"))
        .with_target(cells(low, "B"))
        .with_target(cells(high, "C"))
        .with_target(cells(samples, "D"))
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(columns(named))
        .override_by_name(
            "samples",
            [
                models.DynamicConfigValue("unit", "none"),
                models.DynamicConfigValue("decimals", 0),
            ],
        )
        .span(12)
        .height(10)
    )


ROWS: Final = {
    "Valid?": validity,
    "Latency": latency,
    "Throughput": throughput,
    "Against a day and a week before": comparison,
    "Functional checks": functional,
    "Accuracy": accuracy,
}


def variables() -> Iterable[Any]:
    """Return what can be chosen above the panels."""
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    yield (
        dashboard.TextBoxVariable("metric_prefix")
        .label("Prefix of metrics")
        .default_value("benchcore_")
        .current(models.VariableOption(text="benchcore_", value="benchcore_"))
        .options([models.VariableOption(selected=True, text="benchcore_", value="benchcore_")])
    )
    run = f"{PREFIX}run_timestamp_seconds"
    load = f"{PREFIX}request_throughput"
    chosen: list[str] = []
    for name in ("model", "quant", "scenario", "run_type", "instance"):
        yield of_label(name, run, chosen)
        chosen.append(f'{name}=~"${name}"')
    yield of_label("workload", load, chosen)
    yield of_label("level", load, [*chosen, 'workload=~"$workload"'])
    values = [models.VariableOption(selected=q == "0.99", text=q, value=q) for q in QUANTILES]
    yield (
        dashboard.CustomVariable("quantile")
        .label("Quantile")
        .values(",".join(QUANTILES))
        .options(values)
        .current(models.VariableOption(selected=True, text=["0.99"], value=["0.99"]))
        .multi(True)
        .include_all(True)
    )


def of_label(name: str, metric: str, chosen: list[str]) -> dashboard.QueryVariable:
    """Return a variable with the values of a label, among the series chosen so far.

    `All` is `.*`, which also matches series without the label: an empty one is none to Prometheus.
    """
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    series = f"{metric}{{{','.join(chosen)}}}" if chosen else metric
    return (
        dashboard.QueryVariable(name)
        .label(name.replace("_", " ").capitalize())
        .datasource(SOURCE)
        .query({"qryType": 1, "query": f"label_values({series}, {name})", "refId": VARIABLE_REF})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


def build() -> models.Dashboard:
    """Return the dashboard; its panels are numbered in the order of reading."""
    board = (
        dashboard.Dashboard("benchcore")
        .uid("benchcore")
        .description(
            "Figures of benchcore's runs, as `benchcore push` sends them to a Pushgateway. "
            "The gateway keeps the last value: a line that goes on is not a run that goes on."
        )
        .tags(["benchcore", "llm"])
        .time("now-30d", "now")
        .timezone("browser")
        .refresh("5m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    for variable in variables():
        board.with_variable(variable)
    number = 0
    for title, panels in ROWS.items():
        number += 1
        board.with_row(dashboard.Row(title).id(number))
        for panel in panels():
            number += 1
            board.with_panel(panel.id(number).datasource(SOURCE))
    return board.build()


if __name__ == "__main__":
    print(JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(build()))
