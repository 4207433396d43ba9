"""Under load: a task's questions as the workload of a climb, scored level by level."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from benchcore.base.errors import ResultsError
from benchcore.base.files import replace_file
from benchcore.client.records import Outcome, Record
from benchcore.client.request import Prompt
from benchcore.evals.sampling import question_prompt, sample_of
from benchcore.metrics.accuracy import Sample, by_question, over_all, tally
from benchcore.metrics.scores import PairedDifference, paired_difference
from benchcore.runs.run import LevelScore
from benchcore.runs.run_json import dump
from benchcore.runs.samples import ACCURACY, SCHEMA_VERSION, Eval, EvalData, SampleFile

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
    from benchcore.config.target import Endpoint
    from benchcore.evals.task import Question, Task
    from benchcore.runs.run import Run
    from benchcore.workload.token_costs import TokenCounter


_NEVER_ASKED: Final = frozenset({Outcome.CANCELLED, Outcome.DROPPED})


class Questions:
    """A task's questions as a workload: every level asks the same ones in the same order.

    Args:
        task: whose.
        questions: in the order of asking; they begin again when they are used up.
        config: how they are asked.
        endpoint: which of the API's.
        data: where they are from.
    """

    def __init__(
        self,
        task: Task,
        questions: Sequence[Question],
        config: EvalConfig,
        endpoint: Endpoint,
        data: EvalData,
    ) -> None:
        self.name = f"eval {task.name}"
        self.task = task
        self.config = config
        self._questions = list(questions)
        self._endpoint = endpoint
        self.data = data

    def __len__(self) -> int:
        return len(self._questions)

    async def prepare(self, counter: TokenCounter | None) -> None:
        """Do nothing: the questions are as long as they are."""

    def question(self, number: int) -> Question:
        """Return the question of a prompt by its number."""
        return self._questions[number % len(self._questions)]

    def prompt(self, index: int, *path: str | int) -> Prompt:
        """Return one prompt; every level has the same ones."""
        del path
        return question_prompt(self.question(index), self.config, self._endpoint)

    def describe(self) -> dict[str, Any]:
        """Return the workload for `run.json`."""
        return {
            "name": self.name,
            "kind": "eval",
            "task": self.task.name,
            "variant": self.task.variant(self.config) or None,
            "questions": len(self._questions),
            "output_tokens": self.config.max_tokens,
            "config": self.config.model_dump(mode="json"),
            "data": self.data.to_json(),
            "lengths": {"fit": "given", "source": "task"},
        }


class LoadGrader:
    """Scores the answers of each level and holds each level against the first.

    Args:
        questions: that were asked.
        on_sample: takes each sample, with the name and the repeat of its level.
    """

    def __init__(
        self,
        questions: Questions,
        on_sample: Callable[[str, int, Sample], None] = lambda _level, _repeat, _sample: None,
    ) -> None:
        self._questions = questions
        self._on_sample = on_sample
        self._first: dict[str, list[float]] | None = None

    async def grade(
        self, level: str, repeat: int, asked: Sequence[tuple[int, Record]]
    ) -> LevelScore:
        """Return what the answers of a level were worth; see `Grader`."""
        questions = self._questions
        samples = []
        for number, record in asked:
            if record.outcome in _NEVER_ASKED:
                continue
            question = questions.question(number)
            sample = sample_of(question, record, questions.task, questions.config)
            samples.append(sample)
            self._on_sample(level, repeat, sample)
            await asyncio.sleep(0)
        scores = by_question(samples)
        difference = None
        if self._first is None:
            self._first = scores
        else:
            difference = paired_difference(self._first, scores)
        return _score(questions.task.name, samples, difference)


def _score(task: str, samples: list[Sample], difference: PairedDifference | None) -> LevelScore:
    score, counts = over_all(samples), tally(samples)
    told = {"score": None} if score is None else score.to_json()
    found = LevelScore.model_validate({"task": task, **told})
    for name in ("n", "completed", "truncated", "no_answer", "refused", "content_filter", "errors"):
        setattr(found, name, getattr(counts, name))
    found.against_first = difference
    return found


class LoadEval:
    """The questions of a climb, and the files of what their answers were worth.

    Args:
        questions: that are asked.
    """

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.grader = LoadGrader(questions, self._take)
        self.run: Run | None = None
        """The run that it is of, once there is one."""
        self._file: SampleFile | None = None

    def _take(self, level: str, repeat: int, sample: Sample) -> None:
        assert self.run is not None
        if self.run.folder is None:
            return
        try:
            if self._file is None:
                self._file = SampleFile(self.run.folder)
            self._file.write(sample, level=level, climb_repeat=repeat)
        except OSError as error:
            raise ResultsError(
                f"{self.run.folder}: samples cannot be written ({error.strerror}); free some room"
            ) from None

    def close(self) -> None:
        """Write `accuracy.json` beside the samples.

        Raises:
            ResultsError: it cannot be written.
        """
        if self.run is None or self.run.folder is None or self._file is None:
            return
        questions = self.questions
        scored = Eval(
            schema_version=SCHEMA_VERSION,
            task=questions.task.name,
            variant=questions.task.variant(questions.config) or None,
            status=self.run.status,
            levels=[
                LevelScore.model_validate(
                    {
                        "level": level.level,
                        "climb_repeat": level.repeat,
                        **level.accuracy.to_json(),
                    }
                )
                for level in self.run.levels
                if level.accuracy is not None
            ],
            config=questions.config.model_dump(mode="json"),
            data=questions.data,
            target=self.run.target,
        )
        try:
            self._file.close()
            replace_file(self.run.folder / ACCURACY, dump(scored.to_json()))
        except OSError as error:
            raise ResultsError(
                f"{self.run.folder}: {ACCURACY} cannot be written ({error.strerror})"
            ) from None
