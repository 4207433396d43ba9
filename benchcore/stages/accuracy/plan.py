"""Plan: what an eval is to ask, read and put in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchcore.errors import ConfigError
from benchcore.stages.accuracy.catalogue import find_task
from benchcore.stages.accuracy.custom import custom_task, is_custom
from benchcore.stages.accuracy.data import shot_rows, task_rows

if TYPE_CHECKING:
    from benchcore.config.eval import EvalConfig
    from benchcore.metrics.accuracy import Sample
    from benchcore.stages.accuracy.task import Question, Task


@dataclass(frozen=True, slots=True)
class EvalPlan:
    """What an eval is to ask.

    Args:
        task: whose questions.
        config: how.
        questions: in order.
        data: where they are from, for `accuracy.json`.
        done: samples that there are already.
        folder: of the run that is gone on with.
        base_url: of its server.
        kind: of its server: `server` or `simulator`.
    """

    task: Task
    config: EvalConfig
    questions: list[Question]
    data: dict[str, Any]
    done: list[Sample] = field(default_factory=list)
    folder: Path | None = None
    base_url: str | None = None
    kind: str = "server"


async def plan_eval(
    task: str | Task, config: EvalConfig, data: str | None = None, shots: str | None = None
) -> EvalPlan:
    """Read a task's data and put its questions in order.

    Args:
        task: its name, the name of a YAML file, or the task itself.
        config: how it is asked.
        data: a file, a folder, `builtin`; `None`: it is fetched from its public place.
        shots: a file of solved questions; `None`: likewise.

    Raises:
        ConfigError: the task, a setting or the data is wrong.
    """
    name = task if isinstance(task, str) else task.name
    if isinstance(task, str):
        task = custom_task(Path(task)) if is_custom(task) else find_task(task)
    task.check(config)
    config = task.settled(config)
    variant = task.variant(config)
    rows = await task_rows(task, variant, data)
    solved = await shot_rows(task, variant, shots, config.few_shot, data)
    questions = task.questions(rows.rows, config, solved.rows)
    if not questions:
        raise ConfigError(f"task {task.name}: the data hold no question of variant {variant!r}")
    facts = {
        "task": name,
        "given": data,
        "few_shot_given": shots,
        "files": rows.facts,
        "few_shot_files": solved.facts,
    }
    return EvalPlan(task, config, questions, facts)
