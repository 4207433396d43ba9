"""Driver: what commands that ask a server have around their work: target, loop, signals, logs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from benchcore.base.errors import ConfigError
from benchcore.base.secrets import masked_arguments
from benchcore.cli import terminal
from benchcore.cli.target import group, read_asking, usage_error, warnings
from benchcore.cli.values import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benchcore.config.target import Target
    from benchcore.scenario.run import OneStageRun
    from benchcore.scenario.stage import ServerStage
    from benchcore.show.feed import Feed
    from benchcore.show.progress import TerminalProgress
    from benchcore.sim.process import SimulatorProcess


T = TypeVar("T")

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"

ENDPOINT = click.option(
    "--endpoint",
    type=click.Choice(["chat", "completions", "responses"]),
    default=None,
    help="Ask this endpoint of the API [default: that of --base-url or --path where they "
    "end in one, else chat].",
)
RESULTS = click.option(
    "--output",
    default="results",
    show_default=True,
    help="Write the folder of the run into this folder.",
)
QUIET = click.option(
    "--quiet", is_flag=True, help="Report only what is wrong and where the results are."
)
LOG_FORMAT = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Write messages as text or as lines of JSON.",
)
LOGS = group(QUIET, LOG_FORMAT)


def start_logs(given: Mapping[str, Any], before: Callable[[], None] = lambda: None) -> None:
    """Send messages to stderr as the options say.

    Args:
        given: what the options of a command came to.
        before: called before each line, to take a live line away.
    """
    level = terminal.QUIET if given["quiet"] else given.get("log_level", "info")
    terminal.set_up(sys.stderr, level, as_json=given["log_format"] == "json", before=before)


def import_numpy() -> None:
    """Import NumPy without the threads of its linear algebra, unless the user says how many.

    OpenBLAS starts one for each core, and they spin for a while; nothing here multiplies matrices.
    """
    if _BLAS_THREADS in os.environ:
        return
    os.environ[_BLAS_THREADS] = "1"
    try:
        import numpy as np  # noqa: F401
    finally:
        del os.environ[_BLAS_THREADS]  # a server that is started has as many as it likes


def start_progress(given: Mapping[str, Any]) -> TerminalProgress | Feed:
    """Return what draws the live line, where there is to be one, and send messages around it."""
    import_numpy()
    from benchcore.show.panel import CHARACTERS, ClimbPanel
    from benchcore.show.progress import TerminalProgress

    live = terminal.draws(sys.stderr) and not given["no_progress"]
    live = live and given["log_format"] == "text"
    progress = TerminalProgress(
        sys.stderr,
        live=live and not given["quiet"],
        interval_seconds=given.get("progress_interval", 10.0),
        drawing=ClimbPanel
        if not given.get("plain") and terminal.draws(sys.stderr, CHARACTERS)
        else None,
    )
    start_logs(given, progress.clear)
    return _fed(progress)


def _fed(progress: TerminalProgress) -> TerminalProgress | Feed:
    """Return what draws, and tells another process that wants to know.

    Raises:
        ConfigError: the variable that names its descriptor is wrong.
    """
    from benchcore.show.feed import DESCRIPTOR, Feed, FeedWriter

    descriptor = os.environ.pop(DESCRIPTOR, "")
    if not descriptor:
        return progress
    try:
        return Feed(FeedWriter(int(descriptor)), progress)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{DESCRIPTOR}: {descriptor!r} is no descriptor to write to") from None


def refuse_two_servers(given: Mapping[str, Any]) -> None:
    """Refuse options that name two servers.

    Raises:
        UsageError: they do.
    """
    if given["base_url"] and given["simulator"]:
        raise click.UsageError("--sim starts a server of its own: leave --base-url out")


def is_simulated(given: Mapping[str, Any], what: str) -> bool:
    """Return whether a command starts the simulator, and say so where it does.

    Args:
        given: what the options of a command came to.
        what: is done with it.

    Raises:
        UsageError: it is asked for, and so is another server.
    """
    from benchcore.base.logs import LOGGER

    refuse_two_servers(given)
    if given["base_url"]:
        return False
    asked = "" if given["simulator"] else " (no --base-url was given)"
    LOGGER.warning("SIMULATOR: %s the built-in simulated server%s", what, asked)
    return True


def one_stage(
    given: Mapping[str, Any],
    stage: ServerStage[Any],
    first_line: Callable[[Target], str],
    *,
    name: str,
    base_url: str | None = None,
    kind: str | None = None,
    simulator: SimulatorProcess | None = None,
    folder: Path | None = None,
    labels: Mapping[str, str] | None = None,
    progress: TerminalProgress | Feed | None = None,
) -> OneStageRun:
    """Return the run of the one stage that a command is.

    Args:
        given: what the options of the command came to.
        stage: it.
        first_line: says of the server what is about to be done.
        name: of the run.
        base_url: of the server, instead of that in the options.
        kind: `server` or `simulator`; as it is started when left out.
        simulator: is started; `None`: there is a server.
        folder: of the run that is gone on with.
        labels: that it has, besides those of the options.
        progress: draws the live line.

    Raises:
        UsageError: the options make no server to be asked.
    """
    from benchcore.base.logs import LOGGER
    from benchcore.config.scenario import Scenario
    from benchcore.scenario.run import ONE_STAGE, OneStageRun
    from benchcore.scenario.stage import StageContext
    from benchcore.show.progress import Silent

    def begins(target: Target) -> None:
        LOGGER.info("%s", first_line(target))
        for warning in warnings(target):
            LOGGER.warning("%s", warning)

    output = Path(given["output"])
    context = StageContext(
        # A name that only stands in files need not be one that tells scenarios apart.
        scenario=Scenario.model_construct(
            id=name, model=given["model"], labels={**(labels or {}), **pairs(given["labels"])}
        ),
        run_type=ONE_STAGE,
        base=Path(),
        folder=folder or output,
        results=output,
        run_id="",
        started_at="",
        command=["benchcore", *masked_arguments(sys.argv[1:])],
        asking=read_asking(given),
        base_url=(base_url or given["base_url"]) if simulator is None else None,
        kind=kind or ("server" if simulator is None else "simulator"),
        allow_simulator=given.get("allow_simulator", False),
        tell=lambda line: LOGGER.info("%s", line),
        progress=progress or Silent(),
        alone=True,
        option_fault=usage_error,
    )
    return OneStageRun(stage, context, simulator=simulator, folder=folder, begins=begins)


def drive(interrupt: Callable[[int], None], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something to its end on a loop of its own, and let signals interrupt it.

    Args:
        interrupt: takes the number of each; at the first the work ends soon, at the second at once.
        work: is run.
    """

    async def go() -> T:
        caught = catch_signals(lambda: interrupt(caught[-1]))
        return await work()

    return run_loop(go())


def tell_where(folder: Path) -> None:
    """Say where the results are, also where --quiet says nothing else."""
    from benchcore.base.logs import LOGGER, RESULT

    LOGGER.log(RESULT, "results are in %s", folder)


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop, with the collector on again."""
    # All that has been imported moves to the oldest generation, and none of it is looked through.
    gc.freeze()
    gc.unfreeze()
    gc.enable()
    if signal.getsignal(signal.SIGINT) is terminal.interrupt_before:
        # A runner replaces this handler alone, by one that ends the coroutine in order.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    done: T = uvloop.run(work)
    return done


def catch_signals(interrupt: Callable[[], None], *, quiet: bool = False) -> list[int]:
    """Let SIGINT, SIGTERM and SIGHUP interrupt, on the running loop.

    Args:
        interrupt: called at each of them.
        quiet: say nothing of it: there are no requests in flight.

    Returns:
        What has come so far.
    """
    from benchcore.base.logs import LOGGER

    caught: list[int] = []
    loop = asyncio.get_running_loop()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def on_signal(number: int) -> None:
        caught.append(number)
        _leave(terminals)
        if len(caught) == 1 and not quiet:
            LOGGER.warning("stopping: requests in flight may end; interrupt again to stop at once")
        interrupt()

    for number in _asking():
        loop.add_signal_handler(number, on_signal, number)
    return caught


def _asking() -> list[signal.Signals]:
    """Return the signals that ask a command to end."""
    signals = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored from the start, and the command is to outlive its terminal.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


def _leave(terminals: Iterable[int]) -> None:
    """Send what is still said to nobody, where a terminal has been closed.

    Writing to a closed one is an I/O error, which would end the command before its clean-up.
    """
    for number in terminals:
        if not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
