"""Functional metrics: the checks' figures as Prometheus names them (contract, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchcore.metrics.functional import FunctionalReport, Verdict

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_JUDGED = (Verdict.PASS, Verdict.FLAKY, Verdict.FAIL)


def functional_metrics(report: FunctionalReport, prefix: str = "benchcore_") -> CollectorRegistry:
    """Return the gauges of a report, each with the label `model`.

    A check that was neither passed nor failed has no `functional_case_pass`; a pass ratio of
    nothing is left out and not zero.

    Args:
        report: what the checks came to.
        prefix: of every name.
    """
    from prometheus_client import CollectorRegistry, Gauge

    registry = CollectorRegistry()
    model = str(report.target.get("model") or "")

    def gauge(name: str, text: str, value: float) -> None:
        Gauge(f"{prefix}{name}", text, ["model"], registry=registry).labels(model).set(value)

    gauge("functional_cases", "Functional checks that passed or failed.", report.judged)
    gauge("functional_cases_passed", "Functional checks that passed.", report.passed)
    failed = report.count(Verdict.FAIL)
    gauge("functional_cases_failed", "Functional checks that failed.", failed)
    if report.pass_ratio is not None:
        text = "Functional checks that passed, as a share of those that passed or failed."
        gauge("functional_pass_ratio", text, report.pass_ratio)
    case = Gauge(
        f"{prefix}functional_case_pass",
        "1 where a functional check passed, 0 where it failed.",
        ["model", "suite", "case_id"],
        registry=registry,
    )
    for result in report.results:
        if result.verdict in _JUDGED:
            passed = result.verdict is not Verdict.FAIL
            case.labels(model, result.suite, result.case_id).set(passed)
    return registry
