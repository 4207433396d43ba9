"""Reading: what a run left, which somebody else may have written."""

from __future__ import annotations

import copy
import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Required

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from benchcore.base.errors import ConfigError
from benchcore.base.files import read_json
from benchcore.metrics.percentiles import QUANTILES
from benchcore.runs.checks import Verdict
from benchcore.runs.run import SCHEMA_VERSION

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


Floats = NDArray[np.float64]
_NEEDED: Final = ("level", "repeat", "stage", "outcome", "scheduled_seconds", "sent_seconds")


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of one level, a value each, in the order in which they were scheduled.

    Args:
        measured: whether it was scheduled inside the window.
        ok: whether it ended well.
        outcome: how it ended.
        seconds: by column of `requests.csv`, in seconds from the level's start; NaN: never.
    """

    measured: NDArray[np.bool_]
    ok: NDArray[np.bool_]
    outcome: list[str]
    seconds: Mapping[str, Floats]

    def figure(self, metric: str) -> Floats:
        """Return a figure of the measured `ok` requests, those that have it, in seconds.

        Raises:
            KeyError: it is not one that can be told from the rows.
        """
        return self.timed_figure(metric)[0]

    def timed_figure(self, metric: str) -> tuple[Floats, Floats]:
        """Return a figure as `figure` does, and when each request was scheduled, in seconds.

        Raises:
            KeyError: it is not one that can be told from the rows.
        """
        end, begin = _SPANS[metric]
        values = self.seconds[end] - self.seconds[begin]
        kept = self.measured & self.ok & ~np.isnan(values)
        return values[kept], self.seconds["scheduled_seconds"][kept]


_SPANS: Final = {
    "ttft": ("first_token_seconds", "sent_seconds"),
    "ttft_from_schedule": ("first_token_seconds", "scheduled_seconds"),
    "ttfo": ("first_output_seconds", "sent_seconds"),
    "first_byte": ("first_byte_seconds", "sent_seconds"),
    "e2e": ("end_seconds", "sent_seconds"),
    "e2e_from_schedule": ("end_seconds", "scheduled_seconds"),
    "dispatch_lag": ("sent_seconds", "scheduled_seconds"),
}
FIGURES: Final = tuple(_SPANS)
"""The figures that can be told from the rows of requests."""


class RunFolder:
    """What a run left.

    Args:
        path: of the folder.

    Raises:
        ConfigError: it is not there, or holds no run that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = _read_run(path)
        self._requests: dict[tuple[str, int], Requests] | None = None

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.name

    @property
    def levels(self) -> list[dict[str, Any]]:
        """The levels of a climb; none of another run."""
        found: list[dict[str, Any]] = self.run.get("levels") or []
        return found

    @property
    def unfinished(self) -> str:
        """Why it must be read with care; empty where it is whole."""
        status = self.run["status"]
        if status == "complete":
            return ""
        error = f" ({self.run['error']})" if self.run.get("error") else ""
        return f"{self.path} is {status}{error}: it holds what was measured until then"

    def json(self, name: str) -> dict[str, Any] | None:
        """Return what another JSON file of the folder holds; `None`: there is none.

        Raises:
            ConfigError: it is not JSON, or not of that file's shape.
        """
        path = self.path / name
        if not path.is_file():
            return None
        found: dict[str, Any] = read_json(path)
        check_shape(path, found)
        return found

    def requests(self, level: str, repeat: int) -> Requests | None:
        """Return the requests of a level; `None`: the folder has no rows of it.

        Raises:
            ConfigError: `requests.csv` cannot be read.
        """
        if self._requests is None:
            path = self.path / "requests.csv"
            self._requests = _read_requests(path) if path.is_file() else {}
        return self._requests.get((level, repeat))


def _read_run(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        what = "is a file" if path.exists() else "is not there"
        raise ConfigError(f"{path}: {what}; name the folder of a run")
    file = path / "run.json"
    if not file.is_file():
        raise ConfigError(f"{path}: has no run.json; name the folder of a run")
    run = read_json(file)
    if not isinstance(run, dict) or "schema_version" not in run or "status" not in run:
        raise ConfigError(f"{file}: is no run of benchcore; other tools' results: benchcore import")
    version = run["schema_version"]
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ConfigError(
            f"{file}: has schema_version {version} and this benchcore reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    check_shape(file, run)
    return run


def _read_requests(path: Path) -> dict[tuple[str, int], Requests]:
    rows: dict[tuple[str, int], list[dict[str, str]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError(f"{path}: has no column {missing[0]}")
            for row in reader:
                # The last line of a run that was killed may be cut short.
                if None not in row.values():
                    rows.setdefault((row["level"], int(row["repeat"])), []).append(row)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return {key: _columns(found) for key, found in rows.items()}


def _columns(rows: list[dict[str, str]]) -> Requests:
    names = [name for name in rows[0] if name.endswith("_seconds")]
    seconds = {
        name: np.array([float(row[name]) if row[name] else np.nan for row in rows])
        for name in names
    }
    order = np.argsort(seconds["scheduled_seconds"], kind="stable")
    # A plain answer has no last token: it ends with its body.
    seconds["end_seconds"] = np.where(
        np.isnan(seconds["last_token_seconds"]),
        seconds["done_seconds"],
        seconds["last_token_seconds"],
    )
    return Requests(
        measured=np.array([row["stage"] == "window" for row in rows])[order],
        ok=np.array([row["outcome"] == "ok" for row in rows])[order],
        outcome=[rows[place]["outcome"] for place in order],
        seconds={name: values[order] for name, values in seconds.items()},
    )


def newest(results: Path) -> Path:
    """Return the newest run in a folder of runs.

    Raises:
        ConfigError: there is none.
    """
    found = sorted(path.parent for path in results.glob("*/run.json"))
    if not found:
        raise ConfigError(f"{results}: holds no run; name one, or measure one: benchcore climb")
    return found[-1]
