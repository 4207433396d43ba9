"""Limits: of a list of levels, of a good request, and of a run against its baseline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from benchcore.base.errors import ConfigError
from benchcore.config.catalogue import LATENCIES, RATES, SLO_LATENCIES


def check_climbs(levels: Sequence[float]) -> None:
    """Check that each level is above the one before.

    Raises:
        ConfigError: it is not; the message has the list in its right order.
    """
    if any(after <= before for before, after in pairwise(levels)):
        listed = ",".join(f"{level:.12g}" for level in levels)
        ordered = ",".join(f"{level:.12g}" for level in sorted(set(levels)))
        raise ConfigError(f"{listed} does not climb; did you mean {ordered}?")


def check_levels(concurrency: Sequence[int], rate: Sequence[float]) -> None:
    """Check levels of which only one kind may be given.

    Raises:
        ValueError: both are given, or those given do not climb.
    """
    if concurrency and rate:
        raise ValueError("levels are of concurrency or of rate: give one of them")
    for name, levels in (("concurrency", concurrency), ("rate", rate)):
        try:
            check_climbs(levels)
        except ConfigError as error:
            raise ValueError(f"{name} {error}") from None


_UNITS_NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ns|us|µs|ms|s|m|min|h)?")


def parse_duration_ns(text: str) -> int:
    """Read `500ms`, `2s`, `1.5m` or a bare number of seconds; returns nanoseconds.

    Raises:
        ConfigError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a duration such as 500ms, 2s or 1.5m")
    unit = match[2] or "s"
    scale = {"m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}.get(unit) or _UNITS_NS[unit]
    return round(float(match[1]) * scale)


@dataclass(frozen=True, slots=True)
class Slo:
    """A limit in ns on one figure; `icl` and `itl` are judged by the request's own p99."""

    metric: str
    limit_ns: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ttft:500ms`.

        Raises:
            ConfigError: it is not METRIC:DURATION.
        """
        name, _, limit = text.partition(":")
        if name not in SLO_LATENCIES or not limit:
            raise ConfigError(
                f"SLO {text!r} is not METRIC:DURATION with METRIC one of "
                f"{', '.join(SLO_LATENCIES)}, such as ttft:500ms"
            )
        limit_ns = parse_duration_ns(limit)
        if limit_ns <= 0:
            raise ConfigError(f"SLO {text!r}: a limit must be above 0")
        number = limit.strip()
        if not number[-1].isalpha():
            raise ConfigError(f"SLO {text!r} needs a unit: {name}:{number}ms or {name}:{number}s")
        return cls(name, limit_ns)

    def __str__(self) -> str:
        return f"{self.metric}:{self.limit_ns / 1e6:g}ms"


def check_slos(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return SLOs as they are given, once each has been read.

    Raises:
        ValueError: some are none; names all that are wrong.
    """
    faults = []
    for text in texts:
        try:
            Slo.parse(text)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ValueError("; ".join(faults))
    return texts


_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%)?")
FAILURES: Final = "failures"
USUAL_PERCENTILE: Final = 99.0
USUAL_FAILURES: Final = "failures:1%"


@dataclass(frozen=True, slots=True)
class Objective:
    """What a level must hold: at least a share of what it is judged by keeps within a limit.

    Args:
        metric: a latency, or `failures`.
        share: that keeps within the limit, between 0 and 1; of `failures`, that does not fail.
        limit_ns: of the latency; `None`: of `failures`, which has none.
    """

    metric: str
    share: float
    limit_ns: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ttft:p99:500ms`, `ttft:500ms` (of the 99th percentile), or `failures:1%`.

        Raises:
            ConfigError: it is none of these.
        """
        name, _, rest = text.partition(":")
        if name == FAILURES:
            match = _PERCENT.fullmatch(rest.strip())
            failed = float(match[1]) / (100 if match[2] else 1) if match is not None else -1.0
            if not 0 < failed < 1:
                raise ConfigError(f"SLO {text!r} is not a share above 0, such as failures:1%")
            return cls(FAILURES, 1 - failed, None)
        percentile, colon, limit = rest.partition(":")
        if not colon:
            percentile, limit = f"p{USUAL_PERCENTILE:g}", rest
        match = _PERCENTILE.fullmatch(percentile.strip())
        known = name in SLO_LATENCIES and bool(limit)
        if not known or match is None or not 0 < float(match[1]) < 100:
            raise ConfigError(
                f"SLO {text!r} is neither METRIC:PERCENTILE:DURATION with METRIC one of "
                f"{', '.join(SLO_LATENCIES)}, such as ttft:p99:500ms, nor failures:SHARE"
            )
        return cls(name, float(match[1]) / 100, Slo.parse(f"{name}:{limit}").limit_ns)

    def __str__(self) -> str:
        if self.limit_ns is None:
            return f"{FAILURES}:{100 * (1 - self.share):.6g}%"
        return f"{self.metric}:p{100 * self.share:.6g}:{self.limit_ns / 1e6:.12g}ms"


# The rules by which a run is held against a baseline.

_METRIC: Final = re.compile(
    rf"(?:{'|'.join(latency.key for latency in LATENCIES.values() if latency.gate)})"
    r"\.(?:avg|min|max|std|p50|p75|p90|p95|p99|p999)\Z"
)
OF_THE_RUN: Final = ("functional.pass_ratio", "accuracy.score")


_SHARE: Final[dict[str, object]] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^\s*[0-9.]+\s*%\s*$"},
    ]
}


class Rule(BaseModel):
    """One rule of a gate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(
        description="the figure, such as ttft.p99, request_throughput or accuracy.score"
    )
    level: str = Field(
        "*", min_length=1, description="the levels that the rule is for, such as c64 or c*"
    )
    worse_by: Annotated[float, Field(ge=0), WithJsonSchema(_SHARE)] | None = Field(
        None, description="fail where it is worse than the baseline by more than this, 10% or 0.1"
    )
    min: float | None = Field(
        None, allow_inf_nan=False, description="fail where the figure is below this"
    )
    max: float | None = Field(
        None, allow_inf_nan=False, description="fail where the figure is above this"
    )
    needs: Literal["significant"] | None = Field(
        None, description="significant: a change counts only where it is more than chance"
    )

    @field_validator("worse_by", mode="before")
    @classmethod
    def _percent(cls, value: object) -> object:
        if isinstance(value, str) and value.strip().endswith("%"):
            return float(value.strip()[:-1]) / 100
        return value

    @field_validator("metric")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value in RATES or value in OF_THE_RUN or _METRIC.match(value):
            return value
        raise ValueError(
            f"{value!r} is not a figure; write METRIC.STATISTIC such as ttft.p99, or one of "
            f"{', '.join((*RATES, *OF_THE_RUN))}"
        )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.worse_by is None and self.min is None and self.max is None:
            raise ValueError("give worse_by, min or max")
        if self.needs is not None and self.worse_by is None:
            raise ValueError("needs can only be given with worse_by")
        return self


class GateFile(BaseModel):
    """The rules of a file; they replace the usual ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = Field(
        min_length=1, description="the rules; each applies to the levels that it names"
    )
    false_alarms: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="the share of gates that may fail although nothing has changed",
    )


def _rule(metric: str, **fields: object) -> Rule:
    return Rule.model_validate({"metric": metric, **fields})


DEFAULT: Final = GateFile(
    rules=(
        _rule("ttft.p99", worse_by="10%", needs="significant"),
        _rule("e2e.p99", worse_by="10%", needs="significant"),
        _rule("request_throughput", worse_by="5%", needs="significant"),
        _rule("failure_rate", max=0.05),
        _rule("functional.pass_ratio", worse_by=0),
        _rule("accuracy.score", worse_by=0, needs="significant"),
    ),
    false_alarms=0.01,
)
"""The usual rules."""
