"""Run: the levels of a climb and everything that is needed to do it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchcore.client.records import FAILED, Outcome, Record
from benchcore.metrics.accuracy import LevelAccuracy, Status
from benchcore.metrics.level import TokenCounts
from benchcore.metrics.percentiles import QUANTILES, low_confidence
from benchcore.metrics.scores import Difference
from benchcore.metrics.summary import Summary
from benchcore.metrics.throughput import RateIntervals as Rates
from benchcore.metrics.throughput import Row, Throughput
from benchcore.metrics.validity import Evidence, Validity
from benchcore.runs.results import (
    AgainstFirst,
    Level,
    LevelScore,
    RateIntervals,
    Run,
    Statistics,
    SteadyState,
    TokenSums,
    scored,
)

SCHEMA_VERSION = 1


def statistics(summary: Summary) -> Statistics:
    """Return the statistics of a figure as `run.json` holds them."""
    found = Statistics(
        count=summary.count,
        avg=summary.avg,
        min=summary.min,
        max=summary.max,
        std=summary.std,
        **summary.percentiles,
        low_confidence=summary.low_confidence,
        intervals_95={name: list(pair) for name, pair in summary.intervals.items()},
        intervals_by="batches" if summary.batches else "requests",
        interval_batches=summary.batches,
        intervals_doubtful=summary.doubtful,
    )
    if summary.out_of_range:
        found.out_of_range = summary.out_of_range
    if summary.with_failures is not None:
        found.with_failures = dict(summary.with_failures)
        found.infinite = [name for name, value in summary.with_failures.items() if value is None]
    return found


def infinite_throughout() -> Statistics:
    """Return the statistics of a figure that no request has, each having failed."""
    names = list(QUANTILES)
    unknown = dict.fromkeys(("avg", "min", "max", "std", *names))
    return Statistics(
        count=0,
        **unknown,
        low_confidence=low_confidence(0),
        intervals_95={},
        intervals_by="requests",
        interval_batches=0,
        intervals_doubtful=[],
        with_failures=dict.fromkeys(names),
        infinite=names,
    )


def level_score(one: LevelAccuracy) -> LevelScore:
    """Return what the answers of a level were worth as `run.json` holds it."""
    counts, difference = one.counts, one.difference
    found = LevelScore(task=one.task, score=None)
    if one.score is not None:
        found = LevelScore.model_validate({"task": one.task, **scored(one.score).to_json()})
    for name in ("n", "completed", "truncated", "no_answer", "refused", "content_filter", "errors"):
        setattr(found, name, getattr(counts, name))
    found.against_first = None if difference is None else _against_first(difference)
    return found


def _against_first(one: Difference) -> AgainstFirst:
    return AgainstFirst(
        difference=one.difference,
        interval=(one.low, one.high),
        questions=one.questions,
        left_out=one.left_out,
        better=one.better,
        worse=one.worse,
        mcnemar_p=one.p,
        significant=one.significant,
    )


@dataclass(slots=True)
class LevelResult:
    """One level: counts, rates per second of window, latencies in seconds, and the verdict."""

    level: str
    workload: str
    mode: Literal["closed", "open"]
    concurrency: int | None
    rate: float | None
    arrival: str | None
    repeat: int
    window_seconds: float
    warmup_seconds: float
    drain_seconds: float
    scheduled: int
    outcomes: dict[str, int]
    throughput: Throughput
    tokens_per_second_per_user: float | None
    good: int
    goodput: float | None
    goodput_ratio: float | None
    failure_rate: float | None
    metrics: dict[str, Summary]
    tokens: TokenCounts
    itl_kind: Literal["exact", "estimated"] | None
    tpot_estimated: int
    tpot_excluded: int
    retried: int
    steady_state: dict[str, Any]
    validity: Validity
    evidence: Evidence
    findings: list[str]
    notes: list[str]
    server: dict[str, float]
    infinite: tuple[str, ...] = ()
    """Figures that no request has, where each failed and failures count as infinite."""
    rate_intervals: Rates = field(default_factory=Rates)
    interrupted: bool = False
    accuracy: LevelAccuracy | None = None
    """What its answers were worth, where a task's questions were asked."""
    start_ns: int = 0
    records: Sequence[Record] = field(default_factory=list, repr=False)
    """Its measured requests; of a long level with a folder each is read from a file anew."""
    rows: list[Row] = field(default_factory=list, repr=False)

    @property
    def ok(self) -> int:
        """Requests that ended well."""
        return self.outcomes.get(Outcome.OK.value, 0)

    @property
    def cancelled(self) -> int:
        """Requests that an interrupt cancelled."""
        return self.outcomes.get(Outcome.CANCELLED.value, 0)

    @property
    def dropped(self) -> int:
        """Requests for which the cap on in-flight requests left no room."""
        return self.outcomes.get(Outcome.DROPPED.value, 0)

    @property
    def failed(self) -> int:
        """Requests that were sent and failed."""
        return sum(self.outcomes.get(outcome.value, 0) for outcome in FAILED)

    @property
    def request_throughput(self) -> float | None:
        """`ok` requests that ended inside the window, per second of it."""
        return self.throughput.requests

    @property
    def output_token_throughput(self) -> float | None:
        """Output tokens stamped inside the window, per second of it."""
        return self.throughput.output_tokens

    @property
    def ttft(self) -> Summary | None:
        """Time to first token."""
        return self.metrics.get("ttft")

    @property
    def ttft_from_schedule(self) -> Summary | None:
        """Time to first token from the planned instant."""
        return self.metrics.get("ttft_from_schedule")

    @property
    def itl(self) -> Summary | None:
        """Inter-token latency."""
        return self.metrics.get("itl")

    @property
    def icl(self) -> Summary | None:
        """Inter-chunk latency."""
        return self.metrics.get("icl")

    @property
    def tpot(self) -> Summary | None:
        """Time per output token after the first."""
        return self.metrics.get("tpot")

    @property
    def e2e(self) -> Summary | None:
        """End-to-end latency."""
        return self.metrics.get("e2e")

    @property
    def dispatch_lag(self) -> Summary | None:
        """How late requests left, in an open loop."""
        return self.metrics.get("dispatch_lag")

    def stored(self) -> Level:
        """Return it as `run.json` holds it."""
        rates = self.rate_intervals
        return Level(
            level=self.level,
            workload=self.workload,
            mode=self.mode,
            concurrency=self.concurrency,
            rate=self.rate,
            arrival=self.arrival,
            repeat=self.repeat,
            interrupted=self.interrupted,
            window_seconds=self.window_seconds,
            warmup_seconds=self.warmup_seconds,
            drain_seconds=self.drain_seconds,
            steady_state=SteadyState.model_validate(self.steady_state),
            scheduled=self.scheduled,
            ok=self.ok,
            failed=self.failed,
            cancelled=self.cancelled,
            dropped=self.dropped,
            retried=self.retried,
            outcomes=self.outcomes,
            request_throughput=self.throughput.requests,
            output_token_throughput=self.throughput.output_tokens,
            input_token_throughput=self.throughput.input_tokens,
            total_token_throughput=self.throughput.total_tokens,
            rate_intervals=RateIntervals(
                intervals_95={name: list(pair) for name, pair in rates.intervals.items()},
                batches=rates.batches,
                doubtful=rates.doubtful,
            ),
            tokens_per_second_per_user=self.tokens_per_second_per_user,
            good=self.good,
            goodput=self.goodput,
            goodput_ratio=self.goodput_ratio,
            failure_rate=self.failure_rate,
            itl=self.itl_kind,
            tpot_estimated=self.tpot_estimated,
            tpot_excluded=self.tpot_excluded,
            tokens=TokenSums(
                asked_input=self.tokens.asked_input,
                input=self.tokens.input,
                asked_output=self.tokens.asked_output,
                output=self.tokens.output,
                cached=self.tokens.cached,
                reasoning=self.tokens.reasoning,
                token_count_source=self.tokens.sources,
            ),
            validity=self.validity.verdict,
            reasons=self.validity.reasons,
            findings=self.findings,
            notes=self.notes,
            timestamps={
                "kernel": self.evidence.reads_kernel,
                "userspace": self.evidence.reads_userspace,
            },
            client={
                name: getattr(self.evidence, name)
                for name in self.evidence.__slots__
                if not name.startswith("reads_")
            },
            server=self.server,
            **({} if self.accuracy is None else {"accuracy": level_score(self.accuracy)}),
            metrics={name: statistics(summary) for name, summary in self.metrics.items()}
            | {name: infinite_throughout() for name in self.infinite},
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as an element of `levels[]` of `run.json`."""
        return self.stored().to_json()


@dataclass(slots=True)
class RunResult:
    """A climb, finished or not.

    Args:
        run_id: name of its folder.
        started_at: UTC, ISO 8601.
        facts: `command, target, workload, load, seeds, versions, host, labels` of `run.json`.
        levels: one result per level and repeat.
        status: how far it came.
        stopped: why it ended before the last level; empty where it did not.
        folder: where it was written.
    """

    run_id: str
    started_at: str
    facts: dict[str, Any]
    levels: list[LevelResult] = field(default_factory=list)
    status: Status = "running"
    stopped: str = ""
    ended_at: str | None = None
    error: str = ""
    folder: Path | None = None

    @property
    def valid(self) -> bool:
        """Whether no level is invalid."""
        return all(level.validity.verdict != "invalid" for level in self.levels)

    def stored(self) -> Run:
        """Return it as `run.json` holds it."""
        return Run.model_validate(
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "started_at": self.started_at,
                "ended_at": self.ended_at,
                "status": self.status,
                "stopped": self.stopped or None,
                "error": self.error or None,
                **self.facts,
                "timestamps": {
                    "kernel": sum(level.evidence.reads_kernel for level in self.levels),
                    "userspace": sum(level.evidence.reads_userspace for level in self.levels),
                },
                "levels": [level.stored() for level in self.levels],
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as `run.json`."""
        return self.stored().to_json()
