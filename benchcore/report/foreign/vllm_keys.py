"""vLLM's keys: one of our levels as `vllm bench serve --save-result` would name its figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from benchcore.report.foreign.figure import finite, table, text
from benchcore.report.foreign.vllm import NAMES

DEFINITIONS = {
    "ttft": "first token event − first byte sent on an open connection; nearest-rank percentiles",
    "tpot": "(last token − first token) ÷ (output tokens − tokens of the first event)",
    "itl": "benchcore's ICL: gaps between arrivals, however many tokens they carry, pooled",
    "e2el": "last token − first byte sent on an open connection",
    "throughput": "what ended or arrived inside the window ÷ its length, without ramp and tail",
    "duration": "the window's length in seconds",
    "failed": "failed and dropped requests",
}
"""How our figures under vLLM's names are defined: what differs from vLLM's own."""

_PERCENTILES = {
    "p50": "p50",
    "p75": "p75",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p999": "p99.9",
}


def vllm_result(run: Mapping[str, Any], level: Mapping[str, Any]) -> dict[str, Any]:
    """Return a level of `run.json` under the keys of a result of `vllm bench serve`.

    Latencies are in ms, `duration` in seconds. What the level does not know is left out, and
    `benchcore_definitions` says where a figure is not what vLLM means by its name; an imported
    level brings its own.

    Args:
        run: of `run.json`.
        level: one of its `levels[]`.
    """
    target, tokens = table(run.get("target")), table(level.get("tokens"))
    is_open = level.get("mode") == "open"
    failed, dropped = level.get("failed"), level.get("dropped")
    found: dict[str, Any] = {
        "date": _date(run.get("started_at"), level.get("window_seconds")),
        "backend": {"chat": "openai-chat", "completions": "openai"}.get(
            str(target.get("endpoint"))
        ),
        "label": run.get("name"),
        "model_id": target.get("model"),
        "num_prompts": level.get("scheduled"),
        # As vLLM writes an unlimited rate.
        "request_rate": level.get("rate") if is_open else "inf",
        "burstiness": _burstiness(level.get("arrival")) if is_open else None,
        "max_concurrency": level.get("max_inflight") if is_open else level.get("concurrency"),
        "duration": level.get("window_seconds"),
        "completed": level.get("ok"),
        "failed": None if failed is None else failed + (dropped or 0),
        "total_input_tokens": tokens.get("input"),
        "total_output_tokens": tokens.get("output"),
        "request_throughput": level.get("request_throughput"),
        "request_goodput": level.get("goodput"),
        "output_throughput": level.get("output_token_throughput"),
        "total_token_throughput": level.get("total_token_throughput"),
    }
    for ours, theirs in NAMES.items():
        found |= _metric(table(table(level.get("metrics")).get(ours)), theirs)
    found = {key: value for key, value in found.items() if value is not None}
    own = table(level.get("definitions"))
    given = {NAMES.get(name, name): definition for name, definition in own.items()}
    return found | {"benchcore_definitions": given or dict(DEFINITIONS)}


def _metric(metric: Mapping[str, Any], name: str) -> dict[str, float | None]:
    def ms(statistic: str) -> float | None:
        value = metric.get(statistic)
        return None if value is None else value * 1000

    return {
        f"mean_{name}_ms": ms("avg"),
        f"median_{name}_ms": ms("p50"),
        f"std_{name}_ms": ms("std"),
        **{f"{theirs}_{name}_ms": ms(ours) for ours, theirs in _PERCENTILES.items()},
    }


def _date(started_at: object, seconds: object) -> str | None:
    """Return vLLM's `date`, which is of the end: `20261121-015507`."""
    started, length = text(started_at), finite(seconds)
    if started is None:
        return None
    try:
        ended = datetime.fromisoformat(started) + timedelta(seconds=length or 0.0)
    except (ValueError, OverflowError):
        return None
    return ended.strftime("%Y%m%d-%H%M%S")


def _burstiness(arrival: object) -> float | str | None:
    """Return vLLM's shape of an arrival process."""
    name = text(arrival) or ""
    if name.startswith("gamma:"):
        return float(name.removeprefix("gamma:"))
    if name == "constant":
        return "inf"
    return 1.0 if name == "poisson" else None
