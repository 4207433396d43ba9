"""Accuracy: an eval's folder, with a line for each sample as soon as it is there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import orjson
from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from benchcore.base.errors import ConfigError
from benchcore.base.files import GrowingFile, replace_file
from benchcore.base.stored import Count, Facts, Flag, Number, Status, Stored
from benchcore.metrics.accuracy import (
    Sample,
    Tally,
    over_all,
    over_completed,
    tally,
)
from benchcore.metrics.scores import Estimate
from benchcore.runs.facts import TargetFacts
from benchcore.runs.run import LevelScore

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
    lines = [orjson.dumps(sample.to_json(), option=orjson.OPT_APPEND_NEWLINE) for sample in samples]
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
    samples = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            samples.append(Sample.from_json(line))
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: is not a sample: {error}") from None
    return sorted(samples, key=lambda sample: sample.index)


class EvalOrigin(Stored):
    """Who sampled and scored: `native`, `simple-evals`, `lm-eval`."""

    provider: str | None = None
    version: str | None = None
    metric: str | None = None
    file: str | None = None
    interval: str | None = None
    """How the interval was made."""


class EvalData(Stored):
    """Where the questions are from."""

    task: str | None = None
    given: str | None = None
    few_shot_given: str | None = None
    files: list[Facts] = Field(default_factory=list)
    few_shot_files: list[Facts] = Field(default_factory=list)


class Eval(Stored):
    """An eval, finished or not: `accuracy.json`.

    That of a climb has a score for each of its levels, and none of its own. Its samples are in a
    file of their own; while they are at hand, `count` makes the figures of them.
    """

    SPARSE = frozenset({"levels"})
    NAMES: ClassVar = {"mean": "score"}

    schema_version: Count | None = None
    task: str
    variant: str | None = None
    status: Status | None = None
    levels: list[LevelScore] | None = None
    ok: Flag | None = None
    """Whether the score may be what it was held to; `None`: it was held to nothing.

    The upper bound of its 95 % interval decides: only where that is below the limit too is the
    score below it for certain, and not by the luck of the questions.
    """
    certain: Flag | None = None
    """Whether there are samples enough to tell: the interval does not hold the limit."""
    min_score: Number | None = None
    """What the score is held to; `None`: nothing."""
    mean: Number | None = Field(None, alias="score")
    stderr: Number | None = None
    interval: tuple[Number, Number] | None = None
    score_completed: Estimate | None = None
    """The score of the samples that are no errors."""
    planned: Count = 0
    """How many samples there are to be."""
    n: Count | None = None
    questions: Count | None = None
    completed: Count | None = None
    truncated: Count | None = None
    no_answer: Count | None = None
    refused: Count | None = None
    content_filter: Count | None = None
    errors: Count | None = None
    retries: Count | None = None
    groups: dict[str, Estimate] = Field(default_factory=dict)
    """The score of each group, where there are several."""
    figures: dict[str, Number] = Field(default_factory=dict)
    """What the task says besides the score, such as IFEval's four."""
    tokens: dict[str, Count | None] | None = None
    seconds: Number = 0.0
    config: Facts = Field(default_factory=dict)
    """How it was asked and judged, enough to do it again."""
    data: EvalData | None = None
    target: TargetFacts = Field(default_factory=TargetFacts)
    origin: EvalOrigin = Field(default_factory=EvalOrigin)
    remarks: list[str] = Field(default_factory=list)
    """What must be said beside the score."""
    _samples: list[Sample] = PrivateAttr(default_factory=list)
    _notes: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _has_a_score(self) -> Self:
        if not {"mean", "levels"} & self.model_fields_set:
            raise PydanticCustomError("missing", "score: Field required")
        return self

    @classmethod
    def begun(
        cls,
        task: str,
        *,
        samples: Sequence[Sample] = (),
        score: Estimate | None = None,
        origin: EvalOrigin | None = None,
        data: EvalData | None = None,
        **said: Any,
    ) -> Self:
        """Return an eval with the samples that it has so far.

        Args:
            task: its name.
            samples: as they came.
            score: of another program, where `origin` is not ours.
            origin: who sampled and scored; `None`: benchcore.
            data: where the questions are from.
            **said: other fields that are known by now.
        """
        told = {"score": None, "status": "running", **said}
        made = cls.complete(
            schema_version=SCHEMA_VERSION,
            task=task,
            origin=origin or EvalOrigin(provider="native"),
            data=data or EvalData(),
            **told,
        )
        made._samples = list(samples)
        made._take(score)
        made.count()
        return made

    def join(self, samples: list[Sample]) -> Self:
        """Take the samples of the same folder, and return itself, to be shown.

        Raises:
            ValueError: it lacks what an eval must say.
        """
        if not {"status", "origin", "planned", "seconds", "figures"} <= self.model_fields_set:
            raise ValueError("it is not an accuracy.json: it does not say how far the eval came")
        self._samples = samples
        self.count()
        return self

    def count(self) -> None:
        """Make the figures anew of the samples; the score of another program stays as it is."""
        samples = self._samples
        counts = tally(samples)
        if self.mean is None or self.origin.provider == "native":
            self._take(over_all(samples))
            self.n = counts.n
        self.score_completed = over_completed(samples)
        for name in _COUNTED:
            setattr(self, name, getattr(counts, name))
        self.groups = _by_group(samples)
        self.tokens = {
            name: _total(samples, f"{name}_tokens") for name in ("input", "output", "reasoning")
        }
        score, least = self.score, self.min_score
        self.ok = self.certain = None
        if least is not None:
            self.ok = score is not None and self.status == "complete" and score.high >= least
            self.certain = None if score is None else not score.low <= least <= score.high
        self.remarks = list(self._said_of(counts, score))

    def _take(self, score: Estimate | None) -> None:
        self.mean = None if score is None else score.score
        self.stderr = None if score is None else score.stderr
        self.interval = None if score is None else score.interval
        self.n = None if score is None else score.n
        self.questions = None if score is None else score.questions

    @property
    def samples(self) -> list[Sample]:
        """As they came, while it is asked, or where they were joined; else none."""
        return self._samples

    @property
    def notes(self) -> list[str]:
        """What a reader must know; `count` puts it among the remarks."""
        return self._notes

    @property
    def score(self) -> Estimate | None:
        """The score over all samples, errors as 0.

        Raises:
            ValueError: its file has a score without what it is worth.
        """
        if self.mean is None:
            return None
        if self.interval is None or self.n is None or self.questions is None:
            raise ValueError("it is not an accuracy.json: its score has no interval")
        return Estimate(
            score=self.mean,
            stderr=self.stderr,
            interval=self.interval,
            n=self.n,
            questions=self.questions,
        )

    @property
    def name(self) -> str:
        """The task and its variant."""
        return f"{self.task} {self.variant or ''}".strip()

    @property
    def scored(self) -> bool:
        """Whether it has a score of its own, if only an unknown one."""
        return "mean" in self.model_fields_set

    @property
    def verdict(self) -> str:
        """What came of the score that it was held to, in a line; empty: it was held to nothing."""
        if self.ok is None or self.mean is None or self.min_score is None:
            return ""
        least = f"{self.min_score:g}"
        if not self.ok:
            return f"failed: held to {least}"
        if self.mean < self.min_score:
            return f"passed: held to {least}, which the score is below and its interval reaches"
        unsure = "" if self.certain else ", which the samples are too few to tell"
        return f"passed: held to {least}{unsure}"

    def _said_of(self, counts: Tally, score: Estimate | None) -> Iterator[str]:
        yield from self._notes
        if self.min_score is not None and score is not None and not self.certain:
            side = "below" if score.score < self.min_score else "not below"
            yield (
                f"too few samples to tell: the score {score.score:.4f} is {side} the limit "
                f"{self.min_score:g}, and its 95 % interval {score.low:.4f}-{score.high:.4f} "
                "reaches both sides of it; --min-score judges by the upper bound: a run fails only "
                "where that is below the limit, too"
            )
        if score is not None and score.questions < FEWEST:
            yield f"{score.questions} questions are few: read the interval, not the score"
        if counts.truncated:
            yield (
                f"{counts.truncated} of {counts.n} answers were cut off at the limit of tokens; "
                "raise --max-tokens"
            )
        if counts.content_filter:
            yield (
                f"{counts.content_filter} of {counts.n} answers were stopped by a content filter "
                "and count as 0"
            )
        if counts.errors:
            common, times = Counter(
                sample.error.partition("\n")[0] for sample in self._samples if sample.error
            ).most_common(1)[0]
            advice = "; lower --max-tokens" if _ROOM.search(common) else ""
            yield f"the most common error, {times} times: {common[:300]}{advice}"
            yield (
                f"{counts.errors} of {counts.n} samples ended in an error and count as 0; "
                "`score_completed` leaves them out"
            )
        if self.status != "complete":
            yield f"{counts.n} of {self.planned} samples were made: the run is {self.status}"


AccuracyReport = Eval
"""The name by which users of the library know it."""
_COUNTED: Final = (
    *("completed", "truncated", "no_answer", "refused", "content_filter", "errors", "retries"),
)


def _total(samples: Iterable[Sample], name: str) -> int | None:
    known = [count for sample in samples if (count := getattr(sample, name)) is not None]
    return sum(known) if known else None


def _by_group(samples: Sequence[Sample]) -> dict[str, Estimate]:
    names = sorted({sample.group for sample in samples})
    if len(names) < 2:
        return {}
    scores = {
        name or "other": over_all([sample for sample in samples if sample.group == name])
        for name in names
    }
    return {name: score for name, score in scores.items() if score is not None}
