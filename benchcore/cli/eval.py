"""The `benchcore eval` command."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import BenchcoreError, ConfigError, VerdictError
from benchcore.base.secrets import masked_arguments
from benchcore.cli import values
from benchcore.cli.driver import (
    ENDPOINT,
    LOGS,
    RESULTS,
    drive,
    is_simulated,
    one_stage,
    refuse_two_servers,
    start_logs,
    tell_where,
)
from benchcore.cli.eval_options import (
    SIM_ABILITY,
    check_provider,
    read_result,
    run_provider,
)
from benchcore.cli.target import LABEL, SERVER, validated
from benchcore.cli.terminal import show

if TYPE_CHECKING:
    from benchcore.config.evals import EvalConfig
    from benchcore.evals.run import EvalPlan
    from benchcore.runs.samples import Eval


@click.command("eval")
@click.argument("name", metavar="[TASK]", required=False)
@SERVER
@ENDPOINT
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
    help="Read the questions from here; by default they are fetched from their public "
    "place. It can also be given in the variable BENCHCORE_DATA.",
)
@click.option(
    "--preset",
    type=click.Choice(["debug", "full"]),
    help="Ask a few questions (debug), or all of them (full).",
)
@click.option("--limit", type=click.IntRange(1), default=None, help="Ask only this many questions.")
@click.option(
    "--n-repeats", type=click.IntRange(1), default=None, help="Ask each question this many times."
)
@click.option(
    "--extraction",
    type=click.Choice(["robust", "simple-evals"]),
    default=None,
    help="Find the answer in a text by this rule [default: robust].",
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
    help="Sample only from the tokens that make up this share of the probability.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=None,
    help="Allow this many tokens in an answer [default: 4096].",
)
@click.option("--system", metavar="TEXT", help="Put this system turn before each question.")
@click.option(
    "--few-shot",
    type=click.IntRange(0),
    default=None,
    help="Put this many solved questions before each question.",
)
@click.option("--few-shot-data", metavar="FILE", help="Read the solved questions from this file.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=None,
    help="Ask this many questions at a time [default: 16].",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=None,
    help="Ask this many questions per second instead.",
)
@click.option(
    "--retries",
    type=click.IntRange(0),
    default=None,
    help="Ask a question again up to this many times after a transient failure [default: 4].",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=None,
    help="Fail where the whole 95 % interval of the score is below this.",
)
@click.option("--save-text", is_flag=True, help="Keep questions and answers in samples.jsonl.")
@click.option("--show-text", is_flag=True, help="Also show the texts in report.html.")
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Continue the run in this folder.",
)
@click.option(
    "--retry-errors",
    is_flag=True,
    help="With --resume, ask the questions that ended in an error again.",
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
    help="Read what that program has already written, and ask nothing.",
)
@click.option("--list", "list_only", is_flag=True, help="List the tasks and ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print accuracy.json instead of a table.")
@RESULTS
@click.option(
    "--name",
    "run_name",
    default=None,
    help="Give the run and its folder this name [default: eval-TASK].",
)
@LABEL
@LOGS
def evaluate(**given: Any) -> int:
    """Ask a task's questions and score the answers [default task: gpqa].

    TASK is one of those that --list shows, or a YAML file of your own. The questions go to
    --base-url; without it, the built-in simulator is started, with a notice.
    """
    from benchcore.evals.custom import is_custom
    from benchcore.evals.data import BUILTIN

    check_provider(given)
    if given["list_only"]:
        return _list()
    start_logs(given)
    refuse_two_servers(given)
    if given["retry_errors"] and given["resume"] is None:
        raise click.UsageError("--retry-errors needs --resume")
    if given["provider"] != "native":
        return _provided(given)
    plan = None if given["resume"] is None else _gone_on_with(given)
    simulated = False
    if plan is None or plan.kind == "simulator":
        simulated = is_simulated(given, "this scores")
    if plan is None:
        if simulated and given["data"] is None and not is_custom(given["name"] or ""):
            given["data"] = BUILTIN
        plan = _planned(given)
        plan = replace(plan, kind="simulator" if simulated else "server")
    return _ask(plan, given, simulated=simulated)


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
        raise click.UsageError("--concurrency and --rate are two kinds of load: give one of them")
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
    from benchcore.runs.reading import read_result
    from benchcore.runs.samples import ACCURACY, Eval, read_samples

    folder: Path = given["resume"]
    for name in _OF_THE_RUN:
        if given[name]:
            option = {"run_name": "name", "name": "TASK"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"--resume continues as the run began: leave out {option}")
    before = read_result(folder / ACCURACY, Eval)
    asked, data = before.config, before.data
    if not asked or data is None or data.task is None:
        raise ConfigError(
            f"{folder / ACCURACY}: does not say what was asked, so it is damaged; name another run"
        )
    target = before.target
    given["endpoint"], given["stream"] = target.endpoint, target.stream
    for name in ("model", "extra_body", "path"):
        given[name] = given[name] or getattr(target, name)
    given["omit"] = given["omit"] or tuple(target.omit or ())
    given["rename"] = given["rename"] or tuple((target.rename or {}).items())
    over = {name: given[name] for name in _OF_THE_REST if given[name] is not None}
    if "concurrency" in over:
        over.setdefault("rate", None)
    config = validated(lambda: EvalConfig.model_validate({**asked, **over}))
    where = given["data"] or data.given
    plan = asyncio.run(plan_eval(data.task, config, where, data.few_shot_given))
    if plan.data.files != data.files:
        raise ConfigError(f"--resume {folder}: the questions are not those of the run; see --data")
    done = read_samples(folder)
    return EvalPlan(
        plan.task,
        config,
        plan.questions,
        data,
        without_errors(done) if given["retry_errors"] else done,
        folder,
        given["base_url"] or target.base_url,
        target.kind or "server",
    )


def _ask(plan: EvalPlan, given: dict[str, Any], *, simulated: bool) -> int:
    from benchcore.base.logs import LOGGER, RESULT
    from benchcore.config.scenario import AccuracySettings
    from benchcore.scenario.quality_stages import AccuracyStage
    from benchcore.show.text import render_accuracy
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess
    from benchcore.version import __version__

    said = {
        "endpoint": given["endpoint"],
        "stream": given["stream"],
        "timeouts": given["timeout"],
    }
    settings = validated(
        lambda: AccuracySettings.model_validate(
            {name: value for name, value in said.items() if value is not None}
        )
    )
    stage = AccuracyStage(settings, planned=plan, show_text=given["show_text"])
    config = plan.config
    load = f"{config.rate:g} a second" if config.rate else f"{config.concurrency} at a time"
    profile = SimProfile.named("fast", ability=SIM_ABILITY)
    name, labels = _named(plan, given)
    machine = one_stage(
        given,
        stage,
        lambda target: (
            f"benchcore {__version__}: {target.base_url}: {plan.task.name}, "
            f"{len(plan.questions) - len(plan.done)} samples, {load}"
        ),
        name=name,
        base_url=given["base_url"] or plan.base_url,
        kind=plan.kind,
        simulator=SimulatorProcess(SimOptions(profile=profile)) if simulated else None,
        folder=plan.folder,
        labels=labels,
    )
    drive(machine.interrupt, machine)
    report, folder = stage.report, machine.folder
    judged = machine.error is None or isinstance(machine.error, VerdictError)
    if report is not None and judged:
        show(report, render_accuracy, as_json=given["as_json"])
        if folder is not None:
            tell_where(folder)
    elif report is not None and stage.begun and report.status == "failed":
        LOGGER.log(RESULT, "what was answered is in %s", folder)
    return machine.end()


def _named(plan: EvalPlan, given: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the name of the run, and the labels that it had before it is gone on with."""
    from benchcore.runs.reading import read_result
    from benchcore.runs.run import Run

    if plan.folder is None:
        return given["run_name"] or f"eval-{plan.task.name}", {}
    name = plan.folder.name.partition("-")[2]
    head = plan.folder / "run.json"
    if not head.is_file():
        return name, {}
    before = read_result(head, Run)
    return before.name or name, before.labels or {}


def _provided(given: dict[str, Any]) -> int:
    from benchcore.base.clock import stamp_of, utc_now
    from benchcore.base.files import make_folder
    from benchcore.evals.files import EvalFiles
    from benchcore.evals.run import check_score
    from benchcore.runs.run_json import write_head
    from benchcore.show.text import render_accuracy

    config = _config(given)
    started = utc_now()
    name = given["run_name"] or f"eval-{given['name'] or 'gpqa'}-{given['provider']}"
    folder = make_folder(Path(given["output"]), stamp_of(started), name)

    def write_run(report: Eval) -> None:
        write_head(
            folder,
            started,
            report.status or "failed",
            name=name,
            command=["benchcore", *masked_arguments(sys.argv[1:])],
            target=report.target,
            labels=values.pairs(given["labels"]),
        )

    files = EvalFiles(folder, beside=write_run)
    try:
        read = given["result"] is not None
        report = read_result(given, config) if read else run_provider(given, config, folder)
    except BenchcoreError:
        with suppress(OSError):  # what that program has left stays
            folder.rmdir()
        raise
    files.begin(report)
    files.finish(report)
    show(report, render_accuracy, as_json=given["as_json"])
    tell_where(folder)
    check_score(report)
    return 0
