"""Matrix: which scenarios are run, each with which stages and levels."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchcore.config.levels import check_levels


class Choice(BaseModel):
    """What a matrix picks of one scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skip: str | None = Field(None, min_length=1, description="why it is left out")
    stages: tuple[str, ...] | None = Field(
        None, min_length=1, description="only these; all that the scenario has when left out"
    )
    concurrency: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None, min_length=1, description="levels of its climb, instead of its own"
    )
    rate: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
        None, min_length=1, description="likewise, in requests a second"
    )

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Self:
        check_levels(self.concurrency or (), self.rate or ())
        return self


class RunTypes(BaseModel):
    """What is picked for each run type, by the id of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pr: dict[str, Choice] = Field(default_factory=dict, description="for run type pr")
    daily: dict[str, Choice] = Field(default_factory=dict, description="for run type daily")


class Matrix(BaseModel):
    """Scenarios that are run one after the other; one that is not named runs everything."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="of the matrix, for its folder"
    )
    description: str = Field("", description="one line for people")
    include: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1, description="files of scenarios, relative to this one; * and ? are wild"
    )
    run_types: RunTypes = Field(RunTypes(), description="what is picked of them")
