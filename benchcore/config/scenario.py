"""Scenario: a server and what is done with it, stage by stage; many of them as a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchcore.config.checks import FunctionalConfig
from benchcore.config.climb import LEVELS, ClimbFields
from benchcore.config.evals import EvalConfig
from benchcore.config.limits import DEFAULT, Rule, check_levels, check_slos
from benchcore.config.servers import Launch, ScenarioTarget
from benchcore.config.target import Endpoint, Timeouts

RunTypeName = Literal["pr", "daily"]


_ALTERNATIVES: Final = (
    ("suite",),
    LEVELS,
    ("requests", "duration_seconds", "workload"),
    ("limit", "preset"),
)
"""Settings of which one replaces the others: where one is given, no default of another counts."""


@dataclass(frozen=True, slots=True)
class RunType:
    """One of the two run types.

    Args:
        name: of it.
        defaults: settings by stage, where the scenario says nothing of the same kind.
        warns: stages whose failure is told and fails nothing.
        continues: whether stages after one that failed still run.
        pushes: whether results are pushed.
    """

    name: RunTypeName
    defaults: dict[str, dict[str, Any]]
    warns: frozenset[str]
    continues: bool
    pushes: bool

    def filled(self, stage: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return settings of a stage with this run type's defaults below them."""
        said = {name for group in _ALTERNATIVES if set(group) & set(given) for name in group}
        defaults = self.defaults.get(stage, {})
        return {name: value for name, value in defaults.items() if name not in said} | given


RUN_TYPES: Final[dict[str, RunType]] = {
    "pr": RunType(
        "pr",
        {
            "functional": {"suite": False},
            "perf": {"concurrency": (1, 8), "requests": 64},
            "accuracy": {"preset": "debug"},
        },
        warns=frozenset(),
        continues=False,
        pushes=False,
    ),
    "daily": RunType(
        "daily",
        {
            "functional": {"suite": True},
            "perf": {"concurrency": (1, 8, 64)},
            "accuracy": {"preset": "full"},
        },
        warns=frozenset({"perf", "accuracy", "gate", "sinks"}),
        continues=True,
        pushes=True,
    ),
}
"""`pr`: short, everything that fails fails the run. `daily`: full; only the checks fail it."""


Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StageSettings(BaseModel):
    """What can be set for every stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    limit_seconds: Limit | None = Field(
        None, description="stop the stage after this time, as failed; its own limit by default"
    )
    continue_on_error: bool | None = Field(
        None, description="run later stages although this one failed; the run type's by default"
    )
    on_failure: Literal["fail", "warn"] | None = Field(
        None,
        description="whether its failure fails the run or is a warning; the run type's by default",
    )


class Asked(BaseModel):
    """How a stage's requests are made."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    endpoint: Endpoint = Field(
        "chat", description="the endpoint of the API: chat, completions or responses"
    )
    stream: bool = Field(default=True, description="ask for a stream of tokens")
    timeouts: Timeouts = Field(Timeouts(), description="the time limits of one request, in seconds")
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="fields to add to every request body, besides the target's",
    )

    @property
    def asked_endpoint(self) -> Endpoint | None:
        """The endpoint where one is named; `None`: that of the address, if one is in it."""
        return self.endpoint if "endpoint" in self.model_fields_set else None


class FunctionalSettings(StageSettings, FunctionalConfig):
    """The functional checks."""

    expired_key_env: str | None = Field(
        None, description="the variable that holds a key that has expired"
    )
    fail_fast: bool = Field(default=False, description="stop at the first failure")


class PerfSettings(StageSettings, Asked, ClimbFields):
    """The climb."""

    seed: int | None = Field(  # type: ignore[assignment]  # a climb has one, drawn where none is said
        None, ge=0, description="the seed of prompts and arrivals; a new one is drawn by default"
    )
    workload: str | None = Field(
        None, min_length=1, description="a named workload, or a file; synthetic prompts by default"
    )
    input_tokens: int | str | None = Field(
        None, description="the length of prompts in tokens, or a distribution of lengths"
    )
    output_tokens: int | str | None = Field(
        None, description="the most tokens that an answer may have, or a distribution"
    )
    language: Literal["en", "zh", "mixed"] | None = Field(
        None, description="the language of synthetic prompts"
    )
    shared_prefix_tokens: int | None = Field(
        None, ge=0, description="how many tokens all prompts share at their beginning"
    )
    ignore_eos: bool | None = Field(
        None, description="ask for exactly output_tokens, where the server allows it"
    )
    tokenizer: str | None = Field(
        None, min_length=1, description="a local tokenizer.json that tokens are counted with"
    )
    allow_empty: bool = Field(
        default=False, description="count an answer without output as a success"
    )
    sinks: tuple[str, ...] = Field(
        (), description="further sinks to write to, such as jsonl or openmetrics"
    )

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Self:
        check_levels(self.concurrency, self.rate)
        return self


class AccuracySettings(StageSettings, Asked, EvalConfig):
    """The eval."""

    task: str = Field("gpqa", min_length=1, description="the task, or a YAML file of your own")
    data: str | None = Field(
        None, min_length=1, description="the file or folder of the questions; fetched by default"
    )
    few_shot_data: str | None = Field(
        None, min_length=1, description="the file of the solved questions"
    )
    preset: Literal["debug", "full"] | None = Field(
        None, description="ask a few questions (debug), or all of them (full)"
    )


class GateSettings(StageSettings):
    """What the run is compared with, and by which rules."""

    baseline: str | None = Field(
        None,
        min_length=1,
        description="folder or name; by default the latest valid run of the same kind",
    )
    required: bool = Field(
        default=False, description="fail where there is no baseline to compare with"
    )
    anyway: bool = Field(
        default=False, description="judge even where the two runs were asked different things"
    )
    rules: tuple[Rule, ...] = Field(
        DEFAULT.rules,
        min_length=1,
        description="the rules; each applies to the levels that it names",
    )
    false_alarms: float = Field(
        DEFAULT.false_alarms, gt=0, lt=0.5, description="the share of gates that may fail by chance"
    )


class SinksSettings(StageSettings):
    """Where the results go, besides the run folder."""

    push: bool | None = Field(
        None, description="push to the gateway of PROM_PUSHGATEWAY_URL; the run type's by default"
    )
    job: str = Field(
        "benchcore",
        min_length=1,
        description="the job, which is the first label of the grouping key",
    )
    prefix: str = Field(
        "benchcore_", description="the prefix of every metric's name; it may be empty"
    )
    user_env: str = Field(
        "PROM_PUSHGATEWAY_USER", description="the variable that holds the user name"
    )
    password_env: str = Field(
        "PROM_PUSHGATEWAY_PASSWORD", description="the variable that holds the password"
    )
    ca_file: str | None = Field(None, min_length=1, description="a file of certificates to trust")


STAGES: dict[str, type[StageSettings]] = {
    "functional": FunctionalSettings,
    "perf": PerfSettings,
    "accuracy": AccuracySettings,
    "gate": GateSettings,
    "sinks": SinksSettings,
}
"""The stages that come with benchcore, in their order, each with what may be said of it."""


class Health(BaseModel):
    """When a server counts as up: its health endpoint answers 200, and then one real request."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    path: str = Field("/health", pattern=r"^/[^?#\s]*$", description="the path that is asked first")
    limit_seconds: float = Field(
        1200.0,
        gt=0,
        allow_inf_nan=False,
        description="how long the server may take to come up, in seconds",
    )
    request: bool = Field(default=True, description="make one real request, too")
    request_seconds: float = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="how long one try may take; a first request may have to wait for a compiler",
    )


class Scenario(BaseModel):
    """A scenario as it is for one run type, without its stages, which have models of their own."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$",
        description="the name by which the scenario is known everywhere",
    )
    description: str = Field("", description="a one-line description for people")
    model: str | None = Field(
        None,
        min_length=1,
        description="the name of the model; the server is asked for it by default",
    )
    quant: str = Field("", description="the quantisation of the model, for labels")
    labels: dict[str, str] = Field(default_factory=dict, description="labels of your own")
    gpus: int | None = Field(
        None, ge=1, description="how many GPUs the server has, for figures per GPU"
    )
    priority: int = Field(0, description="the priority in a matrix, where the highest goes first")
    target: ScenarioTarget = Field(ScenarioTarget(), description="which server is asked, and how")
    launch: Launch | None = Field(None, description="how the server is started")
    health: Health = Field(Health(), description="when the server counts as up")
    slos: tuple[str, ...] = Field((), description="the limits of a good request, as METRIC:LIMIT")
    stages: dict[str, Any] = Field(
        default_factory=dict,
        description="settings by stage, with what differs under pr and daily; false: left out",
    )

    @field_validator("slos")
    @classmethod
    def _slos_are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_slos(value)

    @model_validator(mode="after")
    def _has_a_server(self) -> Self:
        here = self.target.base_url is not None or self.target.provider is not None
        if here and self.launch is not None:
            raise ValueError("a scenario has either a target's address or a launch, not both")
        if not here and self.launch is None:
            raise ValueError(
                "give target.base_url, target.provider or launch, so that there is a server to ask"
            )
        if self.target.base_url is not None and self.target.provider is not None:
            raise ValueError("target: give provider or base_url, not both")
        return self


class Choice(BaseModel):
    """What a matrix picks of one scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    skip: str | None = Field(
        None, min_length=1, description="the reason why the scenario is left out"
    )
    stages: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="run only these stages; by default all that the scenario has",
    )
    concurrency: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, min_length=1, description="the climb's levels of concurrency, instead of its own"
    )
    rate: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
        None,
        min_length=1,
        description="the climb's rates in requests per second, instead of its own",
    )

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Self:
        check_levels(self.concurrency or (), self.rate or ())
        return self


class RunTypes(BaseModel):
    """What is picked for each run type, by the scenario's id."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    pr: dict[str, Choice] = Field(
        default_factory=dict, description="what is picked for the run type pr"
    )
    daily: dict[str, Choice] = Field(
        default_factory=dict, description="what is picked for the run type daily"
    )


class Matrix(BaseModel):
    """Scenarios that are run one after the other; one that is not named below runs everything."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$",
        description="the name of the matrix, which its folder bears",
    )
    description: str = Field("", description="a one-line description for people")
    include: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="files of scenarios, relative to this one; * and ? are wildcards"
    )
    run_types: RunTypes = Field(
        RunTypes(), description="what is picked from the scenarios for each run type"
    )
