"""The `benchcore find` and `benchcore verify` commands."""

from __future__ import annotations

import asyncio
import math
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from benchcore.base.errors import ConfigError, VerdictError
from benchcore.cli import climb_options as options
from benchcore.cli.climb import (
    begun_simulator,
    first_line,
    gateway_of,
    judge_run,
    live_figures,
    measure,
    only_shows,
    print_request,
    push_run,
    sim_options,
    stage_of,
    write_pages,
)
from benchcore.cli.driver import drive, is_simulated, one_stage, start_progress, tell_where
from benchcore.cli.target import SERVER, Sectioned, group
from benchcore.cli.terminal import json_option
from benchcore.cli.values import SHARE, Value
from benchcore.config.limits import FAILURES, USUAL_FAILURES, Objective, parse_duration_ns
from benchcore.sim.process import SimulatorProcess

if TYPE_CHECKING:
    from benchcore.climbs.plan import Part
    from benchcore.judge.capacity import SearchRule
    from benchcore.runs.certificates import Certificate
    from benchcore.runs.run import Run

EXAMPLES = """\
benchcore find --base-url http://gpu0:8000 --slo ttft:p99:500ms --slo tpot:p99:50ms
benchcore find --base-url http://gpu0:8000 --slo e2e:p95:10s --rate --from 1 --to 64
"""
_HIGHEST: Final = 1024
_ROOM: Final = 1.6
"""A level has so many times the requests that would hold it if none missed."""
_USUAL_REQUESTS: Final = 500
_LONGEST_SECONDS: Final = 120.0


def _budget(text: str) -> tuple[int | None, float | None]:
    """Read a number of requests, or a time with its unit."""
    if text.strip().isdigit():
        if not int(text):
            raise ConfigError("a budget must be above 0")
        return int(text), None
    seconds = parse_duration_ns(text) * 1e-9
    if seconds <= 0:
        raise ConfigError("a budget must be above 0")
    return None, seconds


def _confidence(text: str) -> float:
    value: float = SHARE.convert(text, None, None)
    if not 0.5 <= value < 1:
        raise ConfigError(f"{text!r} is not a confidence of 50 % or more, such as 95%")
    return value


SEARCH = group(
    click.option(
        "--slo",
        "slos",
        type=Value("SLO", Objective.parse),
        multiple=True,
        required=True,
        metavar="METRIC:PERCENTILE:LIMIT",
        help="Ask for levels that hold this, such as ttft:p99:500ms or e2e:p95:10s; ttft:500ms is "
        "of the 99th percentile. failures:1% is asked for unless another share is. Repeatable.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["closed", "open"]),
        default=None,
        help="Search for the number of users of a closed loop, or for the rate of an open one "
        "[default: closed].",
    ),
    click.option("--rate", "by_rate", is_flag=True, help="Search for the rate: --mode open."),
    click.option(
        "--from",
        "lowest",
        type=click.FloatRange(0, min_open=True),
        metavar="LEVEL",
        default=1,
        show_default=True,
        help="Begin with so many users, or requests per second.",
    ),
    click.option(
        "--to",
        "highest",
        type=click.FloatRange(0, min_open=True),
        metavar="LEVEL",
        default=_HIGHEST,
        show_default=True,
        help="Go no higher than this.",
    ),
    click.option(
        "--confidence",
        type=Value("SHARE", _confidence),
        default="95%",
        show_default=True,
        help="Let either bound hold at this confidence.",
    ),
    click.option(
        "--budget",
        type=Value("N|DURATION", _budget),
        default=None,
        help="Stop before more than so many requests are sent, or before this time is over.",
    ),
    section="Search",
)
_LEFT_OUT: Final = {"eval_task": None, "eval_data": None, "eval_settings": ()}
"""What `climb` takes and `find` does not."""


@click.command(cls=Sectioned, epilog=EXAMPLES)
@SERVER
@options.REQUEST
@SEARCH
@options.EACH_LEVEL
@options.LOAD_ADVANCED
@options.WORKLOAD
@options.output("find", "certificate.json")
def find(**given: Any) -> int:
    """Find the highest load that holds every --slo.

    Levels are doubled, then the gap is halved, until it is known at which load the server still
    holds and at which it no longer does. certificate.json says what that rests on; benchcore verify
    computes it again. Without --base-url, the built-in simulated server is measured.
    """
    simulator = None if given["base_url"] or only_shows(given) else begun_simulator()
    from benchcore.climbs.capacity_steps import CapacitySteps

    whole = _is_closed(given)
    rule = _rule(given, whole=whole)
    progress, figures = live_figures(given, start_progress(given))
    given |= _LEFT_OUT
    if given["seed"] is None:
        given["seed"] = secrets.randbelow(2**31)
    if is_simulated(given, "these are the figures of"):
        simulator = simulator or SimulatorProcess()
        simulator.options = sim_options(given)
    stage = stage_of(given | _climb_of(given, rule))
    parts: list[Part] = []
    levels = _levels(rule)
    machine = one_stage(
        given,
        stage,
        lambda target: first_line(target, parts, levels),
        name=given["name"],
        simulator=simulator,
        progress=progress,
    )
    parts += stage.parts(machine.context)
    if len(parts) > 1:
        raise click.UsageError(
            f"--workload: it has {len(parts)} parts, each with a load of its own; find takes one"
        )
    if given["dry_run"]:
        return _dry_run(first_line(machine.target, parts, levels), rule, parts[0])
    if given["print_request"]:
        return asyncio.run(print_request(machine.target, parts[0]))
    gateway = gateway_of(given, machine.context.kind) if given["push"] else None
    stage.source = CapacitySteps(rule, progress.say)
    drive(machine.interrupt, lambda: measure(machine, given["metrics_port"], figures))
    progress.clear()
    run, folder = stage.result, machine.folder
    certificate = None
    if run is not None and folder is not None and run.levels:
        certificate = _certify(folder, rule)
        _print(run, certificate, as_json=given["as_json"])
    if machine.error is None and folder is not None:
        write_pages(folder)
        tell_where(folder)
        if gateway is not None and not machine.signal:
            push_run(folder, gateway)
    code = machine.end()
    if run is not None and not code:
        _judge(run, certificate)
    return code


def _judge(run: Run, certificate: Certificate | None) -> None:
    """Raise what is wrong with a search that is over; a level that is invalid is none by itself."""
    if certificate is None or certificate.at_least is None or run.status == "failed":
        judge_run(run)
        if certificate is not None and certificate.at_least is None:
            raise VerdictError(certificate.says)


def _levels(rule: SearchRule) -> str:
    kind = "c" if rule.whole else "r"
    return f"{kind}{rule.lowest:g} to {kind}{rule.highest:g}"


def _is_closed(given: dict[str, Any]) -> bool:
    if given["by_rate"] and given["mode"] == "closed":
        raise click.UsageError("--rate searches for the rate of an open loop: leave --mode out")
    return not given["by_rate"] and given["mode"] != "open"


def _rule(given: dict[str, Any], *, whole: bool) -> SearchRule:
    from benchcore.judge.certificate import rule_of

    lowest, highest = given["lowest"], given["highest"]
    if whole and (lowest != int(lowest) or highest != int(highest)):
        raise click.UsageError("--from and --to: users are whole; give --rate for requests/s")
    if lowest > highest:
        raise click.UsageError(f"--from {lowest:g} is above --to {highest:g}")
    objectives = list(dict.fromkeys(given["slos"]))
    if not any(one.metric == FAILURES for one in objectives):
        objectives.append(Objective.parse(USUAL_FAILURES))
    most_requests, most_seconds = given["budget"] or (None, None)
    return rule_of(
        objectives,
        lowest=int(lowest) if whole else lowest,
        highest=int(highest) if whole else highest,
        whole=whole,
        confidence=given["confidence"],
        most_requests=most_requests,
        most_seconds=most_seconds,
    )


def _climb_of(given: dict[str, Any], rule: SearchRule) -> dict[str, Any]:
    """Return the climb that the levels are of, from the lowest to the highest."""
    levels = tuple(dict.fromkeys((rule.lowest, rule.highest)))
    limits = [one for one in given["slos"] if one.limit_ns is not None]
    found: dict[str, Any] = {
        "concurrency": levels if rule.whole else None,
        "rate": None if rule.whole else levels,
        "slos": tuple(f"{one.metric}:{one.limit_ns / 1e6:.12g}ms" for one in limits),
    }
    # As few as may miss, if none does, tell nothing of a percentile further out.
    tail = max(rule.targets.values())
    needed = math.ceil(_ROOM * math.log(1 - rule.confidence) / math.log(tail))
    if needed > _USUAL_REQUESTS and given["requests"] is None and given["duration"] is None:
        found |= {"requests": needed, "duration": _LONGEST_SECONDS}
    return found


def _certify(folder: Path, rule: SearchRule) -> Certificate:
    from benchcore.base.files import replace_file
    from benchcore.judge.certificate import certificate_of, search_of
    from benchcore.runs.certificates import CERTIFICATE
    from benchcore.runs.reading import RunFolder
    from benchcore.runs.run_json import dump

    read = RunFolder(folder)
    made = certificate_of(read, search_of(read, rule))
    replace_file(folder / CERTIFICATE, dump(made.to_json()))
    return made


def _print(run: Run, certificate: Certificate, *, as_json: bool) -> None:
    if as_json:
        from benchcore.runs.run_json import dump

        sys.stdout.write(dump(certificate.to_json()).decode())
    else:
        from benchcore.cli.terminal import colored
        from benchcore.show.table import render

        sys.stdout.write(render(run, color=colored()))
        sys.stdout.write(f"\n{certificate.says}\n")
    sys.stdout.flush()


def _dry_run(first: str, rule: SearchRule, part: Part) -> int:
    """Say between which levels it would search, and what each would take."""
    requests, seconds = part.config.window(rule.lowest)
    ends = [] if requests is None else [f"{requests} requests"]
    ends += [] if seconds is None else [f"{seconds:g} s"]
    unit = "users" if rule.whole else "requests/s"
    click.echo(first)
    click.echo(
        f"from {rule.lowest:g} {unit} to {rule.highest:g} at most, windows of "
        f"{' or '.join(ends) or 'the whole trace'}, each level up to {rule.looks} times; a level "
        "that holds is followed by twice as many, and the gap is halved after that"
    )
    click.echo(f"to hold: {', '.join(rule.targets)}")
    return 0


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option("the certificate as JSON")
def verify(run: Path, *, as_json: bool) -> int:
    """Compute the verdict of benchcore find in the folder RUN again, from its rows.

    Nothing but the folder is needed. Exit code 5 where a row or a figure has changed, or a file is
    missing.
    """
    from benchcore.judge.verification import verified

    found = verified(run)
    if as_json:
        from benchcore.runs.run_json import dump

        sys.stdout.write(dump(found.to_json()).decode())
        return 0
    rows = sum(one.requests for one in found.visits)
    click.echo(f"{found.says}")
    click.echo(f"verified: {len(found.visits)} levels, computed again from {rows:,} rows")
    return 0
