"""Gate: the rules by which a run is held against a baseline."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from benchcore.config.catalogue import LATENCIES, RATES

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
