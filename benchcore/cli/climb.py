"""The `benchcore climb` command."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError, InvalidRunError, ResultsError, TargetError
from benchcore.cli import climb_options as options
from benchcore.cli.driver import drive, is_simulated, one_stage, start_progress, tell_where
from benchcore.cli.eval_options import SIM_ABILITY, UNDER_LOAD, read_evaluation
from benchcore.cli.target import SERVER, Sectioned, validated
from benchcore.cli.terminal import colored, show_json
from benchcore.sim.process import SimulatorProcess

if TYPE_CHECKING:
    from pathlib import Path

    from benchcore.climbs.plan import Part
    from benchcore.config.target import Target
    from benchcore.publish.live import LiveFigures
    from benchcore.publish.pushgateway import Pushgateway
    from benchcore.runs.run import Run
    from benchcore.scenario.perf_stage import PerfStage
    from benchcore.scenario.run import OneStageRun
    from benchcore.show.feed import Feed
    from benchcore.show.progress import TerminalProgress
    from benchcore.sim.options import SimOptions


@click.command(cls=Sectioned, epilog=options.EXAMPLES)
@SERVER
@options.REQUEST
@options.LOAD
@options.WORKLOAD
@UNDER_LOAD
@options.RULES
@options.OUTPUT
def climb(**given: Any) -> int:
    """Measure a server under growing load.

    A climb is a ladder of load levels, each with a number of concurrent users or of requests per
    second. Every level is measured by itself, and each has more load than the one before. Without
    --base-url, the built-in simulated server is measured.
    """
    # Before all imports that take a while: its own take as long.
    simulator = None if given["base_url"] or only_shows(given) else begun_simulator()
    from benchcore.config.climb import LEVELS

    loads = [f"--{name.replace('_', '-')}" for name in LEVELS if given[name] is not None]
    if len(loads) > 1:
        raise click.UsageError(f"{loads[0]} and {loads[1]} are two kinds of load: give one of them")
    progress = start_progress(given)
    progress, figures = live_figures(given, progress)
    if given["eval_task"] is not None and given["workload"] is not None:
        raise click.UsageError("--eval brings its own questions: leave out --workload")
    if given["eval_settings"] and given["eval_task"] is None:
        raise click.UsageError("--eval-set needs --eval")
    if given["seed"] is None:
        given["seed"] = secrets.randbelow(2**31)
    if is_simulated(given, "these are the figures of"):
        simulator = simulator or SimulatorProcess()
        simulator.options = sim_options(given)
    stage = stage_of(given)
    parts: list[Part] = []
    machine = one_stage(
        given,
        stage,
        lambda target: first_line(target, parts),
        name=given["name"],
        simulator=simulator,
        progress=progress,
    )
    if given["eval_task"] is not None:
        stage.evaluation = read_evaluation(given, machine.target.endpoint)
    parts += stage.parts(machine.context)
    if given["dry_run"]:
        return _dry_run(machine.target, parts, as_json=given["as_json"])
    if given["print_request"]:
        return asyncio.run(print_request(machine.target, parts[0]))
    gateway = gateway_of(given, machine.context.kind) if given["push"] else None
    drive(machine.interrupt, lambda: measure(machine, given["metrics_port"], figures))
    progress.clear()
    run = stage.result
    if run is not None:
        _print_result(run, as_json=given["as_json"], plain=given["plain"])
    if machine.error is None and machine.folder is not None:
        write_pages(machine.folder)
        tell_where(machine.folder)
        if gateway is not None and not machine.signal:
            push_run(machine.folder, gateway)
    code = machine.end()
    if run is not None and not code:
        judge_run(run)
    return code


def live_figures(
    given: dict[str, Any], progress: TerminalProgress | Feed
) -> tuple[TerminalProgress | Feed, LiveFigures | None]:
    """Return what is told how the load stands, and what shows it where that is asked for."""
    if given["metrics_port"] is None:
        return progress, None
    from benchcore.publish.live import LiveFigures
    from benchcore.show.feed import Feed

    figures = LiveFigures()
    return Feed(figures.take, progress), figures


async def measure(machine: OneStageRun, port: int | None, figures: LiveFigures | None) -> None:
    """Run the climb, and show how it stands where that is asked for."""
    if port is None or figures is None:
        await machine()
        return
    from benchcore.publish.live import metrics_on

    async with metrics_on(port, figures):
        await machine()


def judge_run(run: Run) -> None:
    """Raise what is wrong with a run that is over, if anything is."""
    from benchcore.climbs.climb import BAD_WORKLOAD, TARGET_GONE

    if run.stopped == TARGET_GONE:
        raise TargetError(run.error)
    if run.stopped == BAD_WORKLOAD:
        raise ConfigError(run.error)
    if run.levels and not any(level.ok for level in run.levels):
        raise TargetError("not one request ended ok; see the findings above")
    if not run.valid:
        raise InvalidRunError("the run is invalid: it measured the load generator; see above")


def only_shows(given: dict[str, Any]) -> bool:
    """Return whether the command asks nothing of a server."""
    return bool(given["dry_run"] or given["print_request"])


def begun_simulator() -> SimulatorProcess:
    """Begin a simulator that is stopped with the command, wherever that ends."""
    simulator = SimulatorProcess().begin()
    click.get_current_context().call_on_close(simulator.stop)
    return simulator


def sim_options(given: dict[str, Any]) -> SimOptions:
    """Return how the simulator is started, and let what is asked be of its size."""
    from benchcore.sim.options import SimOptions, SimProfile

    given["input_tokens"] = given["input_tokens"] or (None if given["workload"] else "128")
    given["output_tokens"] = given["output_tokens"] or (None if given["workload"] else "16")
    if given["eval_task"] is None:
        return SimOptions()
    from benchcore.evals.custom import is_custom
    from benchcore.evals.data import BUILTIN

    if given["eval_data"] is None and not is_custom(given["eval_task"]):
        given["eval_data"] = BUILTIN
    return SimOptions(profile=SimProfile.named("default", ability=SIM_ABILITY))


def gateway_of(given: dict[str, Any], kind: str) -> Pushgateway:
    """Return where the run is pushed; that it cannot be is said before the load."""
    from benchcore.publish.pushgateway import URL, Pushgateway

    if not os.environ.get(URL):
        raise click.UsageError(f"--push: the variable {URL} is not set")
    if kind == "simulator" and not given["allow_simulator"]:
        raise click.UsageError(
            "--push: this is the simulator; give --allow-simulator to push it anyway"
        )
    return Pushgateway.of_environment(os.environ, os.environ[URL])


def push_run(folder: Path, gateway: Pushgateway) -> None:
    """Push a run; how to try again is said where that fails."""
    from benchcore.base.logs import LOGGER
    from benchcore.publish.pushgateway import RunPush
    from benchcore.runs.reading import RunFolder

    pushed = RunPush.of(RunFolder(folder))
    try:
        pushed.send(gateway)
    except TargetError as error:
        raise TargetError(f"{error}: benchcore push {folder}") from None
    LOGGER.info("pushed %d series to %s", pushed.series, gateway.url)


def write_pages(folder: Path) -> None:
    """Write the pages of a run.

    Raises:
        ResultsError: they cannot be written.
    """
    from benchcore.show.page import write_reports

    try:
        write_reports(folder)
    except OSError as error:
        raise ResultsError(
            f"{folder}: the reports cannot be written ({error.strerror}); what was measured is "
            "saved: benchcore report shows it"
        ) from None


def _print_result(run: Run, *, as_json: bool, plain: bool) -> None:
    if not run.levels and run.status not in ("complete", "interrupted"):
        return  # it never came to measuring: the error says why
    if as_json:
        from benchcore.runs.run_json import dump

        sys.stdout.write(dump(run.to_json()).decode())
    else:
        from benchcore.show.table import render

        sys.stdout.write(render(run, color=colored()))
        if not plain:
            _print_chart(run)
    sys.stdout.flush()


def _print_chart(run: Run) -> None:
    from benchcore.base.text import columns
    from benchcore.cli.terminal import draws
    from benchcore.show.panel import CHARACTERS, chart

    if not draws(sys.stdout, CHARACTERS):
        return
    lines = chart(run.levels, columns(sys.stdout))
    if lines:
        click.echo()
    for line in lines:
        click.echo(line)


_RENAMED = {
    "duration": "duration_seconds",
    "ramp": "ramp_seconds",
    "think_time": "think_time_seconds",
    "drain": "drain_seconds",
    "idle": "idle_seconds",
    "timeout": "timeouts",
}
"""Options whose setting has another name."""


def stage_of(given: dict[str, Any]) -> PerfStage:
    """Return the climb that the options say: what is not given is left to its defaults."""
    from benchcore.config.scenario import PerfSettings
    from benchcore.scenario.perf_stage import PerfStage

    named = {_RENAMED.get(name, name): value for name, value in given.items()}
    named |= given["warmup"] or {}
    fields = PerfSettings.model_fields.keys() - {"extra_body"}  # that is the target's already
    said = {name: named[name] for name in fields if named.get(name) is not None}
    return PerfStage(validated(lambda: PerfSettings.model_validate(said)))


def _dry_run(target: Target, parts: list[Part], *, as_json: bool) -> int:
    """Say which levels would be run, and how long they take."""
    from benchcore.climbs.plan import longest_seconds, steps
    from benchcore.runs.run import level_name

    durations = [(step, longest_seconds(step)) for step in steps(parts)]
    known = [seconds for _, seconds in durations if seconds is not None]
    total = sum(known) if len(known) == len(durations) else None
    if as_json:
        levels = [
            {"level": step.name, "repeat": step.repeat, "at_most_seconds": seconds}
            for step, seconds in durations
        ]
        show_json({"base_url": target.base_url, "levels": levels, "at_most_seconds": total})
        return 0
    click.echo(first_line(target, parts))
    for step, seconds in durations:
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


async def print_request(target: Target, part: Part) -> int:
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


def first_line(target: Target, parts: list[Part], levels: str = "") -> str:
    """Return what is about to be asked of which server.

    Args:
        target: it.
        parts: of the climb.
        levels: in words; empty: those that the parts name.
    """
    from benchcore.client.native.library import chosen
    from benchcore.climbs.plan import steps
    from benchcore.version import __version__

    names = levels or ", ".join(dict.fromkeys(step.name for step in steps(parts)))
    what = "; ".join(_described(part, target) for part in parts)
    return (
        f"benchcore {__version__}: {target.base_url}"
        f"{'' if target.model is None else f' ({target.model})'}, {target.endpoint}"
        f"{'' if target.stream else ' without streaming'}: levels {names}; {what}; "
        f"seed {parts[0].config.seed}; reader {chosen(tls=target.tls)[1]}"
    )


def _described(part: Part, target: Target) -> str:
    from benchcore.runs.run_json import as_asked

    facts = as_asked(part.workload.describe(), target)
    config = part.config
    requests, seconds = config.window(max(config.levels))
    ends = [] if requests is None else [f"{requests} requests"]
    if seconds is not None:
        ends.append(f"{seconds:g} s")
    if not ends:
        ends = ["the whole trace"]
    size = ""
    if facts.get("input_tokens") is not None:
        size = f" {facts['input_tokens']}→{facts.get('output_tokens', '?')} tokens"
    return f"{part.name}{size}, {' or '.join(ends)} a level"
