from __future__ import annotations

import pytest

from benchcore.config.evals import EvalConfig
from benchcore.evals.data import BUILTIN
from benchcore.evals.run import plan_eval


@pytest.fixture
def config():
    """Settings of an eval, with some of them named."""
    return lambda **fields: EvalConfig.model_validate(fields)


@pytest.fixture
def asked(config):
    """The questions of a task's own test set."""

    async def ask(name, **fields):
        plan = await plan_eval(name, config(**fields), BUILTIN)
        return plan.task, plan.config, plan.questions

    return ask
