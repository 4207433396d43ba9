"""Accuracy metrics: an eval's figures as Prometheus names them (contract, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from benchcore.metrics.accuracy import AccuracyReport


def accuracy_metrics(report: AccuracyReport, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of an eval, each with the labels `model` and `task`.

    A score or a standard error that is not known is left out and not zero.

    Args:
        report: what the eval came to.
        prefix: of every name.
    """
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()
    labels = (str(report.target.get("model") or ""), report.task)

    def gauge(name: str, text: str, value: float | None) -> None:
        if value is not None:
            made = Gauge(f"{prefix}{name}", text, ["model", "task"], registry=registry)
            made.labels(*labels).set(value)

    score = report.score
    if score is not None:
        gauge("accuracy_score", "Mean score over all samples, 0 to 1.", score.score)
        gauge("accuracy_stderr", "Standard error of the score.", score.stderr)
    gauge("accuracy_samples", "Samples that were made.", score.n if score else 0)
    return registry
