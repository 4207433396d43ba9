"""Prometheus: what a run's folder holds under the names of the contract (section 8)."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchcore.base.errors import ConfigError
from benchcore.base.files import replace_file
from benchcore.config.catalogue import RATES
from benchcore.config.metric_map import LATENCIES
from benchcore.metrics.percentiles import QUANTILES as PERCENTILES
from benchcore.runs.checks import Checks, Verdict
from benchcore.runs.run import Level, Run
from benchcore.runs.samples import Eval
from benchcore.runs.sinks import QuietSink, SinkOptions

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


GROUPING: Final = ("scenario", "model", "quant", "instance")
"""Labels of the grouping key, besides `job`."""
_QUANTILES: Final = {f"{quantile:g}": name for name, quantile in PERCENTILES.items()}
_Set = Callable[[list[str], dict[str, str], float], None]
_PREFIX: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z|\Z")


def run_labels(run: Run) -> dict[str, str]:
    """Return the labels that all metrics of a run have: those of its own, else what is known."""
    host = "" if run.host is None else run.host.hostname
    return {
        "model": run.label("model") or run.target.model or "",
        "quant": run.label("quant"),
        "scenario": run.label("scenario") or run.name or "",
        "run_type": run.label("run_type"),
        "instance": run.label("instance") or host or "",
    }


class Gauges:
    """Makes gauges of a registry, one for each name, with the labels that it is first given.

    Prometheus keeps the label `quantile` for summaries, which promise a sum and a count that go on
    growing. A run's quantiles have neither: they are set like any gauge, and declared `untyped`.
    """

    def __init__(self, prefix: str, common: Mapping[str, str]) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self._prefix = prefix
        self._common = dict(common)
        self._made: dict[str, Any] = {}

    def set(self, name: str, text: str, value: float | None, **labels: str) -> None:
        """Set a gauge; what is not known is left out and not zero."""
        if value is None:
            return
        if name not in self._made:
            names = [*self._common, *labels]
            make = self._quantiles if "quantile" in labels else self._gauge
            self._made[name] = make(f"{self._prefix}{name}", text, names)
        all_labels = {**self._common, **labels}
        self._made[name]([all_labels[label] for label in all_labels], all_labels, value)

    def _gauge(self, name: str, text: str, names: list[str]) -> _Set:
        from prometheus_client import Gauge

        gauge = Gauge(name, text, names, registry=self.registry)
        return lambda _values, labels, value: gauge.labels(**labels).set(value)

    def _quantiles(self, name: str, text: str, names: list[str]) -> _Set:
        from prometheus_client.core import UntypedMetricFamily

        family = UntypedMetricFamily(name, text, labels=names)
        self.registry.register(_Collected(family))
        return lambda values, _labels, value: family.add_metric(values, value)


class _Collected:
    """A family of samples, as a registry asks for it."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> list[Any]:
        """Return the family."""
        return [self._family]


def run_metrics(
    run: Run,
    checks: Checks | None = None,
    evaluated: Eval | None = None,
    prefix: str = "benchcore_",
) -> CollectorRegistry:
    """Return the gauges of a run.

    Args:
        run: finished or not.
        checks: what they came to, where there were any.
        evaluated: what the eval came to, likewise.
        prefix: of every name; may be empty.

    Raises:
        ConfigError: the prefix cannot begin a name.
    """
    if not _PREFIX.match(prefix):
        raise ConfigError(f"--prefix {prefix!r}: cannot begin the name of a metric")
    gauges = Gauges(prefix, run_labels(run))
    for level in run.levels:
        _level(gauges, level)
    if checks is not None:
        functional_gauges(gauges, checks)
    if evaluated is not None and evaluated.mean is not None:
        accuracy_gauges(gauges, evaluated)
    if run.started_at is not None:
        began = dt.datetime.fromisoformat(run.started_at)
        gauges.set("run_timestamp_seconds", "When the run began.", began.timestamp())
    return gauges.registry


def _level(gauges: Gauges, level: Level) -> None:
    if level.repeat != 1:
        return  # a series has one value: of repeats the first, as long as they are not pooled
    where = {"workload": level.workload or "", "level": level.level, "mode": level.mode or ""}
    for series, text in LATENCIES.items():
        metric = series.removesuffix("_seconds")
        for quantile, name in _QUANTILES.items():
            value = level.figure(f"{metric}.{name}")
            gauges.set(series, text, value, **where, quantile=quantile)
    for rate in RATES.values():
        if rate.help:
            gauges.set(rate.series, rate.help, level.figure(rate.key), **where)
    if level.verdict is not None:
        valid = float(level.verdict == "valid")
        gauges.set("valid", "1 where the load generator measured the server.", valid, **where)


def functional_gauges(gauges: Gauges, checks: Checks) -> None:
    """Set the gauges of checks.

    A check that was neither passed nor failed has none of its own.
    """
    passed, failed = checks.passed, checks.count(Verdict.FAIL)
    gauges.set("functional_cases", "Functional checks that passed or failed.", passed + failed)
    gauges.set("functional_cases_passed", "Functional checks that passed.", passed)
    gauges.set("functional_cases_failed", "Functional checks that failed.", failed)
    text = "Functional checks that passed, as a share of those that passed or failed."
    gauges.set("functional_pass_ratio", text, checks.summary.pass_ratio)
    text = "1 where a functional check passed, 0 where it failed."
    for result in checks.results:
        if result.verdict in (Verdict.PASS, Verdict.FLAKY, Verdict.FAIL):
            value = float(result.verdict is not Verdict.FAIL)
            where = {"suite": result.suite or "", "case_id": result.case_id}
            gauges.set("functional_case_pass", text, value, **where)


def accuracy_gauges(gauges: Gauges, evaluated: Eval) -> None:
    """Set the gauges of an eval."""
    task = evaluated.task
    text = "Mean score over all samples, 0 to 1."
    gauges.set("accuracy_score", text, evaluated.mean, task=task)
    gauges.set("accuracy_stderr", "Standard error of the score.", evaluated.stderr, task=task)
    gauges.set("accuracy_samples", "Samples that were made.", evaluated.n, task=task)


def accuracy_metrics(report: Eval, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of an eval, each with the labels `model` and `task`.

    A score or a standard error that is not known is left out and not zero.

    Args:
        report: what the eval came to.
        prefix: of every name.
    """
    gauges = Gauges(prefix, {"model": report.target.model or ""})
    accuracy_gauges(gauges, report)
    return gauges.registry


def functional_metrics(checks: Checks, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of checks, each with the label `model`.

    A check that was neither passed nor failed has no `functional_case_pass`; a pass ratio of
    nothing is left out and not zero.

    Args:
        checks: what they came to.
        prefix: of every name.
    """
    gauges = Gauges(prefix, {"model": checks.summary.target.model or ""})
    functional_gauges(gauges, checks)
    return gauges.registry


FILE: Final = "metrics.prom"
DIRECTORY: Final = "BENCHCORE_TEXTFILE_DIR"
"""Variable with the folder that node_exporter reads."""


def textfile_name(run: Run) -> str:
    """Return the name of a run's file among those that node_exporter reads.

    A run has the file of the run before it with the same grouping labels: two files with one
    series would make the whole scrape fail.

    Args:
        run: finished or not.
    """
    labels = run_labels(run)
    key = [labels[name] for name in GROUPING]
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, key[:2]))).strip("-.")
    digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:8]
    return f"benchcore-{shown[:80] or 'run'}-{digest}.prom"


class OpenMetricsSink(QuietSink):
    """Writes `metrics.prom` after each level, and a copy where node_exporter looks.

    Raises:
        ConfigError: the variable names no folder that can be written.
    """

    optional: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        named = os.environ.get(DIRECTORY, "")
        self._directory = Path(named) if named else None
        if self._directory is not None and not (
            self._directory.is_dir() and os.access(self._directory, os.W_OK | os.X_OK)
        ):
            raise ConfigError(
                f"{DIRECTORY}: {named} is not a folder that can be written; make it, or unset the "
                "variable"
            )

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Look whether the run is one for a dashboard.

        Raises:
            ConfigError: it is of the simulator, and was to be copied.
        """
        super().open(run, folder, options)
        if self._directory is not None and run.simulated and not options.allow_simulator:
            raise ConfigError(
                f"{DIRECTORY}: the run comes from the simulator, whose figures belong on no "
                "dashboard; unset the variable, or give --allow-simulator"
            )

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Write them with one more level."""
        self._write(run)

    def close(self, run: Run) -> None:
        """Write them as they are at the end."""
        self._write(run)

    def _write(self, run: Run) -> None:
        from prometheus_client import generate_latest

        text = generate_latest(run_metrics(run))
        replace_file(self.folder / FILE, text)
        if self._directory is None:
            return
        copy = self._directory / textfile_name(run)
        try:
            replace_file(copy, text)
        except OSError as error:
            # What is told of a sink says what is wrong and not where; the copy lies elsewhere.
            raise OSError(f"{copy}: {error.strerror}") from None
