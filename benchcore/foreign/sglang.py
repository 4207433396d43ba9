"""Results of SGLang's `python -m sglang.bench_serving --output-file FILE.jsonl`.

Read against `python/sglang/bench_serving.py` at 0033168f0f58. One object per line and run,
latencies in milliseconds under `mean_ttft_ms`, `median_…`, `std_…`, `p99_…` (end-to-end as
`e2e_latency`), `request_rate` the number or, as Python writes it, `Infinity`. The file has no
model, date or count of failures. `--output-details` adds `ttfts`, `itls`, `output_lens` and
`errors`, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchcore.foreign.figures import (
    completed_in,
    error_notes,
    finite,
    last_lines,
    level_of,
    load_facts,
    ratio,
    run_of,
    text,
    whole,
)
from benchcore.foreign.vllm import milliseconds
from benchcore.runs.run import Level, Run

TOOL = "sglang.bench_serving"
_NAMES = {"ttft": "ttft", "tpot": "tpot", "icl": "itl", "e2e": "e2e_latency"}
_LINEAR = "percentiles are interpolated between ranks"
DEFINITIONS = {
    "ttft": "first chunk with text − the moment before the HTTP call: connecting is in it, waiting "
    f"for --max-concurrency is not; of a plain answer the whole latency; {_LINEAR}",
    "tpot": f"(e2e − ttft) ÷ (output tokens − 1), of requests with more than one; {_LINEAR}",
    "icl": "SGLang's itl: gaps between chunks with text, pooled; newer versions share the gaps of "
    f"the sglang backend out over the tokens; {_LINEAR}",
    "e2e": "last event, usage and [DONE] included, − the moment before the HTTP call: connecting "
    f"is in it; {_LINEAR}",
    "request_throughput": "successful requests ÷ duration, ramp and tail included",
    "output_token_throughput": "output tokens of successful requests (usage, else the length asked "
    "for) ÷ duration",
    "input_token_throughput": "prompt tokens of successful requests ÷ duration",
    "total_token_throughput": "prompt and output tokens of successful requests ÷ duration",
    "failure_rate": "failed ÷ all requests, counted from the saved requests",
}


def is_sglang(entry: Mapping[str, Any]) -> bool:
    """Whether an object has the keys that only SGLang writes."""
    return {"total_output_tokens_retokenized", "backend", "completed"} <= entry.keys()


def read_sglang(entries: list[Mapping[str, Any]], where: str) -> Run:
    """Return the run of a result file: a level per line.

    Args:
        entries: its objects.
        where: the file, for messages.

    Raises:
        ConfigError: figures that every result has are missing.
    """
    levels = [_level(entry, f"{where}:{line}") for line, entry in enumerate(entries, 1)]
    first = entries[0]
    return run_of(
        levels,
        tool=TOOL,
        version=None,
        started_at=None,
        target={
            "model": text(first.get("model")),
            "endpoint": {
                "sglang-oai-chat": "chat",
                "vllm-chat": "chat",
                "sglang-oai": "completions",
                "vllm": "completions",
            }.get(str(first.get("backend"))),
        },
        workload={
            "name": text(first.get("dataset_name")),
            "input_tokens": whole(first.get("random_input_len")),
            "output_tokens": whole(first.get("random_output_len")),
        },
    )


def _level(entry: Mapping[str, Any], where: str) -> Level:
    completed, duration = completed_in(entry, where, "sglang.bench_serving", "--output-file")
    notes = []
    rate, cap = finite(entry.get("request_rate")), whole(entry.get("max_concurrency"))
    if rate is None and cap is None:
        notes.append("all requests were sent at once: neither a closed nor an open loop")
    if rate is not None and cap is not None:
        notes.append(f"requests over {cap} in flight waited, outside every latency")
    errors = entry.get("errors")
    failed = None
    if isinstance(errors, list) and len(errors) >= completed:
        failed = len(errors) - completed
        notes += error_notes(last_lines(errors))
    else:
        notes.append("failures are not in the file: --output-details saves them")
    tokens_in, tokens_out = (whole(entry.get(f"total_{way}_tokens")) for way in ("input", "output"))
    both = None if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    return level_of(
        load_facts(concurrency=cap, rate=rate, arrival="poisson"),
        counts={
            "scheduled": None if failed is None else completed + failed,
            "ok": completed,
            "failed": failed,
        },
        figures={
            "window_seconds": duration,
            "request_throughput": finite(entry.get("request_throughput"))
            or ratio(completed, duration),
            "output_token_throughput": finite(entry.get("output_throughput")),
            "input_token_throughput": finite(entry.get("input_throughput")),
            "total_token_throughput": finite(entry.get("total_throughput"))
            or ratio(both, duration),
        },
        tokens={"input": tokens_in, "output": tokens_out},
        metrics={
            ours: milliseconds(entry, theirs, completed, per_request=ours in ("ttft", "e2e"))
            for ours, theirs in _NAMES.items()
        },
        definitions=DEFINITIONS,
        notes=notes,
        workload=text(entry.get("dataset_name")),
    )
