"""Eval: how a task's questions are asked and judged."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Extraction = Literal["robust", "simple-evals"]


class EvalConfig(BaseModel):
    """How a task's questions are asked and judged.

    Args:
        variant: of the task, such as `diamond`, a subject, or languages joined by commas.
        extraction: how the answer is found in what the model says.
        limit: ask so many questions.
        n_repeats: ask each so often; left out: as often as the task does by itself.
        temperature: of sampling.
        top_p: of sampling; left out: the server's own.
        max_tokens: the most tokens of an answer.
        system: text of a system turn before each question.
        few_shot: solved questions before each.
        concurrency: questions at a time.
        rate: questions a second instead, whatever the server does.
        retries: how often a question is sent again after a passing fault.
        min_score: what the score is held to.
        keep_text: keep what was asked and answered in `samples.jsonl`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str = Field("", description="of the task; its usual one when left out")
    extraction: Extraction = Field("robust", description="robust, or the rule of simple-evals")
    limit: int | None = Field(None, ge=1, description="ask so many questions")
    n_repeats: int | None = Field(None, ge=1, le=1000, description="ask each so often")
    temperature: float = Field(0.0, ge=0, allow_inf_nan=False, description="of sampling")
    top_p: float | None = Field(None, gt=0, le=1, description="of sampling; the server's own")
    max_tokens: int = Field(4096, ge=1, description="the most tokens of an answer")
    system: str | None = Field(None, min_length=1, description="text of a system turn")
    few_shot: int = Field(0, ge=0, le=100, description="solved questions before each")
    concurrency: int = Field(16, ge=1, le=65536, description="questions at a time")
    rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="questions a second instead"
    )
    retries: int = Field(4, ge=0, le=100, description="of a question, after a passing fault")
    min_score: float | None = Field(None, ge=0, le=1, description="what the score is held to")
    keep_text: bool = Field(default=False, description="keep questions and answers")

    @model_validator(mode="after")
    def _repeats_of_a_sample(self) -> Self:
        if (
            self.extraction == "simple-evals"
            and self.limit is not None
            and (self.n_repeats or 1) > 1
        ):
            raise ValueError(
                "limit goes with n_repeats 1 in simple-evals mode, as there; leave one out"
            )
        return self


PRESETS: dict[str, dict[str, object]] = {
    "debug": {"limit": 10, "n_repeats": 1},
    "full": {"limit": None},
}
"""Settings by name: a few rows for a pull request, and everything for the night."""
