"""Results: what a run leaves, one type for each thing, in memory as on disk.

A file is read into its type and written from it with its keys in the order in which they were
given. What a file does not say is `None` or empty, never zero: an older benchcore, or another tool,
knew less. Keys that are not known are kept and written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

from benchcore.metrics.accuracy import Status
from benchcore.metrics.scores import Estimate

Number = Annotated[
    float,
    # A whole number stays one, so that it is written as it was read.
    GetPydanticSchema(
        lambda _source, _handler: core_schema.union_schema(
            [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True)],
            mode="left_to_right",
            custom_error_type="float_type",
        )
    ),
    WithJsonSchema({"type": "number"}),
]
Count = Annotated[int, Strict(), WithJsonSchema({"type": "integer", "minimum": 0})]
Flag = Annotated[bool, Strict()]
Facts = Annotated[
    dict[str, JsonValue],
    GetPydanticSchema(lambda _source, _handler: core_schema.dict_schema(core_schema.str_schema())),
    WithJsonSchema({"type": "object"}),
]
"""What nothing is reckoned with: it is shown and compared, and taken as it is."""


class Stored(BaseModel):
    """A thing that a file holds.

    A text that holds a number is none, and is refused: it would fail where it is reckoned with.
    """

    model_config = ConfigDict(extra="allow", defer_build=True)

    SPARSE: ClassVar[frozenset[str] | None] = None
    """What `whole` leaves out where it is not said; `None`: everything."""

    NAMES: ClassVar[Mapping[str, str]] = {}
    """Keys that are no names of fields, by their fields, which have them as aliases."""

    _keys: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, dict):
            made._keys = tuple(data)
        return made

    @classmethod
    def complete(cls, **said: Any) -> Self:
        """Return one that says every key, in the order of the fields: the rest by its default."""
        made = cls(**said)
        made._keys = ()
        made.model_fields_set.update(cls.model_fields)
        return made

    def to_json(self) -> dict[str, Any]:
        """Return it as its file holds it: what it does not say is not there."""
        return self._as_json(whole=False)

    def whole(self) -> dict[str, Any]:
        """Return it with every key that a reader may ask for: what it does not say is `None`."""
        return self._as_json(whole=True)

    def _as_json(self, *, whole: bool) -> dict[str, Any]:
        # Not pydantic's own: that takes five times as long, and a run is written at every level.
        values, said = {**self.__dict__, **(self.model_extra or {})}, self.model_fields_set
        if self.NAMES:
            values = {self.NAMES.get(name, name): value for name, value in values.items()}
            said = {self.NAMES.get(name, name) for name in said}
        names = dict.fromkeys(self._keys)
        for name in values:
            if name in said or (whole and self.SPARSE is not None and name not in self.SPARSE):
                names[name] = None
        return {name: _plain(values[name], whole=whole) for name in names}


_SCALARS: Final = frozenset({float, int, str, bool, type(None)})


def _plain(value: Any, *, whole: bool) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Stored):
        return value._as_json(whole=whole)
    if isinstance(value, dict):
        return {name: _plain(inner, whole=whole) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, whole=whole) for inner in value]
    return value


class Statistics(Stored):
    """Statistics of one figure over a level, in seconds: `metrics.<name>`."""

    SPARSE = frozenset(
        {
            *("avg", "min", "max", "std", "intervals_95", "intervals_by", "interval_batches"),
            *("intervals_doubtful", "out_of_range", "with_failures", "infinite"),
        }
    )

    count: Count | None = None
    avg: Number | None = None
    min: Number | None = None
    max: Number | None = None
    std: Number | None = None
    p50: Number | None = None
    p75: Number | None = None
    p90: Number | None = None
    p95: Number | None = None
    p99: Number | None = None
    p999: Number | None = None
    low_confidence: list[str] = Field(default_factory=list)
    intervals_95: dict[str, list[Number | None]] = Field(default_factory=dict)
    intervals_by: Literal["batches", "requests"] | None = None
    interval_batches: Count | None = None
    intervals_doubtful: list[str] = Field(default_factory=list)
    out_of_range: Count | None = None
    with_failures: dict[str, Number | None] | None = None
    infinite: list[str] | None = None

    def value(self, statistic: str) -> float | None:
        """Return a statistic by its name, such as `p99`; `None`: it is not known."""
        found: float | None = getattr(self, statistic, None)
        return found


class TokenSums(Stored):
    """Sums of tokens over the `ok` requests of a level."""

    SPARSE = frozenset({"asked_input", "input", "asked_output", "output", "cached", "reasoning"})

    asked_input: Count | None = None
    input: Count | None = None
    asked_output: Count | None = None
    output: Count | None = None
    cached: Count | None = None
    reasoning: Count | None = None
    token_count_source: dict[str, Count] = Field(default_factory=dict)


class SteadyState(Stored):
    """Where a level was steady, in seconds from its start."""

    found: Flag | None = None
    start_seconds: Number | None = None
    end_seconds: Number | None = None


class RateIntervals(Stored):
    """95 % intervals of the rates of a level."""

    intervals_95: dict[str, list[Number]] = Field(default_factory=dict)
    batches: Count | None = None
    doubtful: list[str] = Field(default_factory=list)


class AgainstFirst(Stored):
    """How the answers of a level differ from those of the first, question by question."""

    difference: Number
    interval: tuple[Number, Number]
    questions: Count | None = None
    left_out: Count | None = None
    better: Count | None = None
    worse: Count | None = None
    mcnemar_p: Number | None = None
    significant: Flag


class Scored(Stored):
    """A score with its 95 % interval."""

    score: Number | None = None
    stderr: Number | None = None
    interval: tuple[Number, Number] | None = None
    n: Count | None = None
    questions: Count | None = None


def scored(one: Estimate) -> Scored:
    """Return a score as files hold it."""
    return Scored(
        score=one.score,
        stderr=one.stderr,
        interval=(one.low, one.high),
        n=one.n,
        questions=one.questions,
    )


class LevelScore(Scored):
    """What the answers of one level of a climb were worth."""

    level: str | None = None
    climb_repeat: Count | None = None
    task: str | None = None
    completed: Count | None = None
    truncated: Count | None = None
    no_answer: Count | None = None
    refused: Count | None = None
    content_filter: Count | None = None
    errors: Count | None = None
    against_first: AgainstFirst | None = None


def level_name(level: str, repeat: int) -> str:
    """Return what a level is called, with its repeat where it is not the first."""
    return level if repeat == 1 else f"{level} #{repeat}"


class Level(Stored):
    """One level: counts, rates per second of window, latencies in seconds, and the verdict."""

    SPARSE = frozenset(
        {
            *("max_inflight", "interrupted", "rate_intervals", "tpot_estimated", "tpot_excluded"),
            *("timestamps", "accuracy", "definitions", "origin_file"),
        }
    )

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
    itl: Literal["exact", "estimated"] | None = None
    tpot_estimated: Count | None = None
    tpot_excluded: Count | None = None
    tokens: TokenSums = Field(default_factory=TokenSums)
    validity: Literal["valid", "suspect", "invalid"] | None
    reasons: list[str] = Field(default_factory=list)
    findings: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    timestamps: dict[str, Count] | None = None
    client: Facts | None = None
    server: dict[str, Number] | None = None
    accuracy: LevelScore | None = None
    metrics: dict[str, Statistics]
    definitions: dict[str, str] | None = None
    origin_file: str | None = None

    @property
    def name(self) -> str:
        """What it is called, with its repeat where it is not the first: `c8 #2`."""
        return level_name(self.level, self.repeat)

    def figure(self, name: str) -> float | None:
        """Return a figure by its name, such as `ttft.p99` or `goodput`; `None`: it has none."""
        metric, dot, statistic = name.partition(".")
        if dot:
            found = self.metrics.get(metric)
            return None if found is None else found.value(statistic)
        value: float | None = getattr(self, name)
        return value


class TargetFacts(Stored):
    """Whom a run asked."""

    kind: str | None = None
    base_url: str | None = None
    model: str | None = None
    endpoint: str | None = None
    stream: Flag | None = None
    path: str | None = None
    extra_body: Facts | None = None
    omit: list[str] | None = None
    rename: dict[str, str] | None = None


class WorkloadFacts(Stored):
    """What a run asked; of several workloads each is one of `parts`."""

    name: str | None = None
    kind: str | None = None
    distinct: Count | None = None
    asked: Count | None = None
    parts: list[WorkloadFacts] | None = None


class LoadFacts(Stored):
    """How a run asked; of several loads each is one of `parts`."""

    arrival: str | None = None
    max_inflight: Count | None = None
    parts: list[LoadFacts] | None = None


class HostFacts(Stored):
    """Where the load generator ran."""

    hostname: str | None = None


class Origin(Stored):
    """The file of another tool that a run was imported from."""

    tool: str | None = None
    version: str | None = None
    file: str | None = None
    sha256: str | None = None
    files: list[Origin] | None = None


PartName = Literal["target", "workload", "load", "versions", "host"]


@dataclass(frozen=True, slots=True)
class Part:
    """What a run says of its target, workload, load, versions or host.

    Args:
        said: by key.
        parts: of several workloads or loads what is said of each.
    """

    said: Mapping[str, object]
    parts: tuple[Part, ...] = ()


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
    versions: Facts | None = None
    host: HostFacts | None = None
    timestamps: dict[str, Count] | None = None
    levels: list[Level] = Field(default_factory=list)

    def part(self, name: PartName) -> Part:
        """Return what it says of one thing; nothing where it is silent."""
        found: Stored | Facts | None = getattr(self, name)
        if found is None:
            return Part({})
        if not isinstance(found, Stored):
            return Part(found)
        parts = getattr(found, "parts", None) or []
        return Part(found.to_json(), tuple(Part(one.to_json()) for one in parts))

    def label(self, name: str) -> str:
        """Return a label; empty: it has none of that name."""
        return (self.labels or {}).get(name) or ""

    @property
    def simulated(self) -> bool:
        """Whether its figures are those of the built-in simulated server."""
        return self.target.kind == "simulator"
