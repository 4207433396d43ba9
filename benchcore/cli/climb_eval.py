"""Climb eval: what `benchcore climb --eval` asks, scores and writes down."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from benchcore.cli import values
from benchcore.cli.target import validated
from benchcore.errors import ConfigError, ResultsError

if TYPE_CHECKING:
    from benchcore.metrics.accuracy import Sample
    from benchcore.metrics.run import RunResult
    from benchcore.sinks.accuracy import SampleFile
    from benchcore.stages.accuracy.under_load import Questions

SIM_ABILITY: Final = 0.8
"""Of the simulator that a command starts, as a fraction of the questions that it knows."""


class Evaluation:
    """The questions of a climb, and what came of them.

    Args:
        questions: that are asked.
    """

    def __init__(self, questions: Questions) -> None:
        from benchcore.stages.accuracy.under_load import LoadGrader

        self.questions = questions
        self.grader = LoadGrader(questions, self._take)
        self.run: RunResult | None = None
        """The run that it is of, once there is one."""
        self._file: SampleFile | None = None

    def _take(self, level: str, repeat: int, sample: Sample) -> None:
        from benchcore.sinks.accuracy import SampleFile

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
        from benchcore.sinks.accuracy import ACCURACY
        from benchcore.sinks.folder import replace_file
        from benchcore.sinks.run_json import dump

        if self.run is None or self.run.folder is None or self._file is None:
            return
        facts = self.questions.describe()
        levels = [
            {"level": level.level, "climb_repeat": level.repeat, **level.accuracy.to_json()}
            for level in self.run.levels
            if level.accuracy is not None
        ]
        found = {
            "schema_version": 1,
            "task": facts["task"],
            "variant": facts["variant"],
            "status": self.run.status,
            "levels": levels,
            "config": facts["config"],
            "data": facts["data"],
            "target": self.run.facts["target"],
        }
        try:
            self._file.close()
            replace_file(self.run.folder / ACCURACY, dump(found))
        except OSError as error:
            raise ResultsError(
                f"{self.run.folder}: {ACCURACY} cannot be written ({error.strerror})"
            ) from None


def read_evaluation(given: dict[str, Any]) -> Evaluation:
    """Return what the options of a climb say of an eval.

    Raises:
        ConfigError: the task, its data or a setting is wrong.
    """
    from benchcore.config.eval import EvalConfig
    from benchcore.stages.accuracy.plan import plan_eval
    from benchcore.stages.accuracy.under_load import Questions

    settings = values.pairs(given["eval_settings"])
    for name in settings:
        if name not in EvalConfig.model_fields or name in ("concurrency", "rate", "min_score"):
            known = sorted(set(EvalConfig.model_fields) - {"concurrency", "rate", "min_score"})
            raise ConfigError(f"--eval-set {name}: is none of {', '.join(known)}")
    config = validated(lambda: EvalConfig.model_validate(settings))
    plan = asyncio.run(plan_eval(given["eval_task"], config, given["eval_data"], None))
    questions = Questions(plan.task, plan.questions, plan.config, given["endpoint"], plan.data)
    return Evaluation(questions)
