"""Accuracy metrics: an eval's figures as Prometheus names them (contract, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchcore.metrics.accuracy import AccuracyReport
from benchcore.sinks.run_metrics import Gauges, accuracy_gauges

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def accuracy_metrics(report: AccuracyReport, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of an eval, each with the labels `model` and `task`.

    A score or a standard error that is not known is left out and not zero.

    Args:
        report: what the eval came to.
        prefix: of every name.
    """
    gauges = Gauges(prefix, {"model": str(report.target.get("model") or "")})
    accuracy_gauges(gauges, report.to_json())
    return gauges.registry
