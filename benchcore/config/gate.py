"""Gate: the rules by which a run is held against a baseline."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from benchcore.config.catalogue import LATENCIES, RATES

_METRIC: Final = re.compile(
    rf"(?:{'|'.join(one.key for one in LATENCIES.values() if one.gate)})"
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
    """One rule.

    Args:
        metric: such as `ttft.p99` in seconds, `request_throughput` per second, `failure_rate`,
            `functional.pass_ratio`, `accuracy.score`.
        level: which levels, `c64` or with `*`.
        worse_by: fail where it is worse than the baseline by more than this, as `10%` or 0.1.
        min: fail below.
        max: fail above.
        needs: `significant`: a change counts only where it is more than chance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="such as ttft.p99, request_throughput, accuracy.score")
    level: str = Field("*", min_length=1, description="which levels, such as c64 or c*")
    worse_by: Annotated[float, Field(ge=0), WithJsonSchema(_SHARE)] | None = Field(
        None, description="worse than the baseline by more than this, 10% or 0.1"
    )
    min: float | None = Field(None, allow_inf_nan=False, description="fail below")
    max: float | None = Field(None, allow_inf_nan=False, description="fail above")
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
            f"{value!r} is no figure; write METRIC.STATISTIC such as ttft.p99, or one of "
            f"{', '.join((*RATES, *OF_THE_RUN))}"
        )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.worse_by is None and self.min is None and self.max is None:
            raise ValueError("give worse_by, min or max")
        if self.needs is not None and self.worse_by is None:
            raise ValueError("needs goes with worse_by")
        return self


class GateFile(BaseModel):
    """The rules of a file; they replace the usual ones.

    Args:
        rules: each is held on each level that it names.
        false_alarms: share of gates that may fail where nothing has changed, all rules together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = Field(min_length=1, description="held on each level that they name")
    false_alarms: float = Field(
        0.01, gt=0, lt=0.5, description="share of gates that may fail where nothing has changed"
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
