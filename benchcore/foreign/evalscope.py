"""Results of EvalScope's `evalscope perf`: the files of one level.

Read against version 1.14.1 and the names that 1.0 to 1.5 wrote: `benchmark_summary.json` with the
counts and averages, beside it `benchmark_percentile.json` (a row per percentile, rounded to four
digits), `benchmark_args.json` (how it was called) and `benchmark_data.db` (SQLite, a row per
request). Where the database is there, the latencies are computed from it; its texts of answers are
pickled and are never read. A run of several levels is a folder of folders.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchcore.foreign.figures import (
    LevelLoad,
    finite,
    level_of,
    load_facts,
    metric,
    reject,
    run_of,
    summary_of,
    table,
    text,
    utc,
    whole,
    without_user,
)
from benchcore.metrics.summary import Summary
from benchcore.runs.run import Level, Run

TOOL = "evalscope perf"
SUMMARY: Final = "benchmark_summary.json"
DATABASE: Final = "benchmark_data.db"
_PERCENTILES: Final = "benchmark_percentile.json"
_ARGUMENTS: Final = "benchmark_args.json"
FILES: Final = (SUMMARY, _PERCENTILES, _ARGUMENTS, DATABASE)
"""The files of a level."""

_DURATION = ("Test Duration", "Time taken for tests")
_OK = ("Success Requests", "Succeed requests")
_TOTAL = ("Total Requests", "Total requests")
_FAILED = ("Failed Requests", "Failed requests")
_CONCURRENCY = ("Concurrency", "Number of concurrency")
_RATE = ("Request Rate (req/s)", "Request rate (req/s)")
_REQUESTS = ("Req Throughput (req/s)", "Request throughput (req/s)")
_OUTPUT = ("Output Throughput (tok/s)", "Output token throughput (tok/s)")
_BOTH = ("Total Throughput (tok/s)", "Total token throughput (tok/s)")
_NAMES: Final = {
    "ttft": ("TTFT", ("Avg TTFT", "TTFT", "Average time to first token")),
    "tpot": ("TPOT", ("Avg TPOT", "TPOT", "Average time per output token")),
    "icl": ("ITL", ("Avg ITL", "ITL", "Average inter-token latency")),
    "e2e": ("Latency", ("Avg Latency", "Average latency")),
}
"""Our figures, EvalScope's names of them in the percentiles and in the summary, without unit."""
_ROWS: Final = {"p50": "50%", "p75": "75%", "p90": "90%", "p95": "95%", "p99": "99%"}
_UNITS: Final = {"(s)": 1.0, "(ms)": 1e-3}
_COLUMNS: Final = (
    "success",
    "start_time",
    "latency",
    "first_chunk_latency",
    "time_per_output_token",
    "inter_token_latencies",
    "prompt_tokens",
    "completion_tokens",
    "is_stream",
)
_ENDPOINTS: Final = {"/chat/completions": "chat", "/completions": "completions"}
_EPOCH = 1e9
"""Smaller times are of a clock that began with the machine, not with 1970."""

_OF_SUMMARY = "percentiles are nearest rank, rounded to four digits by the tool"
_OF_REQUESTS = "percentiles are nearest rank, computed here from the saved requests"
DEFINITIONS = {
    "ttft": "first chunk with output − the moment before the HTTP call: connecting is in it; of "
    "successful streams; {how}",
    "tpot": "(e2e − ttft) ÷ (output tokens − 1), one per successful stream with more than one "
    "output token; {how}",
    "icl": "EvalScope's ITL: gaps between chunks with output, however many tokens they carry, "
    "pooled; chunks of one read have gaps near 0; {how}",
    "e2e": "last event, usage included, − the moment before the HTTP call: connecting is in it; of "
    "successful requests; {how}",
    "request_throughput": "successful requests ÷ (last end − first start), ramp and tail included",
    "output_token_throughput": "output tokens of successful requests ÷ (last end − first start)",
    "input_token_throughput": "total_token_throughput − output_token_throughput, computed here",
    "total_token_throughput": "prompt and output tokens of successful requests ÷ (last end − first "
    "start)",
    "failure_rate": "failed ÷ all requests",
}


def is_evalscope(entry: Mapping[str, Any]) -> bool:
    """Whether an object is the summary that `evalscope perf` writes."""
    return all(any(name in entry for name in names) for names in (_OK, _TOTAL, _REQUESTS))


def levels_in(folder: Path) -> list[Path]:
    """Return the summaries of a run's folder, by users or rate; none where it is no such folder."""
    found = [*folder.glob(SUMMARY), *folder.glob(f"*/{SUMMARY}"), *folder.glob(f"*/*/{SUMMARY}")]
    # `parallel_4_number_40`, `rate_20.0_number_40`
    return sorted(
        found, key=lambda path: [float(n) for n in re.findall(r"\d+(?:\.\d+)?", path.parent.name)]
    )


def beside(summary: Path) -> dict[str, Any]:
    """Return what lies beside a summary: `percentiles`, `arguments`, `requests`, where there.

    Raises:
        ConfigError: a file cannot be read as what its name says.
    """
    found: dict[str, Any] = {}
    for key, name in (("percentiles", _PERCENTILES), ("arguments", _ARGUMENTS)):
        path = summary.with_name(name)
        if path.is_file():
            try:
                found[key] = json.loads(path.read_bytes())
            except (OSError, ValueError, RecursionError) as fault:
                raise reject(str(path), f"is not JSON ({fault})", "move it away") from None
    path = summary.with_name(DATABASE)
    if path.is_file():
        found["requests"] = list(_requests(path))
    return found


def _requests(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of the database, of those columns that it has."""
    try:
        # Immutable: nothing is written beside a file that is not ours.
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as opened:
            there = {row[1] for row in opened.execute("PRAGMA table_info(result)")}
            columns = [name for name in _COLUMNS if name in there]
            if not {"success", "latency"} <= there:
                raise reject(str(path), "has no table of requests", "move it away")
            # The names are our own constants.
            for row in opened.execute(f"SELECT {', '.join(columns)} FROM result"):  # noqa: S608
                yield dict(zip(columns, row, strict=True))
    except sqlite3.Error as fault:
        raise reject(
            str(path), f"is not a database that can be read ({fault})", "move it away"
        ) from (None)


def read_evalscope(entries: list[Mapping[str, Any]], where: str) -> Run:
    """Return the run of a level.

    Args:
        entries: the summary, alone, with what `beside` found.
        where: the file, for messages.

    Raises:
        ConfigError: it has no counts, or is of embeddings.
    """
    entry = entries[0]
    arguments = table(entry.get("arguments"))
    url = without_user(text(arguments.get("url")))
    path = next((end for end in _ENDPOINTS if url and url.endswith(end)), None)
    starts = [finite(row.get("start_time")) for row in entry.get("requests") or ()]
    known = [start for start in starts if start is not None and _EPOCH < start < 1e11]
    return run_of(
        [_level(entry, arguments, where)],
        tool=TOOL,
        version=None,
        started_at=utc(datetime.fromtimestamp(min(known), UTC)) if known else None,
        target={
            "base_url": url.removesuffix(path) if url and path else url,
            "model": text(arguments.get("model")),
            "endpoint": _ENDPOINTS[path] if path else None,
        },
        workload={
            "name": text(arguments.get("dataset")),
            "output_tokens": whole(arguments.get("max_tokens")),
        },
    )


def _first(entry: Mapping[str, Any], names: tuple[str, ...]) -> float | None:
    """Return the figure under the first name that is there; what is below 0 is unknown."""
    value = next((finite(entry[name]) for name in names if name in entry), None)
    return None if value is None or value < 0 else value


def _seconds(entry: Mapping[str, Any], *names: str) -> float | None:
    """Return a time under one of the names, whose unit stands behind it."""
    for name in names:
        for unit, seconds in _UNITS.items():
            if f"{name} {unit}" in entry:
                value = finite(entry[f"{name} {unit}"])
                return None if value is None or value < 0 else value * seconds
    return None


def _level(entry: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> Level:
    ok, total = whole(_first(entry, _OK)), whole(_first(entry, _TOTAL))
    if ok is None or total is None:
        raise reject(where, "has no counts of requests", f"import {SUMMARY}")
    output, both = _first(entry, _OUTPUT), _first(entry, _BOTH)
    if not any(name in entry for name in _OUTPUT):
        raise reject(where, "is of embeddings or a ranking, which has no tokens", "leave it out")
    notes: list[str] = []
    rows = [row for row in entry.get("requests") or () if row["success"] == 1]
    # Of a run that was cut short the database lacks what was not yet written.
    exact = bool(rows) and len(rows) == ok
    tokens = {
        ours: sum(whole(row.get(theirs)) or 0 for row in rows) if exact else None
        for ours, theirs in (("input", "prompt_tokens"), ("output", "completion_tokens"))
    }
    return level_of(
        _load(entry, arguments, notes),
        counts={"scheduled": total, "ok": ok, "failed": whole(_first(entry, _FAILED))},
        figures={
            "window_seconds": _seconds(entry, *_DURATION),
            "request_throughput": _first(entry, _REQUESTS),
            "output_token_throughput": output,
            "input_token_throughput": None
            if both is None or output is None
            else max(both - output, 0.0),
            "total_token_throughput": both,
        },
        tokens=tokens,
        metrics=_of_requests(rows) if exact else _of_summary(entry, ok),
        definitions={
            name: definition.format(how=_OF_REQUESTS if exact else _OF_SUMMARY)
            for name, definition in DEFINITIONS.items()
        },
        notes=notes,
        workload=text(arguments.get("dataset")),
    )


def _load(entry: Mapping[str, Any], arguments: Mapping[str, Any], notes: list[str]) -> LevelLoad:
    rate = _first(entry, _RATE)
    users = whole(_first(entry, _CONCURRENCY))
    if arguments.get("open_loop") is True:
        users = None
    if rate and users:
        notes.append(f"requests over {users} in flight waited, outside every latency")
    if not rate and not users:
        notes.append("the load is neither a concurrency nor a rate")
    return load_facts(concurrency=users, rate=rate or None, arrival="poisson", other="perf")


def _of_requests(rows: list[dict[str, Any]]) -> dict[str, Summary | None]:
    """Return the metrics of successful requests."""
    streams = [row for row in rows if row.get("is_stream", 1)]

    def column(name: str, of: list[dict[str, Any]]) -> list[float]:
        found = (finite(row.get(name)) for row in of)
        return [value for value in found if value is not None]

    gaps = [gap for row in streams for gap in _gaps(row.get("inter_token_latencies"))]
    tpots = [value for value in column("time_per_output_token", streams) if value > 0]
    values = {
        "ttft": column("first_chunk_latency", streams),
        "tpot": tpots,
        "icl": gaps,
        "e2e": column("latency", rows),
    }
    return {name: summary_of(found, len(rows)) for name, found in values.items()}


def _gaps(said: object) -> Iterator[float]:
    """Yield the gaps of a request, a JSON list in its column."""
    try:
        gaps = json.loads(said) if isinstance(said, str) else None
    except (ValueError, RecursionError):
        gaps = None
    for gap in gaps if isinstance(gaps, list) else ():
        value = finite(gap)
        if value is not None:
            yield value


def _of_summary(entry: Mapping[str, Any], ok: int) -> dict[str, Summary | None]:
    """Return the metrics from the averages, and from the percentiles where they are there."""
    percentiles = entry.get("percentiles")
    rows = {
        str(row.get("Percentiles")): row
        for row in map(table, percentiles if isinstance(percentiles, list) else ())
    }
    streamed = _first(entry, ("Stream Requests",)) != 0
    found: dict[str, Summary | None] = {}
    for ours, (column, names) in _NAMES.items():
        known = {"avg": _seconds(entry, *names)} | {
            name: _seconds(rows.get(row, {}), column)
            for name, row in ({"min": "min", "max": "max"} | _ROWS).items()
        }
        # Without samples the tool writes zeros; a plain answer's TTFT is its whole latency.
        if ok and any(known.values()) and (streamed or ours == "e2e"):
            count = ok if ours == "e2e" else None
            found[ours] = metric({"count": count, **known}, ok)
    return found
