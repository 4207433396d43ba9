"""Functional metrics: the checks' figures as Prometheus names them (contract, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchcore.metrics.functional import FunctionalReport
from benchcore.sinks.run_metrics import Gauges, functional_gauges

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def functional_metrics(report: FunctionalReport, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of a report, each with the label `model`.

    A check that was neither passed nor failed has no `functional_case_pass`; a pass ratio of
    nothing is left out and not zero.

    Args:
        report: what the checks came to.
        prefix: of every name.
    """
    gauges = Gauges(prefix, {"model": str(report.target.get("model") or "")})
    functional_gauges(gauges, report.to_json())
    return gauges.registry
