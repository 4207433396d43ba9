from __future__ import annotations

import pytest

from benchcore.config.eval import EvalConfig
from benchcore.stages.accuracy.catalogue import find_task
from benchcore.stages.accuracy.data import BUILTIN, task_rows


@pytest.fixture
def config():
    """Settings of an eval, with some of them named."""
    return lambda **fields: EvalConfig.model_validate(fields)


@pytest.fixture
def asked(config):
    """The questions of a task's own test set."""

    async def ask(name, **fields):
        task = find_task(name)
        settings = config(**fields)
        rows = await task_rows(task, task.variant(settings), BUILTIN)
        return task, settings, task.questions(rows.rows, settings)

    return ask
