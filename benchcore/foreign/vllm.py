"""Results of `vllm bench serve --save-result`, and our levels under its keys."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from benchcore.foreign.figures import (
    LevelLoad,
    completed_in,
    error_notes,
    finite,
    last_lines,
    level_of,
    load_facts,
    metric,
    ratio,
    reject,
    run_of,
    summary_of,
    text,
    utc,
    whole,
)
from benchcore.metrics.percentiles import QUANTILES
from benchcore.metrics.summary import Summary
from benchcore.runs.run import Level, Run

TOOL = "vllm bench serve"
TOOL_RUST = "vllm-rs bench serve"
NAMES = {"ttft": "ttft", "tpot": "tpot", "icl": "itl", "e2e": "e2el"}
"""Our figures and vLLM's names of them; `e2el` is the last."""

_LINEAR = "percentiles are interpolated between ranks"
_RANKED = "percentiles are nearest rank, computed here from the saved requests"
_CHUNKS = (
    "of chat a chunk with output, in older versions and of completions any with choices, an "
    "empty or role-only one too"
)
_CHUNKS_RUST = (
    "any chunk with choices counts, the role-only and the last one too, so that a request has more "
    "gaps than tokens"
)
DEFINITIONS = {
    "ttft": "first chunk that it takes for a token − the moment before the HTTP call: waiting for "
    "a connection and connecting are in it, waiting for --max-concurrency is not; {chunks}; of "
    "successful requests; {how}",
    "tpot": "(e2el − ttft) ÷ (output tokens − 1), of successful requests with more than one output "
    "token; {how}",
    "icl": "vLLM's itl: gaps between chunks that it takes for tokens, however many tokens they "
    "carry, pooled over successful requests; chunks of one read have gaps near 0; {how}",
    "e2e": "vLLM's e2el: last chunk that it takes for a token − the moment before the HTTP call: "
    "connecting is in it, waiting for --max-concurrency is not; {how}",
    "request_throughput": "successful requests ÷ duration, from the first request's start to the "
    "last one's end, ramp and tail included",
    "output_token_throughput": "output tokens of successful requests (usage, else the tokenizer) ÷ "
    "duration, ramp and tail included",
    "input_token_throughput": "prompt tokens of successful requests ÷ duration",
    "total_token_throughput": "prompt and output tokens of successful requests ÷ duration",
    "goodput": "successful requests that met the --goodput limits ÷ duration",
    "failure_rate": "failed ÷ all requests",
}


def is_vllm(entry: Mapping[str, Any]) -> bool:
    """Whether an object has the keys that only vLLM writes."""
    return {"model_id", "num_prompts", "duration", "completed"} <= entry.keys()


def read_vllm(entries: list[Mapping[str, Any]], where: str) -> Run:
    """Return the run of a result file.

    Args:
        entries: its objects, one or, of `--append-result`, several.
        where: the file, for messages.

    Raises:
        ConfigError: figures that every result has are missing, or they are of embeddings.
    """
    levels = [_level(entry, where) for entry in entries]
    first = entries[0]
    models = {text(entry.get("model_id")) for entry in entries}
    if len(models) > 1:
        raise reject(
            where,
            f"holds results of several models: {', '.join(sorted(map(str, models)))}",
            "split it by model",
        )
    backend = text(first.get("backend"))
    return run_of(
        levels,
        tool=TOOL_RUST if _is_rust(first) else TOOL,
        version=None,
        started_at=_started_at(first),
        target={
            "model": text(first.get("model_id")),
            "endpoint": {"openai-chat": "chat", "openai": "completions", "vllm": "completions"}.get(
                backend or ""
            ),
        },
        workload={
            "tokenizer": text(first.get("tokenizer_id")),
            "requests": whole(first.get("num_prompts")),
        },
    )


def _is_rust(entry: Mapping[str, Any]) -> bool:
    """Whether the client in Rust wrote it, whose `date` is of RFC 3339: `2026-11-28T00:18:34Z`."""
    return "T" in str(entry.get("date"))


def _started_at(entry: Mapping[str, Any]) -> str | None:
    """Return the start, `date` being the end; without a zone it is read as UTC."""
    said = str(entry.get("date"))
    try:
        if _is_rust(entry):
            ended = datetime.fromisoformat(said)
        else:
            ended = datetime.strptime(said, "%Y%m%d-%H%M%S")
        return utc(ended - timedelta(seconds=finite(entry.get("duration")) or 0.0))
    except (ValueError, OverflowError):
        return None


def _level(entry: Mapping[str, Any], where: str) -> Level:
    completed, duration = completed_in(entry, where, "vllm bench serve", "--save-result")
    if "total_input_sequences" in entry:
        raise reject(where, "is of an embedding benchmark, which has no tokens", "leave it out")
    notes = [] if _is_rust(entry) else ["date has no time zone: read as UTC"]
    errors = entry.get("errors")
    if isinstance(errors, list):
        notes += error_notes(last_lines(errors))
    failed, prompts = whole(entry.get("failed")), whole(entry.get("num_prompts"))
    if failed is None and prompts is not None and prompts >= completed:
        failed = prompts - completed
        notes.append("failed is not in the file: num_prompts − completed")
    metrics, exact = _detailed(entry, completed), True
    if metrics is None:
        metrics, exact = _summarized(entry, completed), False
    tokens_in = whole(entry.get("total_input_tokens"))
    return level_of(
        _load(entry, notes),
        counts={
            "scheduled": None if failed is None else completed + failed,
            "ok": completed,
            "failed": failed,
        },
        figures={
            "window_seconds": duration,
            "request_throughput": finite(entry.get("request_throughput")),
            "output_token_throughput": finite(entry.get("output_throughput")),
            "input_token_throughput": ratio(tokens_in, duration),
            "total_token_throughput": finite(entry.get("total_token_throughput")),
            # 0.6 to 0.8 name it with a colon.
            "goodput": finite(entry.get("request_goodput", entry.get("request_goodput:"))),
        },
        tokens={"input": tokens_in, "output": whole(entry.get("total_output_tokens"))},
        metrics=metrics,
        definitions={
            name: definition.format(
                how=_RANKED if exact else _LINEAR,
                chunks=_CHUNKS_RUST if _is_rust(entry) else _CHUNKS,
            )
            for name, definition in DEFINITIONS.items()
        },
        notes=notes,
    )


def _load(entry: Mapping[str, Any], notes: list[str]) -> LevelLoad:
    cap = whole(entry.get("max_concurrency"))
    if text(entry.get("ramp_up_strategy")):
        start, end = (whole(entry.get(f"ramp_up_{side}_rps")) for side in ("start", "end"))
        notes.append(
            f"the rate went from {start} to {end} requests/s ({entry['ramp_up_strategy']})"
        )
        return load_facts(concurrency=None, rate=None, other=f"r{start}-{end}")
    rate = finite(entry.get("request_rate"))
    if rate is None and cap is None:
        notes.append("all requests were sent at once: neither a closed nor an open loop")
    if rate is not None and cap is not None:
        notes.append(f"requests over {cap} in flight waited, outside every latency")
    shape = finite(entry.get("burstiness", 1.0))
    arrival = "constant" if shape is None else "poisson" if shape == 1.0 else f"gamma:{shape:g}"
    return load_facts(concurrency=cap, rate=rate, arrival=arrival)


def _summarized(entry: Mapping[str, Any], completed: int) -> dict[str, Summary | None]:
    """Return the metrics from `mean_…_ms`, `median_…_ms`, `std_…_ms` and `p…_…_ms`."""
    return {
        ours: milliseconds(entry, theirs, completed, per_request=ours in ("ttft", "e2e"))
        for ours, theirs in NAMES.items()
    }


def milliseconds(
    entry: Mapping[str, Any], name: str, completed: int, *, per_request: bool
) -> Summary | None:
    """Return one metric from keys such as `mean_ttft_ms`; `None` where it was not measured.

    Args:
        entry: the result.
        name: the tool's name of the figure.
        completed: how many requests succeeded.
        per_request: every successful request has one sample.
    """
    found: dict[str, float | None] = {}
    for ours, theirs in (("avg", "mean"), ("p50", "median"), ("std", "std"), ("max", "max")):
        found[ours] = finite(entry.get(f"{theirs}_{name}_ms"))
    pattern = re.compile(rf"p(\d+(?:\.\d+)?)_{re.escape(name)}_ms")
    for key, value in entry.items():
        match = pattern.fullmatch(key)
        for ours, quantile in QUANTILES.items():
            if match and math.isclose(float(match[1]), quantile * 100):
                found[ours] = finite(value)
    known = [value for value in found.values() if value is not None]
    # Without samples the tool writes zeros: of a plain answer, or where every request failed.
    if completed == 0 or not any(known):
        return None
    seconds = {ours: None if value is None else value / 1000 for ours, value in found.items()}
    return metric({"count": completed if per_request else None, **seconds}, completed)


def _detailed(entry: Mapping[str, Any], completed: int) -> dict[str, Summary | None] | None:
    """Return the metrics from the saved requests; `None` where they are not all there."""
    names = ("ttfts", "itls", "output_lens", "errors")
    columns = [entry.get(name) for name in names]
    if not all(isinstance(column, list) for column in columns):
        return None
    latencies = entry.get("latencies")
    if not isinstance(latencies, list):
        latencies = [None] * len(entry["ttfts"])
    columns.append(latencies)
    if len({len(column) for column in columns if column is not None}) != 1:
        return None
    samples: dict[str, list[float]] = {name: [] for name in NAMES}
    for ttft, gaps, tokens, error, latency in zip(
        *(column for column in columns if column is not None), strict=True
    ):
        first, output = finite(ttft), whole(tokens)
        # A failed request has no first token, or an error after it.
        if not first or error:
            continue
        own = [finite(gap) for gap in gaps] if isinstance(gaps, list) else [None]
        if None in own or output is None:
            return None
        known = [gap for gap in own if gap is not None]
        end = finite(latency)
        end = first + math.fsum(known) if end is None else end
        samples["ttft"].append(first)
        samples["e2e"].append(end)
        samples["icl"].extend(known)
        if output > 1:
            samples["tpot"].append((end - first) / (output - 1))
    requests = len(samples["ttft"])
    if requests != completed or requests == 0:
        return None
    return {name: summary_of(values, requests) for name, values in samples.items()}


OUR_DEFINITIONS = {
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


def vllm_result(run: Run, level: Level) -> dict[str, Any]:
    """Return a level under the keys of a result of `vllm bench serve`.

    Latencies are in ms, `duration` in seconds. What the level does not know is left out, and
    `benchcore_definitions` says where a figure is not what vLLM means by its name; an imported
    level brings its own.

    Args:
        run: that it is of.
        level: one of its levels.
    """
    is_open = level.mode == "open"
    backends = {"chat": "openai-chat", "completions": "openai"}
    found: dict[str, Any] = {
        "date": _date(run.started_at, level.window_seconds),
        "backend": backends.get(run.target.endpoint or ""),
        "label": run.name,
        "model_id": run.target.model,
        "num_prompts": level.scheduled,
        # As vLLM writes an unlimited rate.
        "request_rate": level.rate if is_open else "inf",
        "burstiness": _burstiness(level.arrival) if is_open else None,
        "max_concurrency": level.max_inflight if is_open else level.concurrency,
        "duration": level.window_seconds,
        "completed": level.ok,
        "failed": None if level.failed is None else level.failed + (level.dropped or 0),
        "total_input_tokens": level.tokens.input,
        "total_output_tokens": level.tokens.output,
        "request_throughput": level.request_throughput,
        "request_goodput": level.goodput,
        "output_throughput": level.output_token_throughput,
        "total_token_throughput": level.total_token_throughput,
    }
    for ours, theirs in NAMES.items():
        found |= _metric(level.metrics.get(ours, Summary()), theirs)
    found = {key: value for key, value in found.items() if value is not None}
    own = level.definitions or {}
    given = {NAMES.get(name, name): definition for name, definition in own.items()}
    return found | {"benchcore_definitions": given or dict(OUR_DEFINITIONS)}


def _metric(metric: Summary, name: str) -> dict[str, float | None]:
    def ms(statistic: str) -> float | None:
        value = metric.value(statistic)
        return None if value is None else value * 1000

    return {
        f"mean_{name}_ms": ms("avg"),
        f"median_{name}_ms": ms("p50"),
        f"std_{name}_ms": ms("std"),
        **{f"{theirs}_{name}_ms": ms(ours) for ours, theirs in _PERCENTILES.items()},
    }


def _date(started_at: str | None, seconds: float | None) -> str | None:
    """Return vLLM's `date`, which is of the end: `20261121-015507`."""
    if started_at is None:
        return None
    try:
        ended = datetime.fromisoformat(started_at) + timedelta(seconds=seconds or 0.0)
    except (ValueError, OverflowError):
        return None
    return ended.strftime("%Y%m%d-%H%M%S")


def _burstiness(arrival: str | None) -> float | str | None:
    """Return vLLM's shape of an arrival process."""
    name = arrival or ""
    if name.startswith("gamma:"):
        return float(name.removeprefix("gamma:"))
    if name == "constant":
        return "inf"
    return 1.0 if name == "poisson" else None
