"""Accuracy: what became of each sample of an eval, and of all of them."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson
from pydantic import JsonValue, TypeAdapter, ValidationError

from benchcore.metrics.scores import Estimate, estimate


class SampleOutcome(StrEnum):
    """What became of a sample; each is exactly one of these."""

    SCORED = "scored"
    """An answer was found and has a score."""
    NO_ANSWER = "no_answer"
    """The model said something, or nothing, and no answer is in it: score 0."""
    REFUSED = "refused"
    """The model declined: score 0."""
    CONTENT_FILTER = "content_filter"
    """A filter of the server stopped the answer: score 0."""
    ERROR = "error"
    """No answer came whole: a status, a time-out, a broken stream. It has no score."""


@dataclass(slots=True)
class Sample:
    """One question asked once, and what came of it.

    Args:
        index: its place in the order of asking, from 0.
        question: by which the question is known: the same in every repeat and every run.
        repeat: which repeat, from 0.
        group: what it is counted with besides, such as a subject or a language.
        target: the right answer, as short as the task has it.
        facts: what a rescoring needs, such as the permutation of the choices.
        outcome: what became of it.
        truncated: the answer was cut at the limit of tokens, whatever was found in it.
        extracted: the answer that was found.
        score: 0 to 1; `None`: an error.
        details: what else the task says, such as which of several instructions were followed.
        finish_reason: as the server gives it.
        input_tokens: of the prompt, as the server billed it.
        output_tokens: of the answer, likewise.
        reasoning_tokens: of them, likewise.
        seconds: from sending to the end, of the last try.
        tries: how often it was sent.
        retried: why it was sent again, a line each.
        error: what went wrong.
        prompt_sha256: of what was asked.
        answer_sha256: of what was answered.
        prompt: what was asked, where texts are kept.
        answer: what was answered, where texts are kept.
    """

    index: int
    question: str
    repeat: int
    group: str
    target: str
    facts: dict[str, JsonValue] = field(default_factory=dict)
    outcome: SampleOutcome = SampleOutcome.ERROR
    truncated: bool = False
    extracted: str | None = None
    score: float | None = None
    details: dict[str, JsonValue] = field(default_factory=dict)
    finish_reason: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    seconds: float | None = None
    tries: int = 0
    retried: list[str] = field(default_factory=list)
    error: str = ""
    prompt_sha256: str = ""
    answer_sha256: str | None = None
    prompt: list[dict[str, str]] | None = None
    answer: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of `samples.jsonl`; texts only where they were kept."""
        entry = {name: getattr(self, name) for name in _PLAIN}
        entry["outcome"] = self.outcome.value
        if self.prompt is not None:
            entry["prompt"] = self.prompt
        if self.answer is not None:
            entry["answer"] = self.answer
        return entry

    @staticmethod
    def from_json(line: bytes) -> Sample:
        """Return the sample of a line of `samples.jsonl`.

        Raises:
            ValueError: it is none.
        """
        try:
            sample = _line_reader().validate_json(line, strict=True)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = "".join(f"{step}: " for step in fault["loc"])
            raise ValueError(f"it is not a sample: {where}{fault['msg'].lower()}") from None
        if "outcome" not in orjson.loads(line):  # its default is of one that is being asked
            raise ValueError("it is not a sample: outcome: field required")
        return sample


@functools.cache
def _line_reader() -> TypeAdapter[Sample]:
    return TypeAdapter(Sample)  # it takes a while, and few commands read any


_PLAIN: Final = tuple(
    name for name in Sample.__slots__ if name not in ("outcome", "prompt", "answer")
)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many samples became what."""

    n: int
    completed: int
    scored: int
    truncated: int
    no_answer: int
    refused: int
    content_filter: int
    errors: int
    retries: int


def tally(samples: list[Sample]) -> Tally:
    """Count samples."""
    counts = Counter(sample.outcome for sample in samples)
    errors = counts[SampleOutcome.ERROR]
    return Tally(
        n=len(samples),
        completed=len(samples) - errors,
        scored=counts[SampleOutcome.SCORED],
        truncated=sum(1 for sample in samples if sample.truncated),
        no_answer=counts[SampleOutcome.NO_ANSWER],
        refused=counts[SampleOutcome.REFUSED],
        content_filter=counts[SampleOutcome.CONTENT_FILTER],
        errors=errors,
        retries=sum(max(sample.tries - 1, 0) for sample in samples),
    )


def over_all(samples: list[Sample]) -> Estimate | None:
    """Return the score over all samples; an error counts as 0, since nothing right came."""
    scores = [sample.score or 0.0 for sample in samples]
    return estimate(scores, [sample.question for sample in samples])


def over_completed(samples: list[Sample]) -> Estimate | None:
    """Return the score over the samples that are no errors."""
    completed = [sample for sample in samples if sample.score is not None]
    return over_all(completed)


def by_question(samples: list[Sample]) -> dict[str, list[float]]:
    """Return the scores of completed samples by question."""
    scores: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.score is not None:
            scores[sample.question].append(sample.score)
    return dict(scores)
