"""The `benchcore climb` command."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import InvalidRunError, ResultsError, TargetError
from benchcore.cli import climb_options as options
from benchcore.cli import values
from benchcore.cli.driver import catch_signals
from benchcore.cli.eval_options import SIM_ABILITY, Evaluation, read_evaluation
from benchcore.cli.target import SERVER, Sectioned, masked, read_target, validated, warnings
from benchcore.cli.terminal import colored, show_json

if TYPE_CHECKING:
    from pathlib import Path

    from benchcore.climbs.climb import Climb
    from benchcore.climbs.plan import Part
    from benchcore.config.target import Target
    from benchcore.publish.pushgateway import Pushgateway
    from benchcore.runs.run import RunResult


@click.command(cls=Sectioned, epilog=options.EXAMPLES)
@SERVER
@options.REQUEST
@options.LOAD
@options.WORKLOAD
@options.EVAL
@options.RULES
@options.OUTPUT
def climb(**given: Any) -> int:
    """Measure a server under growing load.

    A climb is a ladder of load levels: so many concurrent users, or requests per second, at each.
    Every level is measured by itself, and the next one puts on more load. Without --base-url the
    built-in simulated server is measured.
    """
    from benchcore.cli.terminal import QUIET, set_up
    from benchcore.show.progress import TerminalProgress

    if given["concurrency"] is not None and given["rate"] is not None:
        raise click.UsageError("--concurrency is a closed loop and --rate an open one: give one")
    live = sys.stderr.isatty() and not given["no_progress"] and given["log_format"] == "text"
    progress = TerminalProgress(
        sys.stderr, live=live and not given["quiet"], interval_seconds=given["progress_interval"]
    )
    level = QUIET if given["quiet"] else given["log_level"]
    set_up(sys.stderr, level, as_json=given["log_format"] == "json", before=progress.clear)
    if given["eval_task"] is not None and given["workload"] is not None:
        raise click.UsageError("--eval brings its own questions: leave --workload out")
    if given["eval_settings"] and given["eval_task"] is None:
        raise click.UsageError("--eval-set goes with --eval")
    if given["seed"] is None:
        given["seed"] = secrets.randbelow(2**31)
    if given["base_url"] and not given["simulator"]:
        return _on_server(given, given["base_url"], "server", progress)
    if given["simulator"] and given["base_url"]:
        raise click.UsageError("--sim starts a server of its own: leave --base-url out")
    return _on_simulator(given, progress)


def _on_simulator(given: dict[str, Any], progress: Any) -> int:
    from benchcore.base.logs import LOGGER
    from benchcore.sim.options import SimOptions, SimProfile
    from benchcore.sim.process import SimulatorProcess

    options = SimOptions()
    if given["eval_task"] is not None:
        from benchcore.evals.custom import is_custom
        from benchcore.evals.data import BUILTIN

        if given["eval_data"] is None and not is_custom(given["eval_task"]):
            given["eval_data"] = BUILTIN
        options = SimOptions(profile=SimProfile.named("default", ability=SIM_ABILITY))
    given["input_tokens"] = given["input_tokens"] or (None if given["workload"] else "128")
    given["output_tokens"] = given["output_tokens"] or (None if given["workload"] else "16")
    asked = "" if given["simulator"] else " (no --base-url was given)"
    LOGGER.warning("SIMULATOR: these are the figures of the built-in simulated server%s", asked)
    if given["print_request"] or given["dry_run"]:
        return _on_server(given, "http://127.0.0.1", "simulator", progress)
    process = SimulatorProcess(options).start()
    try:
        return _on_server(given, process.base_url, "simulator", progress)
    finally:
        process.stop()


def _on_server(given: dict[str, Any], base_url: str, kind: str, progress: Any) -> int:
    from benchcore.base.logs import LOGGER, RESULT
    from benchcore.cli.driver import run_loop
    from benchcore.climbs.climb import TARGET_GONE, Climb

    target = read_target(
        given,
        base_url,
        endpoint=given["endpoint"],
        stream=given["stream"],
        timeouts=given["timeout"] or {},
        allow_empty=given["allow_empty"],
    )
    given["endpoint"] = target.endpoint
    evaluation = None if given["eval_task"] is None else read_evaluation(given)
    parts = _parts(given) if evaluation is None else [_eval_part(given, evaluation)]
    if given["dry_run"]:
        return _dry_run(target, parts, as_json=given["as_json"])
    if given["print_request"]:
        return asyncio.run(_print_request(target, parts[0]))
    gateway = _gateway(given, kind) if given["push"] else None
    LOGGER.info("%s", _first_line(target, parts))
    for warning in warnings(target):
        LOGGER.warning("%s", warning)

    async def go() -> tuple[Climb, int]:
        machine = Climb(
            target,
            parts,
            output=given["output"],
            name=given["name"],
            labels=values.pairs(given["labels"]),
            command=["benchcore", *masked(sys.argv[1:])],
            kind=kind,
            tokenizer=given["tokenizer"],
            grader=None if evaluation is None else evaluation.grader,
            sinks=given["sinks"],
            allow_simulator=given["allow_simulator"],
            progress=progress,
        )
        if evaluation is not None:
            evaluation.run = machine.run
        caught = catch_signals(machine.interrupt)
        try:
            await machine()
        finally:
            progress.clear()
            if evaluation is not None:
                evaluation.close()
            _print_result(machine.run, as_json=given["as_json"])
        return machine, 128 + caught[0] if caught else 0

    machine, code = run_loop(go())
    run = machine.run
    if run.folder is not None:
        _write_reports(run.folder)
        LOGGER.log(RESULT, "results are in %s", run.folder)
        if gateway is not None and not code:
            _push(run.folder, gateway)
    if code:
        return code
    if run.stopped == TARGET_GONE:
        raise TargetError(run.error)
    if run.levels and not any(level.ok for level in run.levels):
        raise TargetError("not one request ended ok; see the findings above")
    if not run.valid:
        raise InvalidRunError("the run is invalid: it measured the load generator; see above")
    return 0


def _gateway(given: dict[str, Any], kind: str) -> Pushgateway:
    """Return where the run is pushed; that it cannot be is said before the load."""
    from benchcore.publish.pushgateway import URL, Pushgateway

    if not os.environ.get(URL):
        raise click.UsageError(f"--push: the variable {URL} is not set")
    if kind == "simulator" and not given["allow_simulator"]:
        raise click.UsageError("--push: this is the simulator; --allow-simulator pushes it anyway")
    return Pushgateway.of_environment(os.environ, os.environ[URL])


def _push(folder: Path, gateway: Pushgateway) -> None:
    from benchcore.base.logs import LOGGER
    from benchcore.publish.pushgateway import RunPush
    from benchcore.runs.reading import RunFolder

    found = RunPush.of(RunFolder(folder))
    try:
        found.send(gateway)
    except TargetError as error:
        raise TargetError(f"{error}: benchcore push {folder}") from None
    LOGGER.info("pushed %d series to %s", found.series, gateway.url)


def _write_reports(folder: Path) -> None:
    from benchcore.show.page import write_reports

    try:
        write_reports(folder, draw=False)
    except OSError as error:
        raise ResultsError(
            f"{folder}: the reports cannot be written ({error.strerror}); what was measured is "
            "there: benchcore report shows it"
        ) from None


def _print_result(run: RunResult, *, as_json: bool) -> None:
    if not run.levels and run.status not in ("complete", "interrupted"):
        return  # it never came to measuring: the error says why
    if as_json:
        from benchcore.runs.run_json import dump

        sys.stdout.write(dump(run.to_json()).decode())
    else:
        from benchcore.show.table import render

        sys.stdout.write(render(run.to_json(), color=colored()))
    sys.stdout.flush()


def _own_load(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the user said of the load, as fields of a climb."""
    fields = {
        "concurrency": given["concurrency"],
        "rate": given["rate"],
        "arrival": given["arrival"],
        "max_inflight": given["max_inflight"],
        "requests": given["requests"],
        "duration_seconds": given["duration"],
        "repeats": given["repeats"],
        "ramp_seconds": given["ramp"],
        "think_time_seconds": given["think_time"],
        "drain_seconds": given["drain"],
        "idle_seconds": given["idle"],
        **(given["warmup"] or {}),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """Return what the user said of the climb."""
    passed = (
        "stop_on_failures",
        "stop_on_slo",
        "stop_when_flat",
        "flat_gain",
        "flat_patience",
        "count_failures",
        "before_level",
        "reset_prefix_cache",
        "kernel_stamps",
        "save_events",
        "save_text",
        "slos",
    )
    return {**_own_load(given), **{name: given[name] for name in passed}}


def _eval_part(given: dict[str, Any], evaluation: Evaluation) -> Part:
    from benchcore.climbs.plan import Part, climb_config

    questions = evaluation.questions
    # Each question once a level, unless the user says otherwise.
    load = {"requests": len(questions)}
    config = validated(lambda: climb_config(_said(given), load, given["seed"]))
    return Part(questions.name, questions, config)


def _parts(given: dict[str, Any]) -> list[Part]:
    from benchcore.climbs.plan import SHAPE, climb_parts

    shape = {name: given[name] for name in SHAPE if given[name] is not None}
    found: list[Part] = validated(
        lambda: climb_parts(given["workload"], shape, _said(given), given["seed"])
    )
    return found


def _dry_run(target: Target, parts: list[Part], *, as_json: bool) -> int:
    """Say which levels would be run, and how long they take."""
    from benchcore.climbs.plan import longest_seconds, steps
    from benchcore.show.table import level_name

    found = [(step, longest_seconds(step)) for step in steps(parts)]
    known = [seconds for _, seconds in found if seconds is not None]
    total = sum(known) if len(known) == len(found) else None
    if as_json:
        levels = [
            {"level": step.name, "repeat": step.repeat, "at_most_seconds": seconds}
            for step, seconds in found
        ]
        show_json({"base_url": target.base_url, "levels": levels, "at_most_seconds": total})
        return 0
    click.echo(_first_line(target, parts))
    for step, seconds in found:
        requests, window = step.part.config.window(step.level)
        ends = [] if requests is None else [f"{requests} requests"]
        ends += [] if window is None else [f"{window:g} s"]
        most = "no bound" if seconds is None else f"at most {_minutes(seconds)} with its drain"
        name = level_name(step.name, step.repeat)
        click.echo(f"  {name:<12} window of {' or '.join(ends)}: {most}")
    idle = max(part.config.idle_seconds for part in parts)
    wait = f"; before each level up to {idle:g} s until the server is idle" if idle else ""
    if total is None:
        click.echo(
            f"in all: no bound, since --requests ends the windows{wait}; --duration bounds it"
        )
    else:
        click.echo(f"in all at most {_minutes(total)}{wait}; a fast server takes less")
    return 0


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


async def _print_request(target: Target, part: Part) -> int:
    """Print the first request as it would be sent, the key masked."""
    from benchcore.client.client import Client

    shown = dict.fromkeys(target.headers, "***")
    if target.api_key is not None:
        shown["authorization"] = "Bearer ***"
    target = target.model_copy(update={"api_key": None, "headers": shown})
    client = Client(target)
    request = client.prepare(part.workload.prompt(0, "c1", 1))
    client.stamper.close()
    click.echo(request.payload.decode().replace("\r\n", "\n"))
    return 0


def _first_line(target: Target, parts: list[Part]) -> str:
    from benchcore.climbs.plan import steps
    from benchcore.version import __version__

    names = ", ".join(dict.fromkeys(step.name for step in steps(parts)))
    what = "; ".join(_described(part, target) for part in parts)
    return (
        f"benchcore {__version__}: {target.base_url}"
        f"{'' if target.model is None else f' ({target.model})'}, {target.endpoint}"
        f"{'' if target.stream else ' without streaming'}: levels {names}; {what}; "
        f"seed {parts[0].config.seed}"
    )


def _described(part: Part, target: Target) -> str:
    from benchcore.runs.run_json import as_asked

    facts = as_asked(part.workload.describe(), target)
    config = part.config
    requests, seconds = config.window(max(config.concurrency or config.rate))
    ends = [] if requests is None else [f"{requests} requests"]
    if seconds is not None:
        ends.append(f"{seconds:g} s")
    sizes = f"{facts.get('input_tokens', '?')}→{facts.get('output_tokens', '?')} tokens"
    return f"{part.name} {sizes}, {' or '.join(ends)} a level"
