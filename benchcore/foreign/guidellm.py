"""Results of GuideLLM, `benchmarks.json`.

Read against `guidellm/benchmark/schemas` at 06cef2910dc1 and files of 0.6 to 0.8: `benchmarks[]`,
each with `metrics.<name>.<status>` of `mean, std_dev, min, max, count, percentiles`. Older files
have the load in `args.strategy` and the counts in `run_stats.requests_made`, newer ones in
`config.strategy` and `metrics.request_totals`, with `metadata.guidellm_version`; 0.7 says `kind`
for `type_`. Latencies are in ms but `request_latency`, which is in seconds. Only `successful` is
read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchcore.foreign.figures import (
    LevelLoad,
    error_notes,
    finite,
    level_of,
    load_facts,
    metric,
    reject,
    run_of,
    table,
    text,
    utc,
    whole,
    without_user,
)
from benchcore.metrics.percentiles import QUANTILES
from benchcore.metrics.summary import Summary
from benchcore.runs.run import Level, Run

TOOL = "guidellm"
_NAMES = {
    "ttft": ("time_to_first_token_ms", 1000.0),
    "ttfo": ("time_to_first_output_token_ms", 1000.0),
    "tpot": ("inter_token_latency_ms", 1000.0),
    "e2e": ("request_latency", 1.0),
}
"""Our figures, GuideLLM's names and how many of their units make a second."""

_WALL = "from the wall clock"
DEFINITIONS = {
    "ttft": "first chunk with output − the moment before the HTTP call: connecting is in it; "
    f"requests without one count as 0; {_WALL}",
    "ttfo": "first chunk that is not reasoning − the moment before the HTTP call; requests without "
    f"one count as 0; {_WALL}",
    "tpot": "GuideLLM's inter_token_latency: (last chunk − first chunk) ÷ (output tokens − 1) of a "
    "request, in the statistics as often as it has tokens − 1; its own time_per_output_token "
    f"includes the first token and is not read; {_WALL}",
    "e2e": f"end of the answer − the moment before the HTTP call: connecting is in it; {_WALL}",
    "request_throughput": "mean of the rate at which successful requests ended",
    "output_token_throughput": "mean of the rate of output tokens of successful requests, spread "
    "evenly between first and last chunk",
    "input_token_throughput": "mean of the rate of prompt tokens of successful requests, each "
    "prompt counted at its first token",
    "total_token_throughput": "mean of the rate of prompt and output tokens of successful requests",
    "goodput": "mean of the rate at which requests ended that met the limits of slo",
    "goodput_ratio": "slo_attainment: requests that met the limits ÷ (successful + errored)",
    "failure_rate": "errored ÷ (all − incomplete) requests; incomplete: cut off at the end",
}

_ENDPOINTS = {
    "/v1/chat/completions": "chat",
    "chat_completions": "chat",
    "/v1/completions": "completions",
    "text_completions": "completions",
}
_OPEN = {"constant": "constant", "poisson": "poisson", "async": None}


def is_guidellm(entry: Mapping[str, Any]) -> bool:
    """Whether an object is a report of GuideLLM."""
    benchmarks = entry.get("benchmarks")
    return isinstance(benchmarks, list) and all(
        isinstance(one, dict) and isinstance(one.get("metrics"), dict) for one in benchmarks
    )


def read_guidellm(entries: list[Mapping[str, Any]], where: str) -> Run:
    """Return the run of a report: a level per benchmark.

    Args:
        entries: the report, alone.
        where: the file, for messages.

    Raises:
        ConfigError: it holds no benchmark, or one without counts.
    """
    report = entries[0]
    benchmarks = report["benchmarks"]
    if not benchmarks:
        raise reject(where, "holds no benchmarks", "import a report of a run that measured")
    starts = [finite(one.get("start_time")) for one in benchmarks]
    known = [start for start in starts if start is not None and 0 < start < 1e11]
    started = datetime.fromtimestamp(min(known), UTC) if known else None
    target, model = _target(report)
    asked = text(_backend(report).get("request_format"))
    return run_of(
        [_level(one, f"{where}: benchmarks[{index}]") for index, one in enumerate(benchmarks)],
        tool=TOOL,
        version=text(table(report.get("metadata")).get("guidellm_version")),
        started_at=None if started is None else utc(started),
        target={
            "base_url": target,
            "model": model,
            "endpoint": None if asked is None else _ENDPOINTS.get(asked),
        },
        workload={},
    )


def _backend(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the backend as 0.8 writes it."""
    return table(table(table(report.get("config")).get("spec")).get("backend"))


def _target(report: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the target and the model, from wherever this version writes them."""
    args, first = table(report.get("args")), report["benchmarks"][0]
    places = (
        table(table(first.get("config")).get("backend")),
        _backend(report),
        table(args.get("backend_kwargs")),
        args,
    )
    # 0.2 and 0.3 know it of the worker.
    worker = table(first.get("worker"))
    url = [text(place.get("target")) for place in places] + [text(worker.get("backend_target"))]
    model = [text(place.get("model")) for place in places] + [text(worker.get("backend_model"))]
    return without_user(next(filter(None, url), None)), next(filter(None, model), None)


def _level(entry: Mapping[str, Any], where: str) -> Level:
    metrics = entry["metrics"]
    totals = table(
        metrics.get("request_totals")
        or table(entry.get("scheduler_metrics")).get("requests_made")
        or table(entry.get("run_stats")).get("requests_made")
    )
    ok, failed, cut = (whole(totals.get(name)) for name in ("successful", "errored", "incomplete"))
    if ok is None:
        raise reject(where, "has no request_totals.successful", "import the whole report")
    total = whole(totals.get("total"))
    if total is None and failed is not None:
        total = ok + failed + (cut or 0)
    notes = _errors(entry, failed or 0)
    if cut:
        notes.append(f"{cut} requests were cut off at the end: cancelled")
    tokens_in, tokens_out = (
        _sum(_statistics(metrics, f"{way}_token_count")) for way in ("prompt", "output")
    )
    start, end = finite(entry.get("start_time")), finite(entry.get("end_time"))
    seconds = finite(entry.get("duration"))
    if seconds is None and start is not None and end is not None:
        seconds = end - start
    return level_of(
        _load(entry, notes),
        counts={"scheduled": total, "ok": ok, "failed": failed, "cancelled": cut},
        figures={
            "window_seconds": seconds,
            "request_throughput": _mean(metrics, "requests_per_second"),
            "output_token_throughput": _mean(metrics, "output_tokens_per_second"),
            "input_token_throughput": _mean(metrics, "prompt_tokens_per_second"),
            "total_token_throughput": _mean(metrics, "tokens_per_second"),
            # Not one good request is a goodput of 0, not an unknown one.
            "goodput": finite(_statistics(metrics, "request_goodput").get("mean")),
            "goodput_ratio": finite(metrics.get("slo_attainment")),
        },
        tokens={"input": tokens_in, "output": tokens_out},
        metrics={
            ours: _metric(_statistics(metrics, theirs), units, ok)
            for ours, (theirs, units) in _NAMES.items()
        },
        definitions=DEFINITIONS,
        notes=notes,
    )


def _sum(found: Mapping[str, Any]) -> int | None:
    """Return a sum of counts, which it makes of fractions: 478 is written 478.00000000000006."""
    value = finite(found.get("total_sum"))
    near = None if value is None else round(value)
    return whole(near if near is not None and abs(near - (value or 0.0)) < 1e-3 else value)


def _errors(entry: Mapping[str, Any], failed: int) -> list[str]:
    """Return what failed, most often first, in GuideLLM's words; it may have saved only some."""
    requests = table(entry.get("requests")).get("errored")
    found: Counter[str] = Counter()
    for request in requests if isinstance(requests, list) else ():
        said = text(table(table(request).get("info")).get("error"))
        if said is not None:
            found[said] += 1
    notes, saved = error_notes(found), found.total()
    if notes and saved < failed:
        notes.append(f"the file has the errors of {saved} of {failed} failed requests")
    return notes


def _load(entry: Mapping[str, Any], notes: list[str]) -> LevelLoad:
    strategy: Mapping[str, Any] = {}
    for place in ("config", "args", "scheduler"):
        strategy = strategy or table(table(entry.get(place)).get("strategy"))
    kind = text(strategy.get("type_")) or text(strategy.get("kind")) or ""
    cap = whole(strategy.get("max_concurrency"))
    if kind in _OPEN:
        return load_facts(
            concurrency=cap, rate=finite(strategy.get("rate")), arrival=_OPEN[kind], other=kind
        )
    if kind == "synchronous":
        return load_facts(concurrency=1, rate=None)
    if kind == "concurrent":
        streams = whole(strategy.get("streams"))
        return load_facts(concurrency=cap if streams is None else streams, rate=None, other=kind)
    if kind == "throughput":
        notes.append("throughput: as many requests at once as its workers carry")
        return load_facts(concurrency=None, rate=None, other=kind)
    notes.append(f"strategy {kind or 'unknown'}: neither a closed nor an open loop of one size")
    return load_facts(concurrency=None, rate=None, other=kind or "unknown")


def _statistics(metrics: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return table(table(metrics.get(name)).get("successful"))


def _mean(metrics: Mapping[str, Any], name: str) -> float | None:
    found = _statistics(metrics, name)
    return None if whole(found.get("count")) == 0 else finite(found.get("mean"))


def _metric(found: Mapping[str, Any], units: float, requests: int) -> Summary | None:
    percentiles = table(found.get("percentiles"))
    known = {
        "avg": finite(found.get("mean")),
        "min": finite(found.get("min")),
        "max": finite(found.get("max")),
        "std": finite(found.get("std_dev")),
        **{name: finite(percentiles.get(name)) for name in QUANTILES},
    }
    # A figure that no request has is written as zeros.
    if requests == 0 or not any(known.values()):
        return None
    scaled = {name: None if value is None else value / units for name, value in known.items()}
    return metric({"count": whole(found.get("count")), **scaled}, requests)
