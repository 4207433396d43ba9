"""Stage: what a scenario may say of each of its stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchcore.config.climb import ClimbFields
from benchcore.config.eval import EvalConfig
from benchcore.config.functional import FunctionalConfig
from benchcore.config.gate import DEFAULT, Rule
from benchcore.config.levels import check_levels
from benchcore.config.target import Endpoint, Timeouts

Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StageSettings(BaseModel):
    """What every stage has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit_seconds: Limit | None = Field(
        None,
        description="it is stopped after this time and counts as failed; its own when left out",
    )
    continue_on_error: bool | None = Field(
        None, description="whether the stages after it run although it failed; the run type's"
    )
    on_failure: Literal["fail", "warn"] | None = Field(
        None, description="whether a failure of it fails the run, or is told; the run type's"
    )


class Asked(BaseModel):
    """How a stage's requests are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Endpoint = Field("chat", description="chat, completions or responses")
    stream: bool = Field(default=True, description="ask for a stream of tokens")
    timeouts: Timeouts = Field(Timeouts(), description="limits of one request, in seconds")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="fields of every request body, besides the target's"
    )

    @property
    def asked_endpoint(self) -> Endpoint | None:
        """The endpoint where one is named; `None`: that of the address, if one is in it."""
        return self.endpoint if "endpoint" in self.model_fields_set else None


class FunctionalSettings(StageSettings, FunctionalConfig):
    """Functional checks."""

    expired_key_env: str | None = Field(
        None, description="variable that holds a key that has expired"
    )
    fail_fast: bool = Field(default=False, description="stop at the first failure")


class PerfSettings(StageSettings, Asked, ClimbFields):
    """The climb."""

    seed: int | None = Field(  # type: ignore[assignment]  # a climb has one, drawn where none is said
        None, ge=0, description="prompts and arrivals derive from it; drawn anew when left out"
    )
    workload: str | None = Field(
        None, min_length=1, description="a named workload, or a file; synthetic when left out"
    )
    input_tokens: int | str | None = Field(None, description="length of prompts, or a distribution")
    output_tokens: int | str | None = Field(
        None, description="the most tokens of an answer, or a distribution"
    )
    language: Literal["en", "zh", "mixed"] | None = Field(None, description="of synthetic prompts")
    shared_prefix_tokens: int | None = Field(None, ge=0, description="tokens all prompts share")
    ignore_eos: bool | None = Field(None, description="ask for exactly output_tokens")
    tokenizer: str | None = Field(None, min_length=1, description="a local tokenizer.json")
    allow_empty: bool = Field(default=False, description="an answer without output is no failure")
    sinks: tuple[str, ...] = Field((), description="sinks besides, such as jsonl or openmetrics")

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Self:
        check_levels(self.concurrency, self.rate)
        return self


class AccuracySettings(StageSettings, Asked, EvalConfig):
    """The eval."""

    task: str = Field("gpqa", min_length=1, description="a task, or a YAML file of one's own")
    data: str | None = Field(
        None, min_length=1, description="file or folder of the questions; fetched when left out"
    )
    few_shot_data: str | None = Field(None, min_length=1, description="where solved questions are")
    preset: Literal["debug", "full"] | None = Field(None, description="a few rows, or all of them")


class GateSettings(StageSettings):
    """What the run is held against."""

    baseline: str | None = Field(
        None, min_length=1, description="folder or name; the latest valid run of the same kind"
    )
    required: bool = Field(
        default=False, description="fail where there is nothing to be held against"
    )
    anyway: bool = Field(default=False, description="also where different things were asked")
    rules: tuple[Rule, ...] = Field(
        DEFAULT.rules, min_length=1, description="held on each level that they name"
    )
    false_alarms: float = Field(
        DEFAULT.false_alarms, gt=0, lt=0.5, description="share of gates that may fail by chance"
    )


class SinksSettings(StageSettings):
    """Where the results go besides the run folder."""

    push: bool | None = Field(
        None, description="push to the Pushgateway that PROM_PUSHGATEWAY_URL names; the run type's"
    )
    job: str = Field("benchcore", min_length=1, description="first of the grouping key")
    prefix: str = Field("benchcore_", description="of every metric's name; may be empty")
    user_env: str = Field("PROM_PUSHGATEWAY_USER", description="variable that holds the user")
    password_env: str = Field(
        "PROM_PUSHGATEWAY_PASSWORD", description="variable that holds the password"
    )
    ca_file: str | None = Field(None, min_length=1, description="certificates to trust")


STAGES: dict[str, type[StageSettings]] = {
    "functional": FunctionalSettings,
    "perf": PerfSettings,
    "accuracy": AccuracySettings,
    "gate": GateSettings,
    "sinks": SinksSettings,
}
"""The stages that come with benchcore, in their order, each with what may be said of it."""
