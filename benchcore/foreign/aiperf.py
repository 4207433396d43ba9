"""Results of AIPerf, `profile_export_aiperf.json`.

Read against `docs/reference/json-export-schema.md` at 1554b478d4ee, `schema_version` 1.0 to 1.5:
one object, a block per metric with its `unit` and `avg, min, max, std, p50, …, p99`; `count` since
1.1, and the metrics under `records` before 1.0. The load is in `input_config.loadgen`, later in
`input_config.phases`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchcore.foreign.figures import (
    LevelLoad,
    error_notes,
    finite,
    level_of,
    load_facts,
    metric,
    ratio,
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

TOOL = "aiperf"
_NAMES = {
    "ttft": "time_to_first_token",
    "ttfo": "time_to_first_output_token",
    "tpot": "inter_token_latency",
    "icl": "inter_chunk_latency",
    "e2e": "request_latency",
}
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_LINEAR = "percentiles are interpolated between ranks"
DEFINITIONS = {
    "ttft": "first chunk with output − the request's start, before its connection is got: "
    f"connecting is in it; {_LINEAR}",
    "ttfo": f"first chunk that is not reasoning − the request's start; {_LINEAR}",
    "tpot": "AIPerf's inter_token_latency: (e2e − ttft) ÷ (output tokens − 1), one per request, "
    f"tokens counted by its own tokenizer unless told to take the server's; {_LINEAR}",
    "icl": f"gaps between chunks with output, pooled; {_LINEAR}",
    "e2e": "last chunk with output − the request's start: connecting is in it; " + _LINEAR,
    "request_throughput": "successful requests ÷ (last response − first request), ramp and tail "
    "included",
    "output_token_throughput": "output tokens, reasoning included, of successful requests ÷ (last "
    "response − first request)",
    "input_token_throughput": "prompt tokens of successful requests ÷ (last response − first "
    "request); where AIPerf does not give it, total_token_throughput − output_token_throughput, "
    "else prompt tokens ÷ benchmark_duration",
    "total_token_throughput": "prompt and output tokens of successful requests ÷ (last response − "
    "first request)",
    "tokens_per_second_per_user": "mean of 1 ÷ inter_token_latency",
    "goodput": "requests that met the --goodput limits ÷ (last response − first request)",
    "goodput_ratio": "requests that met the --goodput limits ÷ all requests, computed here",
    "failure_rate": "errors ÷ all requests",
}


def is_aiperf(entry: Mapping[str, Any]) -> bool:
    """Whether an object is the summary that AIPerf exports."""
    blocks = _blocks(entry)
    return any(
        isinstance(blocks.get(name), dict) and "unit" in blocks[name]
        for name in ("request_latency", "request_count", "error_request_count")
    )


def read_aiperf(entries: list[Mapping[str, Any]], where: str) -> Run:
    """Return the run of an export, of one level.

    Args:
        entries: the export, alone.
        where: the file, for messages.

    Raises:
        ConfigError: a unit is unknown, or there are no counts.
    """
    export = entries[0]
    config = table(export.get("input_config"))
    endpoint = table(config.get("endpoint"))
    level = _level(export, config, where)
    run = run_of(
        [level],
        tool=TOOL,
        version=text(export.get("aiperf_version")),
        started_at=_started_at(export.get("start_time")),
        target={
            "base_url": without_user(text(endpoint.get("url")) or _first(endpoint.get("urls"))),
            "model": _first(endpoint.get("model_names")) or _model(config.get("models")),
            "endpoint": text(endpoint.get("type")),
        },
        workload={},
    )
    if export.get("was_cancelled") is True:
        run.status = "interrupted"
        level.interrupted = True
    return run


def _blocks(export: Mapping[str, Any]) -> Mapping[str, Any]:
    return table(export.get("records")) or export


def _first(value: object) -> str | None:
    """Return the first text of a list."""
    return text(value[0]) if isinstance(value, list) and value else None


def _model(models: object) -> str | None:
    """Return the first model of `models`: a list of names, or of objects under `items`."""
    items = table(models).get("items", models)
    if not isinstance(items, list) or not items:
        return None
    return text(items[0]) or text(table(items[0]).get("name"))


def _started_at(value: object) -> str | None:
    """Return the start; without a zone it is read as UTC."""
    try:
        return utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _level(export: Mapping[str, Any], config: Mapping[str, Any], where: str) -> Level:
    blocks = _blocks(export)

    def only(name: str) -> float | None:
        return finite(table(blocks.get(name)).get("avg"))

    ok, failed = whole(only("request_count")), whole(only("error_request_count"))
    if ok is None and failed is None:
        raise reject(where, "has neither request_count nor error_request_count", "export it anew")
    # AIPerf leaves a count of 0 out.
    ok, failed = ok or 0, failed or 0
    duration = _seconds(blocks.get("benchmark_duration"), "avg", where)
    tokens_in, tokens_out = (
        whole(only(f"total_{way}")) or whole(only(f"total_{way}_tokens")) for way in ("isl", "osl")
    )
    total, output = only("total_token_throughput"), only("output_token_throughput")
    notes = _errors(export)
    return level_of(
        _load(config, notes),
        counts={"scheduled": ok + failed, "ok": ok, "failed": failed},
        figures={
            "window_seconds": duration,
            "request_throughput": only("request_throughput"),
            "output_token_throughput": output,
            "input_token_throughput": _input(only("input_token_throughput"), total, output)
            or ratio(tokens_in, duration),
            "total_token_throughput": total,
            "tokens_per_second_per_user": only("output_token_throughput_per_user"),
            "goodput": only("goodput"),
            "goodput_ratio": ratio(only("good_request_count"), ok + failed),
        },
        tokens={"input": tokens_in, "output": tokens_out},
        metrics={ours: _metric(blocks.get(theirs), ok, where) for ours, theirs in _NAMES.items()},
        definitions=DEFINITIONS,
        notes=notes,
    )


def _input(said: float | None, total: float | None, output: float | None) -> float | None:
    """Return the rate of prompt tokens; where it is not said, by the duration of the other two."""
    if said is not None or total is None or output is None:
        return said
    return max(total - output, 0.0)


def _errors(export: Mapping[str, Any]) -> list[str]:
    """Return what failed, most often first, in AIPerf's words."""
    summary = export.get("error_summary")
    found: Counter[str] = Counter()
    for entry in summary if isinstance(summary, list) else ():
        details = table(table(entry).get("error_details"))
        parts = (str(details[key]) for key in ("code", "type", "message") if details.get(key))
        found[" ".join(parts)] += whole(table(entry).get("count")) or 1
    return error_notes(found)


def _load(config: Mapping[str, Any], notes: list[str]) -> LevelLoad:
    found = table(config.get("loadgen"))
    phases = config.get("phases")
    if isinstance(phases, dict):
        phases = [{"name": name, **table(phase)} for name, phase in phases.items()]
    if isinstance(phases, list):
        measured = [
            phase
            for phase in map(table, phases)
            if phase.get("name") != "warmup" and phase.get("exclude_from_results") is not True
        ]
        if len(measured) > 1:
            notes.append("several phases are in one summary")
            return load_facts(concurrency=None, rate=None, other="phases")
        found = measured[0] if measured else {}
    rate = finite(found.get("request_rate")) or finite(found.get("rate"))
    how = text(found.get("arrival_pattern")) or text(found.get("request_rate_mode"))
    how = how or text(found.get("type"))
    shape = finite(found.get("arrival_smoothness")) or finite(found.get("smoothness"))
    if how == "gamma":
        how = None if shape is None else f"gamma:{shape:g}"
    elif how not in {"poisson", "constant"}:
        how = None
    concurrency = whole(found.get("concurrency"))
    if rate is None and concurrency is None:
        notes.append("the load is neither a concurrency nor a rate")
    return load_facts(concurrency=concurrency, rate=rate, arrival=how, other="profile")


def _seconds(block: object, name: str, where: str) -> float | None:
    """Return a statistic of a block in seconds, by the block's unit."""
    found = table(block)
    value = finite(found.get(name))
    if value is None:
        return None
    unit = found.get("unit")
    if unit not in _SECONDS:
        raise reject(where, f"has a time in the unit {unit!r}", f"known are {', '.join(_SECONDS)}")
    return value * _SECONDS[unit]


def _metric(block: object, requests: int, where: str) -> Summary | None:
    names = ("avg", "min", "max", "std", *QUANTILES)
    known = {name: _seconds(block, name, where) for name in names}
    return metric({"count": whole(table(block).get("count")), **known}, requests)
