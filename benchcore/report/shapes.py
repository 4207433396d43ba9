"""Shapes: what a report needs of the files of a run, which somebody else may have written."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any, Final, Literal, Required

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from benchcore.errors import ConfigError
from benchcore.metrics.functional import Verdict
from benchcore.metrics.percentiles import QUANTILES

Number = float | None
Texts = list[str]


class _Summary(TypedDict, total=False):
    count: int | None
    avg: Number
    min: Number
    max: Number
    std: Number
    p50: Number
    p75: Number
    p90: Number
    p95: Number
    p99: Number
    p999: Number
    low_confidence: Texts
    intervals_95: dict[str, list[Number]]
    with_failures: dict[str, Number]
    infinite: Texts


class _Tokens(TypedDict, total=False):
    token_count_source: dict[str, int]


class _Difference(TypedDict, total=False):
    difference: float
    interval: list[float]
    significant: bool
    worse: int
    better: int


class _LevelAccuracy(TypedDict, total=False):
    task: str
    score: Number
    stderr: Number
    interval: list[float]
    n: int
    no_answer: int
    truncated: int
    errors: int
    against_first: _Difference | None


class _SteadyState(TypedDict, total=False):
    found: bool | None
    start_seconds: Number
    end_seconds: Number


class _Level(TypedDict, total=False):
    level: Required[str]
    workload: str | None
    repeat: Required[int]
    mode: Required[str]
    concurrency: int | None
    rate: Number
    arrival: str | None
    window_seconds: Number
    warmup_seconds: Number
    drain_seconds: Number
    steady_state: _SteadyState | None
    scheduled: int | None
    ok: int | None
    failed: int | None
    cancelled: int | None
    dropped: int | None
    retried: int | None
    outcomes: dict[str, int]
    request_throughput: Number
    output_token_throughput: Number
    input_token_throughput: Number
    total_token_throughput: Number
    tokens_per_second_per_user: Number
    good: int | None
    goodput: Number
    goodput_ratio: Number
    failure_rate: Required[Number]
    itl: str | None
    tokens: _Tokens
    validity: Required[Literal["valid", "suspect", "invalid"] | None]
    reasons: Texts
    findings: Texts
    notes: Texts
    client: dict[str, Any] | None
    server: dict[str, float] | None
    metrics: Required[dict[str, _Summary]]
    accuracy: _LevelAccuracy | None


class _Target(TypedDict, total=False):
    kind: str
    base_url: str | None
    model: str | None
    endpoint: str | None


class _Run(TypedDict, total=False):
    schema_version: Required[int]
    run_id: str
    started_at: str
    ended_at: str | None
    status: Required[Literal["running", "complete", "interrupted", "failed"]]
    stopped: str | None
    error: str | None
    name: str | None
    command: Texts | None
    labels: dict[str, str] | None
    target: _Target
    workload: dict[str, Any] | None
    load: dict[str, Any] | None
    seeds: dict[str, Any] | None
    versions: dict[str, Any] | None
    host: dict[str, Any] | None
    levels: list[_Level]


class _Check(TypedDict, total=False):
    case_id: Required[str]
    title: str
    verdict: Required[str]
    expected: str | None
    got: str | None


class _CheckSummary(TypedDict, total=False):
    mode: str
    engine: str
    pass_ratio: Required[Number]


class _Functional(TypedDict, total=False):
    summary: Required[_CheckSummary]
    results: Required[list[_Check]]


class _Accuracy(TypedDict, total=False):
    task: Required[str]
    variant: str | None
    score: Number
    min_score: Number
    interval: list[float] | None
    n: int | None
    errors: int | None
    remarks: Texts
    levels: list[Any]


SHAPES: Final[dict[str, TypeAdapter[Any]]] = {
    "run.json": TypeAdapter(_Run),
    "functional.json": TypeAdapter(_Functional),
    "accuracy.json": TypeAdapter(_Accuracy),
}
_UNKNOWN: Final[dict[str, Any]] = {
    **dict.fromkeys(name for name in _Level.__annotations__ if name != "accuracy"),
    **{name: [] for name in ("reasons", "findings", "notes")},
    "outcomes": {},
    "tokens": {"token_count_source": {}},
}
"""What a level says of what it does not know: an older benchcore, or another tool, knew less."""


_KINDS: Final = {"run.json": "a run", "functional.json": "checks", "accuracy.json": "an eval"}


def check_shape(path: Path, found: Any) -> None:
    """Refuse a file that a report could not be made of; what it lacks becomes unknown.

    Args:
        path: of the file; its name says what it should hold.
        found: what it holds; missing keys are added.

    Raises:
        ConfigError: something is missing or of another type; says where.
    """
    shape = SHAPES.get(path.name)
    if shape is None:
        return
    kind = _KINDS[path.name]
    try:
        # Strict: a text that holds a number is none, and would fail where it is reckoned with.
        shape.validate_python(found, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault["loc"]
        ).lstrip(".")
        said = f"{where}: {fault['msg'].lower()}" if where else fault["msg"].lower()
        raise ConfigError(
            f"{path}: is not of {kind} ({said}); it is damaged: name another run"
        ) from None
    if path.name == "accuracy.json" and not {"score", "levels"} & found.keys():
        raise ConfigError(
            f"{path}: is not of {kind} (score: field required); it is damaged: name another run"
        )
    if path.name == "run.json":
        _complete_run(found)
    elif path.name == "functional.json":
        _complete_checks(found)
    elif "levels" not in found:  # of a climb, whose levels have a score each
        found |= {name: found.get(name) for name in ("variant", "interval", "n", "errors")}


def _complete_run(run: dict[str, Any]) -> None:
    for name in _Run.__annotations__:
        run.setdefault(name, {} if name == "target" else [] if name == "levels" else None)
    for level in run["levels"]:
        for name, unknown in _UNKNOWN.items():
            level.setdefault(name, copy.copy(unknown))
        level["tokens"].setdefault("token_count_source", {})
        for summary in level["metrics"].values():
            for name in ("count", *QUANTILES):
                summary.setdefault(name, None)
            summary.setdefault("low_confidence", [])


def _complete_checks(found: dict[str, Any]) -> None:
    results, summary = found["results"], found["summary"]
    for one in results:
        for name in ("title", "expected", "got"):
            one.setdefault(name, None)
    counts = Counter(one["verdict"] for one in results)
    for verdict in Verdict:
        summary.setdefault(verdict.value, counts[verdict.value])
    for name in ("mode", "engine"):
        summary.setdefault(name, "unknown")
