"""Eval options: evals that a climb or another program makes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchcore.base.errors import ConfigError, TargetError
from benchcore.cli import values
from benchcore.cli.target import group, read_target, validated, warnings

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
    from benchcore.config.target import Endpoint, Target
    from benchcore.evals.under_load import LoadEval
    from benchcore.runs.samples import Eval


UNDER_LOAD = group(
    click.option(
        "--eval",
        "eval_task",
        metavar="TASK",
        help="Ask this task's questions and score the answers of each level; see benchcore eval.",
    ),
    click.option(
        "--eval-data",
        metavar="FILE|DIR|builtin",
        envvar="BENCHCORE_DATA",
        help="Read the questions from here; by default they are fetched. It can also be "
        "given in the variable BENCHCORE_DATA.",
    ),
    click.option(
        "--eval-set",
        "eval_settings",
        type=values.PAIR,
        multiple=True,
        metavar="FIELD=VALUE",
        help="Set how the questions are asked, such as limit=50 or max_tokens=512; repeatable.",
    ),
    section="Workload",
)
"""An eval of the answers of each level of a climb."""


def read_result(given: dict[str, Any], config: EvalConfig) -> Eval:
    """Return the eval that another program has made before."""
    report = _read(given["provider"], given["result"], given["name"])
    report.min_score = config.min_score
    report.count()
    return report


def run_provider(given: dict[str, Any], config: EvalConfig, folder: Path) -> Eval:
    """Let another program make an eval, and return what it came to.

    Raises:
        ConfigError: it is not installed, or cannot do what is asked.
        TargetError: the server is not there, or the program fails.
    """
    from benchcore.base.logs import LOGGER
    from benchcore.evals.providers import lm_eval_command, simple_evals_command
    from benchcore.runs.run_json import target_facts

    target = asyncio.run(
        _with_model(read_target(given, given["base_url"], endpoint=given["endpoint"]))
    )
    for warning in warnings(target):
        LOGGER.warning("%s", warning)
    name, task = given["provider"], given["name"] or "gpqa"
    place = folder / name
    environment: dict[str, str] = {}
    if name == "lm-eval":
        command = lm_eval_command(task, target, config, place, tuple(given["provider_args"]))
        if target.api_key is not None:
            environment["OPENAI_API_KEY"] = target.api_key.get_secret_value()
    else:
        command, environment = simple_evals_command(task, target, config, place)
    place.mkdir()
    LOGGER.info("benchcore: %s asks %s of %s", name, task, target.base_url)
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603  the user asked for this program
        command, env={**os.environ, **environment}, stdout=sys.stderr.fileno(), check=False
    )
    if done.returncode:
        raise TargetError(f"{name} ended with {done.returncode}; see what it said above")
    report = _read(name, place, None if name == "lm-eval" and "," in task else task)
    if not config.keep_text:
        # They hold what was asked and answered.
        for path in (*place.rglob("samples_*.jsonl"), *place.rglob("*.html")):
            path.unlink()
    report.seconds = report.seconds or time.perf_counter() - begun
    report.target = target_facts(target, "server")
    report.config = {**config.model_dump(mode="json"), "provider": name}
    report.min_score = config.min_score
    report.count()
    return report


def _read(name: str, path: Path, task: str | None) -> Eval:
    from benchcore.evals.providers import read_lm_eval, read_simple_evals

    return (read_lm_eval if name == "lm-eval" else read_simple_evals)(path, task)


async def _with_model(target: Target) -> Target:
    from benchcore.client.client import Client
    from benchcore.climbs.probe import find_model

    async with Client(target) as client:
        probed = await find_model(client)
    return target.model_copy(update={"model": probed.model})


def check_provider(given: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: with which.
    """
    native = given["provider"] == "native"
    if native and (given["result"] is not None or given["provider_args"]):
        raise click.UsageError("--result and --provider-arg need a --provider other than native")
    if native:
        return
    if given["resume"] is not None or given["data"] is not None:
        raise click.UsageError(
            f"--provider {given['provider']} has data of its own and cannot be continued: leave "
            "out --data and --resume"
        )
    if given["result"] is None and not given["base_url"]:
        raise click.UsageError(
            f"--provider {given['provider']} asks a server of yours: give --base-url, or --result "
            "for what it has written before"
        )


SIM_ABILITY: Final = 0.8
"""Of the simulator that a command starts, as a fraction of the questions that it knows."""


def read_evaluation(given: dict[str, Any], endpoint: Endpoint) -> LoadEval:
    """Return what the options of a climb say of an eval.

    Args:
        given: what the options came to.
        endpoint: of the API that is asked.

    Raises:
        ConfigError: the task, its data or a setting is wrong.
    """
    from benchcore.config.evals import EvalConfig
    from benchcore.evals.run import plan_eval
    from benchcore.evals.under_load import LoadEval, Questions

    settings = values.pairs(given["eval_settings"])
    for name in settings:
        if name not in EvalConfig.model_fields or name in ("concurrency", "rate", "min_score"):
            known = sorted(set(EvalConfig.model_fields) - {"concurrency", "rate", "min_score"})
            raise ConfigError(f"--eval-set {name}: is not one of {', '.join(known)}")
    config = validated(lambda: EvalConfig.model_validate(settings))
    plan = asyncio.run(plan_eval(given["eval_task"], config, given["eval_data"], None))
    questions = Questions(plan.task, plan.questions, plan.config, endpoint, plan.data)
    return LoadEval(questions)
