"""Accuracy: what became of each sample of an eval, and of all of them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from benchcore.metrics.scores import Difference, Estimate, estimate

Status = Literal["running", "complete", "interrupted", "failed"]


SCHEMA_VERSION = 1
_ROOM = re.compile(r"context|max_(?:completion_|output_)?tokens|too (?:long|large)", re.IGNORECASE)
"""What servers say of a prompt and an answer that do not fit into the context together."""
FEWEST = 30
"""With fewer questions an interval says so itself; below this it is said in words as well."""


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
    facts: dict[str, Any] = field(default_factory=dict)
    outcome: SampleOutcome = SampleOutcome.ERROR
    truncated: bool = False
    extracted: str | None = None
    score: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
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
    prompt: Any = None
    answer: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of `samples.jsonl`; texts only where they were kept."""
        found = {name: getattr(self, name) for name in _PLAIN}
        found["outcome"] = self.outcome.value
        if self.prompt is not None:
            found["prompt"] = self.prompt
        if self.answer is not None:
            found["answer"] = self.answer
        return found

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        """Return the sample of a line of `samples.jsonl`.

        Raises:
            ValueError: it is none.
        """
        try:
            known = {name: entry[name] for name in _PLAIN if name in entry}
            known["outcome"] = SampleOutcome(entry["outcome"])
            return cls(**known, prompt=entry.get("prompt"), answer=entry.get("answer"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it is no sample: {error!r}") from None


_PLAIN = tuple(name for name in Sample.__slots__ if name not in ("outcome", "prompt", "answer"))


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
    found: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.score is not None:
            found[sample.question].append(sample.score)
    return dict(found)


@dataclass(slots=True)
class AccuracyReport:
    """An eval, finished or not.

    Args:
        task: its name.
        variant: of the task; empty where it has none.
        config: how it was asked and judged, enough to do it again.
        data: where the questions are from: file or address, SHA-256, how many rows.
        target: kind, address, model.
        origin: who sampled and scored: `benchcore`, `simple-evals`, `lm-eval`.
        samples: as they came.
        planned: how many there were to be.
        figures: what the task says besides the score, such as IFEval's four.
        given: the score of another program, where `origin` is not ours.
        min_score: what the score is held to; `None`: nothing.
        status: how far it came.
        seconds: how long it took.
        notes: what a reader must know.
    """

    task: str
    variant: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=lambda: {"provider": "native"})
    samples: list[Sample] = field(default_factory=list)
    planned: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    given: Estimate | None = None
    min_score: float | None = None
    status: Status = "running"
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def score(self) -> Estimate | None:
        """The score over all samples, errors as 0."""
        return self.given or over_all(self.samples)

    @property
    def ok(self) -> bool | None:
        """Whether the score may be what it was held to; `None`: it was held to nothing.

        The upper bound of its 95 % interval decides: only where that is below the limit too is the
        score below it for certain, and not by the luck of the questions.
        """
        if self.min_score is None:
            return None
        score = self.score
        return score is not None and self.status == "complete" and score.high >= self.min_score

    @property
    def certain(self) -> bool | None:
        """Whether there are samples enough to tell: the interval does not hold the limit."""
        score = self.score
        if self.min_score is None or score is None:
            return None
        return not score.low <= self.min_score <= score.high

    @property
    def verdict(self) -> str:
        """What came of the score that it was held to, in a line; empty: it was held to nothing."""
        score = self.score
        if self.ok is None or score is None:
            return ""
        least = f"{self.min_score:g}"
        if not self.ok:
            return f"failed: held to {least}"
        assert self.min_score is not None
        if score.score < self.min_score:
            return f"passed: held to {least}, which the score is below and its interval reaches"
        unsure = "" if self.certain else ", which the samples are too few to tell"
        return f"passed: held to {least}{unsure}"

    @property
    def groups(self) -> dict[str, Estimate]:
        """The score of each group, where there are several."""
        names = sorted({sample.group for sample in self.samples})
        if len(names) < 2:
            return {}
        found = {}
        for name in names:
            score = over_all([sample for sample in self.samples if sample.group == name])
            assert score is not None
            found[name or "other"] = score
        return found

    def remarks(self) -> list[str]:
        """Return what must be said beside the score."""
        counts, score = tally(self.samples), self.score
        lines = list(self.notes)
        if self.min_score is not None and score is not None and not self.certain:
            side = "below" if score.score < self.min_score else "not below"
            lines.append(
                f"too few samples to tell: the score {score.score:.4f} is {side} the limit "
                f"{self.min_score:g}, and its 95 % interval {score.low:.4f}-{score.high:.4f} "
                "reaches both sides of it; --min-score judges by the upper bound: a run fails only "
                "where that is below the limit, too"
            )
        if score is not None and score.questions < FEWEST:
            lines.append(f"{score.questions} questions are few: read the interval, not the score")
        if counts.truncated:
            lines.append(
                f"{counts.truncated} of {counts.n} answers were cut off at the limit of tokens; "
                "raise --max-tokens"
            )
        if counts.content_filter:
            lines.append(
                f"{counts.content_filter} of {counts.n} answers were stopped by a content filter "
                "and count as 0"
            )
        if counts.errors:
            common, times = Counter(
                one.error.partition("\n")[0] for one in self.samples if one.error
            ).most_common(1)[0]
            advice = "; lower --max-tokens" if _ROOM.search(common) else ""
            lines.append(f"the most common error, {times} times: {common[:300]}{advice}")
            lines.append(
                f"{counts.errors} of {counts.n} samples ended in an error and count as 0; "
                "`score_completed` leaves them out"
            )
        if self.status != "complete":
            lines.append(
                f"{len(self.samples)} of {self.planned} samples were made: the run is {self.status}"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it as `accuracy.json`."""
        counts = tally(self.samples)
        score, completed = self.score, over_completed(self.samples)

        def total(name: str) -> int | None:
            known = [value for one in self.samples if (value := getattr(one, name)) is not None]
            return sum(known) if known else None

        return {
            "schema_version": SCHEMA_VERSION,
            "task": self.task,
            "variant": self.variant or None,
            "status": self.status,
            "ok": self.ok,
            "certain": self.certain,
            "min_score": self.min_score,
            "score": None if score is None else score.score,
            "stderr": None if score is None else score.stderr,
            "interval": None if score is None else [score.low, score.high],
            "score_completed": None if completed is None else completed.to_json(),
            "planned": self.planned,
            "n": score.n if self.given is not None and score is not None else counts.n,
            "questions": None if score is None else score.questions,
            "completed": counts.completed,
            "truncated": counts.truncated,
            "no_answer": counts.no_answer,
            "refused": counts.refused,
            "content_filter": counts.content_filter,
            "errors": counts.errors,
            "retries": counts.retries,
            "groups": {name: one.to_json() for name, one in self.groups.items()},
            "figures": self.figures,
            "tokens": {
                "input": total("input_tokens"),
                "output": total("output_tokens"),
                "reasoning": total("reasoning_tokens"),
            },
            "seconds": self.seconds,
            "config": self.config,
            "data": self.data,
            "target": self.target,
            "origin": self.origin,
            "remarks": self.remarks(),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any], samples: list[Sample]) -> Self:
        """Return the eval that an `accuracy.json` and its samples hold.

        Args:
            found: what the file holds.
            samples: of the same folder.

        Raises:
            ValueError: it is none.
        """
        try:
            report = cls(
                task=found["task"],
                variant=found["variant"] or "",
                config=found["config"],
                data=found["data"],
                target=found["target"],
                origin=found["origin"],
                samples=samples,
                planned=found["planned"],
                figures=found["figures"],
                min_score=found["min_score"],
                status=found["status"],
                seconds=found["seconds"],
            )
            if report.origin.get("provider") != "native" and found["score"] is not None:
                low, high = found["interval"]
                report.given = Estimate(
                    found["score"], found["stderr"], low, high, found["n"], found["questions"]
                )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"it is no accuracy.json: {error!r}") from None
        return report


@dataclass(frozen=True, slots=True)
class LevelAccuracy:
    """What the answers of one level of a climb were worth.

    Args:
        task: whose questions were asked.
        score: over all samples of the level, errors as 0; `None`: there are none.
        counts: how many became what.
        difference: from the first level, question by question; `None`: it is the first, or the two
            have no question in common.
    """

    task: str
    score: Estimate | None
    counts: Tally
    difference: Difference | None

    def to_json(self) -> dict[str, Any]:
        """Return it as `accuracy` of a level in `run.json`."""
        counts = self.counts
        return {
            "task": self.task,
            **({"score": None} if self.score is None else self.score.to_json()),
            "n": counts.n,
            "completed": counts.completed,
            "truncated": counts.truncated,
            "no_answer": counts.no_answer,
            "refused": counts.refused,
            "content_filter": counts.content_filter,
            "errors": counts.errors,
            "against_first": None if self.difference is None else self.difference.to_json(),
        }
