"""The `benchcore eval` command."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.cli import values
from benchcore.cli.eval_options import (
    SIM_ABILITY,
    check_provider,
    provided_folder,
    read_result,
    run_provider,
)
from benchcore.cli.target import LABEL, SERVER, masked, read_target, validated, warnings
from benchcore.cli.terminal import show

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
    from benchcore.evals.files import EvalFiles
    from benchcore.evals.run import EvalPlan
    from benchcore.metrics.accuracy import AccuracyReport, Sample


@click.command("eval")
@click.argument("name", metavar="[TASK]", required=False)
@SERVER
@click.option(
    "--endpoint",
    type=click.Choice(["chat", "completions", "responses"]),
    default=None,
    help="Ask this endpoint of the API [default: that of --base-url or --path where they "
    "end in one, else chat].",
)
@click.option(
    "--stream/--no-stream", default=True, help="Ask for a stream of tokens, or for plain answers."
)
@click.option(
    "--timeout",
    type=values.TIMEOUTS,
    default=None,
    help="Give up on a request after this time, in all or by phase: "
    "connect=2,first_token=30,total=600.",
)
@click.option(
    "--variant",
    metavar="NAME",
    help="Ask this variant of the task, such as diamond, main or extended of GPQA, "
    "or de,fr of MGSM.",
)
@click.option(
    "--data",
    metavar="FILE|DIR|builtin",
    envvar="BENCHCORE_DATA",
    help="Read the questions from here; without it, they are fetched from their public place. The "
    "variable BENCHCORE_DATA gives it, too.",
)
@click.option(
    "--preset",
    type=click.Choice(["debug", "full"]),
    help="Ask a few questions (debug), or all of them (full).",
)
@click.option("--limit", type=click.IntRange(1), default=None, help="Ask only so many questions.")
@click.option(
    "--n-repeats", type=click.IntRange(1), default=None, help="Ask each question so often."
)
@click.option(
    "--extraction",
    type=click.Choice(["robust", "simple-evals"]),
    default=None,
    help="Look for the answer in a text in this way [default: robust].",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=None,
    help="Sample at this temperature [default: 0].",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    default=None,
    help="Sample from this share of the probability.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=None,
    help="Allow so many tokens in an answer [default: 4096].",
)
@click.option("--system", metavar="TEXT", help="Put this system turn before each question.")
@click.option(
    "--few-shot",
    type=click.IntRange(0),
    default=None,
    help="Put so many solved questions before each one.",
)
@click.option("--few-shot-data", metavar="FILE", help="Read the solved questions from this file.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=None,
    help="Ask so many questions at a time [default: 16].",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Ask so many questions per second instead.",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=None,
    help="Ask again so often after a passing fault [default: 4].",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=None,
    help="Fail where the whole 95 % interval of the score is below this.",
)
@click.option("--save-text", is_flag=True, help="Keep questions and answers in samples.jsonl.")
@click.option("--show-text", is_flag=True, help="Show the texts in report.html, too.")
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Go on with the run in this folder.",
)
@click.option(
    "--retry-errors", is_flag=True, help="Ask again what ended in an error, with --resume."
)
@click.option(
    "--provider",
    type=click.Choice(["native", "simple-evals", "lm-eval"]),
    default="native",
    show_default=True,
    help="Let benchcore ask and score, or another program that is installed.",
)
@click.option(
    "--provider-arg",
    "provider_args",
    multiple=True,
    metavar="ARG",
    help="Pass this argument to that program; repeatable.",
)
@click.option(
    "--result",
    type=click.Path(exists=True, path_type=Path),
    help="Read what that program has written before, and ask nothing.",
)
@click.option("--list", "list_only", is_flag=True, help="List the tasks and ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print accuracy.json instead of a table.")
@click.option(
    "--output",
    default="results",
    show_default=True,
    help="Write the folder of the run into this one.",
)
@click.option(
    "--name",
    "run_name",
    default=None,
    help="Call the run and its folder this [default: eval-TASK].",
)
@LABEL
@click.option("--quiet", is_flag=True, help="Say only what is wrong and where the results are.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Write messages as text or as lines of JSON.",
)
def evaluate(**given: Any) -> int:
    """Ask a task's questions and score the answers [default task: gpqa].

    TASK is one of --list, or a YAML file of one's own. Aims at --base-url; without one, starts the
    built-in simulator and says so.
    """
    from benchcore.cli.terminal import QUIET, set_up

    check_provider(given)
    if given["list_only"]:
        return _list()
    level = QUIET if given["quiet"] else "info"
    set_up(sys.stderr, level, as_json=given["log_format"] == "json")
    if given["base_url"] and given["simulator"]:
        raise click.UsageError("--sim starts a server of its own: leave --base-url out")
    if given["retry_errors"] and given["resume"] is None:
        raise click.UsageError("--retry-errors goes with --resume")
    if given["provider"] != "native":
        return _provided(given)
    if given["resume"] is not None:
        plan = _gone_on_with(given)
        if plan.kind == "simulator" and not given["base_url"]:
            return _on_simulator(given, plan)
        return _on_server(plan, given, given["base_url"], plan.kind)
    if given["base_url"]:
        return _on_server(_planned(given), given, given["base_url"], "server")
    return _on_simulator(given, None)


def _list() -> int:
    from benchcore.evals.task import TASKS, find_task

    names = TASKS.points()
    width = max(map(len, names))
    for name in names:
        task = find_task(name)
        variants = f" [{', '.join(task.variants)}]" if task.variants else ""
        click.echo(f"{name:<{width}} {task.title}{variants}")
    return 0


_ASKED = (
    "variant",
    "limit",
    "n_repeats",
    "extraction",
    "temperature",
    "top_p",
    "max_tokens",
    "system",
    "few_shot",
)
"""Settings of what is asked and how it is judged."""
_OF_THE_REST = ("concurrency", "rate", "retries", "min_score")
"""Settings that may be others when a run is gone on with."""
_OF_THE_RUN = ("name", "preset", *_ASKED, "few_shot_data", "run_name", "save_text", "show_text")
"""Options that such a run has from its beginning."""


def _config(given: dict[str, Any]) -> EvalConfig:
    from benchcore.config.evals import PRESETS, EvalConfig

    own = {name: given[name] for name in (*_ASKED, *_OF_THE_REST) if given[name] is not None}
    if given["rate"] is not None and given["concurrency"] is not None:
        raise click.UsageError("--concurrency and --rate are two kinds of load: give one")
    fields = {**PRESETS.get(given["preset"] or "", {}), **own}
    fields["keep_text"] = given["save_text"] or given["show_text"]
    config: EvalConfig = validated(lambda: EvalConfig.model_validate(fields))
    return config


def _planned(given: dict[str, Any]) -> EvalPlan:
    """Return what is to be asked."""
    from benchcore.evals.run import plan_eval

    name = given["name"] or "gpqa"
    return asyncio.run(plan_eval(name, _config(given), given["data"], given["few_shot_data"]))


def _gone_on_with(given: dict[str, Any]) -> EvalPlan:
    """Return what an earlier run left to be asked, and let the options be those that it had."""
    from benchcore.config.evals import EvalConfig
    from benchcore.evals.run import EvalPlan, plan_eval, without_errors
    from benchcore.runs.samples import read_accuracy, read_samples

    folder: Path = given["resume"]
    for name in _OF_THE_RUN:
        if given[name]:
            option = {"run_name": "name", "name": "TASK"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--resume goes on as the run began: leave {option} out")
    before = read_accuracy(folder)
    target = before["target"]
    given["endpoint"], given["stream"] = target["endpoint"], target["stream"]
    for name in ("model", "extra_body", "path"):
        given[name] = given[name] or target.get(name)
    given["omit"] = given["omit"] or tuple(target.get("omit") or ())
    given["rename"] = given["rename"] or tuple((target.get("rename") or {}).items())
    over = {name: given[name] for name in _OF_THE_REST if given[name] is not None}
    if "concurrency" in over:
        over.setdefault("rate", None)
    config = validated(lambda: EvalConfig.model_validate({**before["config"], **over}))
    data = before["data"]
    where = given["data"] or data["given"]
    plan = asyncio.run(plan_eval(data["task"], config, where, data["few_shot_given"]))
    if plan.data["files"] != data["files"]:
        raise ConfigError(f"--resume {folder}: the questions are not those of the run; see --data")
    done = read_samples(folder)
    return EvalPlan(
        plan.task,
        config,
        plan.questions,
        data,
        without_errors(done) if given["retry_errors"] else done,
        folder,
        given["base_url"] or target["base_url"],
        target["kind"],
    )


def _on_simulator(given: dict[str, Any], plan: EvalPlan | None) -> int:
    from benchcore.base.logs import LOGGER
    from benchcore.evals.custom import is_custom
    from benchcore.evals.data import BUILTIN
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess

    asked = "" if given["simulator"] else " (no --base-url was given)"
    LOGGER.warning("SIMULATOR: this scores the built-in simulated server%s", asked)
    if plan is None:
        if given["data"] is None and not is_custom(given["name"] or ""):
            given["data"] = BUILTIN
        plan = _planned(given)
    profile = SimProfile.named("fast", ability=SIM_ABILITY)
    process = SimulatorProcess(SimOptions(profile=profile)).start()
    try:
        return _on_server(plan, given, process.base_url, "simulator")
    finally:
        process.stop()


def _on_server(plan: EvalPlan, given: dict[str, Any], base_url: str | None, kind: str) -> int:
    from benchcore.base.files import make_folder
    from benchcore.base.logs import LOGGER, RESULT
    from benchcore.cli.driver import catch_signals, run_loop
    from benchcore.evals.run import Accuracy, check_score
    from benchcore.show.text import render_accuracy, sample_line
    from benchcore.version import __version__

    address = base_url or plan.base_url
    assert address is not None
    target = read_target(
        given,
        address,
        endpoint=given["endpoint"],
        stream=given["stream"],
        timeouts=given["timeout"] or {},
    )
    load = f"{plan.config.rate:g} a second" if plan.config.rate else None
    LOGGER.info(
        "benchcore %s: %s: %s, %d samples, %s",
        __version__,
        target.base_url,
        plan.task.name,
        len(plan.questions) - len(plan.done),
        load or f"{plan.config.concurrency} at a time",
    )
    for warning in warnings(target):
        LOGGER.warning("%s", warning)
    started = dt.datetime.now(dt.UTC)
    folder = plan.folder
    if folder is None:
        name = given["run_name"] or f"eval-{plan.task.name}"
        folder = make_folder(Path(given["output"]), started.strftime("%Y%m%dT%H%M%SZ"), name)
    files = _files(folder, started, given)

    async def go() -> tuple[AccuracyReport, list[int]]:
        def take(sample: Sample) -> None:
            files.write(sample)
            done = len(machine.report.samples)
            LOGGER.info("%s", sample_line(sample, done, machine.report.planned))

        machine = Accuracy(
            target,
            plan.task,
            plan.questions,
            plan.config,
            data=plan.data,
            kind=kind,
            done=plan.done,
            on_ready=files.begin,
            on_sample=take,
        )
        caught = catch_signals(machine.interrupt)
        try:
            await machine()
        finally:
            files.finish(machine.report)
            if not files.begun:
                _leave(folder)
            elif machine.report.status == "failed":
                LOGGER.log(RESULT, "what was answered is in %s", folder)
        return machine.report, caught

    report, caught = run_loop(go())
    show(report, render_accuracy, as_json=given["as_json"])
    LOGGER.log(RESULT, "results are in %s", folder)
    if caught:
        return 128 + caught[0]
    check_score(report)
    return 0


def _provided(given: dict[str, Any]) -> int:
    from benchcore.base.logs import LOGGER, RESULT
    from benchcore.evals.run import check_score
    from benchcore.show.text import render_accuracy

    config = _config(given)
    started = dt.datetime.now(dt.UTC)
    folder = provided_folder(given, started)
    files = _files(folder, started, given)
    try:
        read = given["result"] is not None
        report = read_result(given, config) if read else run_provider(given, config, folder)
    except BenchcoreError:
        _leave(folder)
        raise
    files.begin(report)
    files.finish(report)
    show(report, render_accuracy, as_json=given["as_json"])
    LOGGER.log(RESULT, "results are in %s", folder)
    check_score(report)
    return 0


def _files(folder: Path, started: dt.datetime, given: dict[str, Any]) -> EvalFiles:
    """Return the files of a run that is nothing but an eval."""
    from benchcore.base.files import read_json
    from benchcore.evals.files import EvalFiles
    from benchcore.runs.run_json import write_head

    before = folder / "run.json"
    labels = {
        **((read_json(before).get("labels") or {}) if before.is_file() else {}),
        **values.pairs(given["labels"]),
    }

    def write_run(report: AccuracyReport) -> None:
        write_head(
            folder,
            started.isoformat(),
            report.status,
            name=folder.name.partition("-")[2],
            command=["benchcore", *masked(sys.argv[1:])],
            target=report.target,
            labels=labels,
        )

    shown = given["show_text"] and given["provider"] == "native"
    return EvalFiles(folder, show_text=shown, beside=write_run)


def _leave(folder: Path) -> None:
    """Take away the folder of a run that never began."""
    if not any(folder.iterdir()):
        folder.rmdir()
