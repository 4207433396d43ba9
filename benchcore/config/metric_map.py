"""Metric map: which column of another tool's file is which metric of ours."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from benchcore.base.plugins import nearest
from benchcore.config.catalogue import LATENCIES as FIGURES
from benchcore.config.catalogue import RATES

LATENCIES: Final = {
    f"{figure.key}_seconds": f"{figure.full}." for figure in FIGURES.values() if figure.exported
}
_EXPORTED: Final = [rate for rate in RATES.values() if rate.help]
SHARES: Final = {
    **{rate.series: rate.help for rate in _EXPORTED if rate.unit == "share"},
    "valid": "1 where the load generator measured the server.",
    "functional_pass_ratio": "Functional checks that passed, as a share of those that passed or "
    "failed.",
    "functional_case_pass": "1 where a functional check passed, 0 where it failed.",
    "accuracy_score": "Mean score over all samples, 0 to 1.",
}
METRICS: Final = {
    **LATENCIES,
    **{rate.series: rate.help for rate in _EXPORTED if rate.unit != "share"},
    **SHARES,
    "functional_cases": "Functional checks that passed or failed.",
    "functional_cases_passed": "Functional checks that passed.",
    "functional_cases_failed": "Functional checks that failed.",
    "accuracy_stderr": "Standard error of the score.",
    "accuracy_samples": "Samples that were made.",
    "run_timestamp_seconds": "When the run began.",
}
"""Every metric of the contract (section 8), with its help."""
QUANTILES: Final = ("0.5", "0.75", "0.9", "0.95", "0.99", "0.999")
OF_THE_RUN: Final = ("model", "quant", "scenario", "run_type", "instance")
"""Labels of every metric."""
_OF_A_LEVEL: Final = ("workload", "level", "mode")
_OF_A_TASK: Final = ("task",)
_OF_A_CASE: Final = ("suite", "case_id")
GROUPING: Final = ("scenario", "model", "quant", "instance")
"""Labels of the grouping key where a map does not name its own."""

_SECONDS: Final = {
    **dict.fromkeys(("ns", "nanos", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
}
_SHARE: Final = {
    **dict.fromkeys(("percent", "percentage", "pct", "%"), 0.01),
    **dict.fromkeys(("ratio", "fraction", "share"), 1.0),
}
_WORD: Final = re.compile(r"[^\W_]+|%")
_RANK: Final = re.compile(r"(?<![^\W_])p(\d{2})(?:[._]?(\d+))?(?![^\W_])", re.IGNORECASE)


def _text(value: object) -> object:
    """Return a number as text: YAML reads a bare 8, -1 or 0.99 as one."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _label(value: object) -> object:
    label = _text(value)
    return {"value": label} if isinstance(label, str) else label


def labels_of(metric: str) -> tuple[str, ...]:
    """Return the labels that a metric has in the contract, but for its quantile."""
    if metric == "functional_case_pass":
        return (*OF_THE_RUN, *_OF_A_CASE)
    if metric.startswith("accuracy_"):
        return (*OF_THE_RUN, *_OF_A_TASK)
    if metric.startswith(("functional_", "run_")):
        return OF_THE_RUN
    return (*OF_THE_RUN, *_OF_A_LEVEL)


class Label(BaseModel):
    """Where the value of a label comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str | None = Field(None, description="a text that is the same for every row")
    column: str | None = Field(
        None, min_length=1, description="the column that holds the row's value"
    )
    prefix: str = Field(
        "", description="a text before the row's value, such as c for the level c64"
    )

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.value is None) == (self.column is None):
            raise ValueError("give a text, or column and where wanted prefix")
        if self.value is not None and self.prefix:
            raise ValueError("prefix needs column")
        return self


_Label = Annotated[Label | None, BeforeValidator(_label)]


class Labels(BaseModel):
    """The labels of the contract, each a text or a column."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: _Label = Field(None, description="the model that was served")
    quant: _Label = Field(None, description="how the model is quantized")
    scenario: _Label = Field(None, description="the name of what was measured")
    run_type: _Label = Field(None, description="the type of the run, such as daily")
    instance: _Label = Field(None, description="the machine or deployment that was measured")
    workload: _Label = Field(None, description="the workload that was asked")
    level: _Label = Field(
        None, description="the load level, such as c64 for 64 users or r4 for 4 requests per second"
    )
    mode: _Label = Field(None, description="the kind of loop: closed or open")
    task: _Label = Field(None, description="the task, for accuracy metrics")
    suite: _Label = Field(None, description="the suite, for functional checks")
    case_id: _Label = Field(None, description="the id of the check, for functional checks")

    def given(self) -> dict[str, Label]:
        """Return those that the map has."""
        labels = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: label for name, label in labels.items() if label is not None}


def _quantile(value: object) -> object:
    text = _text(value)
    if isinstance(text, str):
        try:
            return f"{float(text):g}"  # 0.50 is 0.5
        except ValueError:
            return text
    return text


class MappedColumn(BaseModel):
    """One column that is a metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(
        description="the name of the metric without its prefix, such as ttft_seconds"
    )
    column: str = Field(
        min_length=1, description="the column, or in JSON the key, such as ttft.p99"
    )
    quantile: Annotated[str, BeforeValidator(_quantile)] | None = Field(
        None, description="for latencies, the quantile: 0.5, 0.75, 0.9, 0.95, 0.99 or 0.999"
    )
    scale: float = Field(
        1.0,
        gt=0,
        allow_inf_nan=False,
        description="what the column is multiplied by to give the metric, such as 0.001 for ms",
    )
    name_misleads: bool = Field(
        default=False, description="the column's unit and quantile are not what its name says"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.metric not in METRICS:
            hint = nearest(self.metric, METRICS)
            raise ValueError(f"metric {self.metric!r} is not known; {hint}")
        if self.metric in LATENCIES and self.quantile not in QUANTILES:
            given = "no quantile" if self.quantile is None else f"quantile {self.quantile}"
            raise ValueError(f"{self.metric} with {given}: give one of {', '.join(QUANTILES)}")
        if self.metric not in LATENCIES and self.quantile is not None:
            raise ValueError(f"{self.metric} has no quantile")
        if not self.name_misleads:
            self._check_unit()
            self._check_quantile()
        return self

    def _check_unit(self) -> None:
        if self.metric.endswith("_seconds"):
            units = _SECONDS
        elif self.metric in SHARES:
            units = _SHARE
        else:
            return
        said = [word for word in _WORD.findall(self.column) if word.lower() in units]
        # The unit stands last: in `s_per_token_ms` it is ms.
        if said and abs(self.scale / units[said[-1].lower()] - 1) > 1e-9:
            unit = units[said[-1].lower()]
            raise ValueError(
                f"column {self.column!r} says {said[-1]} and {self.metric} needs scale {unit:g}, "
                f"not {self.scale:g}; name_misleads: true where the column's name is wrong"
            )

    def _check_quantile(self) -> None:
        said = {_digits(*match.groups()) for match in _RANK.finditer(self.column)}
        if self.quantile is not None and said and self.quantile not in said:
            raise ValueError(
                f"column {self.column!r} says {', '.join(sorted(said))}, not quantile "
                f"{self.quantile}; name_misleads: true where the column's name is wrong"
            )


def _digits(whole: str, rest: str | None) -> str:
    """Return `0.99` of p99, `0.999` of p999, p99.9 and p99_9."""
    return f"{float(f'0.{whole}{rest or 0}'):g}"


def _texts(value: object) -> object:
    """Return one or several texts or numbers as texts."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [_text(item) for item in values]


def _some(columns: tuple[MappedColumn, ...]) -> tuple[MappedColumn, ...]:
    # Not min_length: that is told, too, where each column has a fault of its own.
    if not columns:
        raise ValueError("holds no column; map one at least")
    return columns


class MetricMap(BaseModel):
    """What the columns of a file mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Labels = Field(default_factory=Labels, description="the labels of every series")
    metrics: Annotated[tuple[MappedColumn, ...], AfterValidator(_some)] = Field(
        description="the columns that are metrics"
    )
    grouping: tuple[str, ...] | None = Field(
        None,
        description="the labels of the grouping key [default: scenario, model, quant, instance]",
    )
    missing: Annotated[tuple[str, ...], BeforeValidator(_texts)] = Field(
        (), description="the value, or values, that mean not known, such as -1"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        faults = [*self._twice(), *self._wrong_keys(), *self._unlabelled()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _twice(self) -> list[str]:
        seen: set[tuple[str, str | None]] = set()
        faults = []
        for mapped in self.metrics:
            series = (mapped.metric, mapped.quantile)
            if series in seen:
                name = (
                    mapped.metric
                    if mapped.quantile is None
                    else f"{mapped.metric} {mapped.quantile}"
                )
                faults.append(f"metrics has {name} twice; keep one")
            seen.add(series)
        return faults

    def _wrong_keys(self) -> list[str]:
        given = self.labels.given()
        return [
            f"grouping names {name}, which is not in labels"
            for name in self.grouping or ()
            if name not in given
        ]

    def _unlabelled(self) -> list[str]:
        given = self.labels.given()
        return [
            f"{mapped.metric} needs the label {name}"
            for mapped in self.metrics
            for name in labels_of(mapped.metric)
            if name in (*_OF_A_TASK, *_OF_A_CASE) and name not in given
        ]

    def grouping_labels(self) -> tuple[str, ...]:
        """Return the labels of the grouping key that the map has."""
        if self.grouping is not None:
            return self.grouping
        return tuple(name for name in GROUPING if name in self.labels.given())

    def columns(self) -> list[str]:
        """Return every column that the file must have, each once."""
        labels = [label.column for label in self.labels.given().values() if label.column]
        return list(dict.fromkeys([*labels, *(mapped.column for mapped in self.metrics)]))

    def is_missing(self, value: object) -> bool:
        """Return whether a cell or a key says that its value is not known."""
        text = "" if value is None else str(value).strip()
        if text in self.missing or text.lower() in ("", "nan", "+nan", "-nan"):
            return True
        return any(_equal(text, missing) for missing in self.missing)


def _equal(text: str, other: str) -> bool:
    try:
        return float(text) == float(other)
    except ValueError:
        return False
