"""Accuracy: an eval's folder, with a line for each sample as soon as it is there."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile, replace_file
from benchcore.base.stored import Count, Facts, Flag, Number, Stored
from benchcore.metrics.accuracy import Sample, Status, over_all, over_completed, tally
from benchcore.metrics.scores import Estimate
from benchcore.runs.run import LevelScore, Scored, TargetFacts, scored

SCHEMA_VERSION = 1
_ROOM = re.compile(r"context|max_(?:completion_|output_)?tokens|too (?:long|large)", re.IGNORECASE)
"""What servers say of a prompt and an answer that do not fit into the context together."""
FEWEST = 30
"""With fewer questions an interval says so itself; below this it is said in words as well."""
SAMPLES = "samples.jsonl"
ACCURACY = "accuracy.json"


class SampleFile:
    """`samples.jsonl`, which grows by whole lines.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = GrowingFile(folder / SAMPLES)

    def write(self, sample: Sample, **beside: Any) -> None:
        """Write a sample at once.

        Args:
            sample: with what came of it.
            **beside: what else its line says, such as the level of a climb.

        Raises:
            OSError: it cannot be written.
        """
        entry = {**beside, **sample.to_json()}
        self._file.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_samples(folder: Path, samples: list[Sample]) -> None:
    """Write `samples.jsonl` anew.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    lines = [orjson.dumps(one.to_json(), option=orjson.OPT_APPEND_NEWLINE) for one in samples]
    replace_file(folder / SAMPLES, b"".join(lines))


def read_samples(folder: Path) -> list[Sample]:
    """Return the samples of a run in the order of asking, without a last line that was cut.

    The file has them in the order in which they ended.

    Raises:
        ConfigError: they cannot be read.
    """
    path = folder / SAMPLES
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    found = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            found.append(Sample.from_json(orjson.loads(line)))
        except (orjson.JSONDecodeError, ValueError) as error:
            raise ConfigError(f"{path}:{number}: is not a sample: {error}") from None
    return sorted(found, key=lambda sample: sample.index)


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
        return Eval.of(self).to_json()


class EvalOrigin(Stored):
    """Who sampled and scored: `native`, `simple-evals`, `lm-eval`."""

    provider: str | None = None


class EvalData(Stored):
    """Where the questions are from."""

    task: str | None = None
    given: str | None = None
    few_shot_given: str | None = None
    files: list[Facts] = Field(default_factory=list)


class Eval(Scored):
    """What an eval came to: `accuracy.json`. That of a climb has a score for each of its levels."""

    schema_version: Count | None = None
    task: str
    variant: str | None = None
    status: Status | None = None
    levels: list[LevelScore] | None = None
    ok: Flag | None = None
    certain: Flag | None = None
    min_score: Number | None = None
    score_completed: Scored | None = None
    planned: Count | None = None
    completed: Count | None = None
    truncated: Count | None = None
    no_answer: Count | None = None
    refused: Count | None = None
    content_filter: Count | None = None
    errors: Count | None = None
    retries: Count | None = None
    groups: dict[str, Scored] | None = None
    figures: dict[str, Number] | None = None
    tokens: dict[str, Count | None] | None = None
    seconds: Number | None = None
    config: Facts | None = None
    data: EvalData | None = None
    target: TargetFacts = Field(default_factory=TargetFacts)
    origin: EvalOrigin | None = None
    remarks: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_a_score(self) -> Self:
        if not {"score", "levels"} & self.model_fields_set:
            raise PydanticCustomError("missing", "score: Field required")
        return self

    @property
    def name(self) -> str:
        """The task and its variant."""
        return f"{self.task} {self.variant or ''}".strip()

    @property
    def scored(self) -> bool:
        """Whether it has a score of its own, if only an unknown one."""
        return "score" in self.model_fields_set

    @classmethod
    def of(cls, report: AccuracyReport) -> Self:
        """Return what an eval has come to."""
        counts, score, completed = (
            tally(report.samples),
            report.score,
            over_completed(report.samples),
        )

        def total(name: str) -> int | None:
            known = [value for one in report.samples if (value := getattr(one, name)) is not None]
            return sum(known) if known else None

        return cls(
            schema_version=SCHEMA_VERSION,
            task=report.task,
            variant=report.variant or None,
            status=report.status,
            ok=report.ok,
            certain=report.certain,
            min_score=report.min_score,
            score=None if score is None else score.score,
            stderr=None if score is None else score.stderr,
            interval=None if score is None else (score.low, score.high),
            score_completed=None if completed is None else scored(completed),
            planned=report.planned,
            n=score.n if report.given is not None and score is not None else counts.n,
            questions=None if score is None else score.questions,
            completed=counts.completed,
            truncated=counts.truncated,
            no_answer=counts.no_answer,
            refused=counts.refused,
            content_filter=counts.content_filter,
            errors=counts.errors,
            retries=counts.retries,
            groups={name: scored(one) for name, one in report.groups.items()},
            figures=report.figures,
            tokens={name: total(f"{name}_tokens") for name in ("input", "output", "reasoning")},
            seconds=report.seconds,
            config=report.config,
            data=EvalData.model_validate(report.data),
            target=TargetFacts.model_validate(report.target),
            origin=EvalOrigin.model_validate(report.origin),
            remarks=report.remarks(),
        )

    def report(self, samples: list[Sample]) -> AccuracyReport:
        """Return the eval with its samples, to go on with or to show.

        Args:
            samples: of the same folder.

        Raises:
            ValueError: it lacks what an eval must say.
        """
        provider = None if self.origin is None else self.origin.provider
        if (
            self.status is None
            or self.origin is None
            or self.planned is None
            or self.seconds is None
            or self.figures is None
        ):
            raise ValueError("it is not an accuracy.json: it does not say how far the eval came")
        report = AccuracyReport(
            task=self.task,
            variant=self.variant or "",
            config=dict(self.config or {}),
            data={} if self.data is None else self.data.to_json(),
            target=self.target.to_json(),
            origin=self.origin.to_json(),
            samples=samples,
            planned=self.planned,
            figures=dict(self.figures),
            min_score=self.min_score,
            status=self.status,
            seconds=self.seconds,
        )
        if provider != "native" and self.score is not None:
            if self.interval is None or self.n is None or self.questions is None:
                raise ValueError("it is not an accuracy.json: its score has no interval")
            report.given = Estimate(self.score, self.stderr, *self.interval, self.n, self.questions)
        return report
