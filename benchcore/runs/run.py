"""Run: a climb with its levels, in memory as in `run.json`, and what it takes to do it again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, PrivateAttr

from benchcore.base.stored import Count, Facts, Flag, Number, Status, Stored
from benchcore.client.records import FAILED, Outcome, Record
from benchcore.metrics.alerts import Alert
from benchcore.metrics.energy import Gpus
from benchcore.metrics.fidelity import Fidelity, PrefixCache
from benchcore.metrics.groups import Group, Judged, SessionFigures
from benchcore.metrics.level import TokenSums
from benchcore.metrics.scores import PairedDifference
from benchcore.metrics.summary import Summary
from benchcore.metrics.throughput import RateIntervals, Row
from benchcore.metrics.validity import Evidence, Validity
from benchcore.observe.processes import ServerProcesses
from benchcore.observe.windows import SourceFigures
from benchcore.runs.facts import (
    HostFacts,
    LoadFacts,
    Origin,
    Part,
    PartName,
    TargetFacts,
    WorkloadFacts,
)

SCHEMA_VERSION = 1


class SteadyState(Stored):
    """Where a level was steady, in seconds from its start."""

    found: Flag | None = None
    start_seconds: Number | None = None
    end_seconds: Number | None = None


class LevelScore(Stored):
    """What the answers of one level of a climb were worth."""

    score: Number | None = None
    stderr: Number | None = None
    interval: tuple[Number, Number] | None = None
    n: Count | None = None
    questions: Count | None = None
    level: str | None = None
    climb_repeat: Count | None = None
    task: str | None = None
    completed: Count | None = None
    truncated: Count | None = None
    no_answer: Count | None = None
    refused: Count | None = None
    content_filter: Count | None = None
    errors: Count | None = None
    against_first: PairedDifference | None = None


class WorkerFacts(Stored):
    """What one of several workers has to do with the verdict on a level."""

    SPARSE = frozenset(
        {"client", "host", "address", "clock_uncertainty_seconds", "clock_drift_seconds"}
    )

    NAMES: ClassVar = {"verdict": "validity"}

    worker: Count
    """Its number, from 1."""
    host: str | None = None
    """Of one of a fleet: what its host is called."""
    address: str | None = None
    """Likewise, that of its Dask worker."""
    clock_uncertainty_seconds: Number | None = None
    """Likewise, how far its instants may be off from those of other hosts."""
    clock_drift_seconds: Number | None = None
    """Likewise, how far its host's clock was found to have drifted from ours by the level's end."""
    verdict: Literal["valid", "suspect", "invalid"] = Field(alias="validity")
    reasons: list[str] = Field(default_factory=list)
    client: Facts | None = None


SHAPED: Final = ("shape", "users")
"""What the levels of shapes are called, of rates and of users."""
REPLAYED: Final = "trace x"
"""How the `arrival` of a level begins that is a replay; the speed follows."""


def level_name(level: str, repeat: int) -> str:
    """Return what a level is called, with its repeat where it is not the first."""
    return level if repeat == 1 else f"{level} #{repeat}"


class Level(Stored):
    """One level: counts, rates per second of window, latencies in seconds, and the verdict."""

    SPARSE = frozenset(
        {
            *("max_inflight", "interrupted", "rate_intervals", "tpot_estimated", "tpot_excluded"),
            *("timestamps", "accuracy", "definitions", "origin_file", "sessions", "groups"),
            *("prefix_cache", "fidelity", "answers", "workers", "gpus"),
            "alerts",
            *("tokens_per_joule", "joules_per_request", "cost_per_million_tokens"),
            *("start_unix_seconds", "server_metrics", "server_processes", "in_band"),
        }
    )

    NAMES: ClassVar = {"itl_kind": "itl", "verdict": "validity"}

    level: str
    workload: str | None = None
    repeat: Count
    mode: Literal["closed", "open"] | None
    concurrency: Count | None = None
    rate: Number | None = None
    arrival: str | None = None
    max_inflight: Count | None = None
    interrupted: Flag | None = None
    window_seconds: Number | None = None
    warmup_seconds: Number | None = None
    drain_seconds: Number | None = None
    steady_state: SteadyState | None = None
    scheduled: Count | None = None
    ok: Count | None = None
    failed: Count | None = None
    cancelled: Count | None = None
    dropped: Count | None = None
    retried: Count | None = None
    outcomes: dict[str, Count] = Field(default_factory=dict)
    request_throughput: Number | None = None
    output_token_throughput: Number | None = None
    input_token_throughput: Number | None = None
    total_token_throughput: Number | None = None
    rate_intervals: RateIntervals | None = None
    tokens_per_second_per_user: Number | None = None
    good: Count | None = None
    goodput: Number | None = None
    goodput_ratio: Number | None = None
    failure_rate: Number | None
    itl_kind: Literal["exact", "estimated"] | None = Field(None, alias="itl")
    tpot_estimated: Count | None = None
    tpot_excluded: Count | None = None
    tokens: TokenSums = Field(default_factory=TokenSums)
    verdict: Literal["valid", "suspect", "invalid"] | None = Field(alias="validity")
    reasons: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    timestamps: dict[str, Count] | None = None
    client: Facts | None = None
    server: dict[str, Number] | None = None
    accuracy: LevelScore | None = None
    metrics: dict[str, Summary]
    sessions: SessionFigures | None = None
    groups: list[Group] | None = None
    prefix_cache: PrefixCache | None = None
    fidelity: Fidelity | None = None
    answers: Judged | None = None
    workers: list[WorkerFacts] | None = None
    gpus: Gpus | None = None
    alerts: list[Alert] | None = None
    tokens_per_joule: Number | None = None
    joules_per_request: Number | None = None
    cost_per_million_tokens: Number | None = None
    start_unix_seconds: Number | None = None  # on the clock of `server_metrics.csv.gz`
    server_metrics: list[SourceFigures] | None = None
    server_processes: ServerProcesses | None = None
    in_band: dict[str, Summary] | None = None
    """What the server says of its `ok` requests in their answers, by part of their time."""
    definitions: dict[str, str] | None = None
    origin_file: str | None = None
    _records: Sequence[Record] = PrivateAttr(())
    _rows: list[Row] = PrivateAttr(default_factory=list)
    _start_ns: int = PrivateAttr(0)
    _evidence: Evidence | None = PrivateAttr(None)

    @classmethod
    def measured(
        cls,
        *,
        outcomes: dict[str, int],
        evidence: Evidence,
        judged: Validity,
        records: Sequence[Record],
        rows: Sequence[Row] = (),
        start_ns: int = 0,
        **said: Any,
    ) -> Self:
        """Return a level that has just been measured.

        Args:
            outcomes: how many requests ended how.
            evidence: of the load generator.
            judged: what that comes to.
            records: the measured requests; of a long level with a folder each is read from a file
                anew.
            rows: its seconds.
            start_ns: where it began.
            **said: the other fields.
        """
        made = cls.complete(
            outcomes=outcomes,
            ok=outcomes.get(Outcome.OK.value, 0),
            failed=sum(outcomes.get(outcome.value, 0) for outcome in FAILED),
            cancelled=outcomes.get(Outcome.CANCELLED.value, 0),
            dropped=outcomes.get(Outcome.DROPPED.value, 0),
            validity=judged.verdict,
            reasons=judged.reasons,
            timestamps={"kernel": evidence.reads_kernel, "userspace": evidence.reads_userspace},
            client=evidence.to_json(),
            **said,
        )
        made._keys = ("level", "workload", "mode", "concurrency", "rate", "arrival")
        made._records, made._rows, made._start_ns = records, list(rows), start_ns
        made._evidence = evidence
        return made

    @property
    def records(self) -> Sequence[Record]:
        """Its measured requests, where it was measured just now."""
        return self._records

    @property
    def rows(self) -> list[Row]:
        """Its seconds, likewise."""
        return self._rows

    @property
    def start_ns(self) -> int:
        """Where it began, likewise."""
        return self._start_ns

    @property
    def evidence(self) -> Evidence | None:
        """What is known of the load generator, likewise; `None`: its file says it in `client`."""
        return self._evidence

    @property
    def validity(self) -> Validity | None:
        """The verdict and its reasons; `None`: it was not judged."""
        return None if self.verdict is None else Validity(self.verdict, self.reasons)

    @property
    def seconds(self) -> float:
        """How long it took, as far as it is known."""
        parts = (self.warmup_seconds, self.window_seconds, self.drain_seconds)
        return sum(part or 0.0 for part in parts)

    def _summary(self, metric: str) -> Summary | None:
        summary = self.metrics.get(metric)
        return None if summary is None or summary.count == 0 else summary

    @property
    def ttft(self) -> Summary | None:
        """Time to first token."""
        return self._summary("ttft")

    @property
    def ttft_from_schedule(self) -> Summary | None:
        """Time to first token from the planned instant."""
        return self._summary("ttft_from_schedule")

    @property
    def itl(self) -> Summary | None:
        """Inter-token latency."""
        return self._summary("itl")

    @property
    def icl(self) -> Summary | None:
        """Inter-chunk latency."""
        return self._summary("icl")

    @property
    def tpot(self) -> Summary | None:
        """Time per output token after the first."""
        return self._summary("tpot")

    @property
    def e2e(self) -> Summary | None:
        """End-to-end latency."""
        return self._summary("e2e")

    @property
    def dispatch_lag(self) -> Summary | None:
        """How late requests left, in an open loop."""
        return self._summary("dispatch_lag")

    @property
    def name(self) -> str:
        """What it is called, with its repeat where it is not the first: `c8 #2`."""
        return level_name(self.level, self.repeat)

    def figure(self, name: str) -> float | None:
        """Return a figure by its name, such as `ttft.p99` or `goodput`; `None`: it has none."""
        metric, dot, statistic = name.partition(".")
        if dot:
            summary = self.metrics.get(metric)
            return None if summary is None else summary.value(statistic)
        value: float | None = getattr(self, name)
        return value


class Run(Stored):
    """A run: the levels of a climb, and everything that is needed to do it again."""

    SPARSE = frozenset({"origin", "timestamps"})

    schema_version: Count
    run_id: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    status: Status
    stopped: str | None = None
    error: str | None = None
    name: str | None = None
    command: list[str] | None = None
    labels: dict[str, str] | None = None
    origin: Origin | None = None
    target: TargetFacts = Field(default_factory=TargetFacts)
    workload: WorkloadFacts | None = None
    load: LoadFacts | None = None
    seeds: Facts | None = None
    versions: dict[str, str] | None = None
    host: HostFacts | None = None
    timestamps: dict[str, Count] | None = None
    levels: list[Level] = Field(default_factory=list)
    _folder: Path | None = PrivateAttr(None)

    @classmethod
    def begun(cls, run_id: str, started_at: str, **facts: object) -> Self:
        """Return a run that has no levels yet.

        Args:
            run_id: name of its folder.
            started_at: UTC, ISO 8601.
            **facts: `name, command, labels, target, workload, load, seeds, versions, host`, as far
                as they are known.
        """
        return cls.model_validate(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": run_id,
                "started_at": started_at,
                "ended_at": None,
                "status": "running",
                "stopped": None,
                "error": None,
                **facts,
                "timestamps": {"kernel": 0, "userspace": 0},
                "levels": [],
            }
        )

    def add(self, level: Level) -> None:
        """Take a level that is over, and its stamps into those of the run."""
        self.levels.append(level)
        stamps = [one.timestamps or {} for one in self.levels]
        self.timestamps = {
            name: sum(one.get(name, 0) for one in stamps) for name in ("kernel", "userspace")
        }

    @property
    def folder(self) -> Path | None:
        """Where it is written while it runs; `None`: nowhere."""
        return self._folder

    @folder.setter
    def folder(self, path: Path | None) -> None:
        self._folder = path

    @property
    def valid(self) -> bool:
        """Whether no level is invalid."""
        return all(level.verdict != "invalid" for level in self.levels)

    def part(self, name: PartName) -> Part:
        """Return what it says of one thing; nothing where it is silent."""
        value: Stored | Facts | None = getattr(self, name)
        if value is None:
            return Part({})
        if not isinstance(value, Stored):
            return Part(value)
        parts = getattr(value, "parts", None) or []
        return Part(value.to_json(), tuple(Part(part.to_json()) for part in parts))

    def label(self, name: str) -> str:
        """Return a label; empty: it has none of that name."""
        return (self.labels or {}).get(name) or ""

    @property
    def simulated(self) -> bool:
        """Whether its figures are those of the built-in simulated server."""
        return self.target.kind == "simulator"


LevelResult = Level
RunResult = Run
"""The names by which sinks know them."""
