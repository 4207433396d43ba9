"""`benchcore`: the command line; each command is imported when it is called."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from typing import Any

import click
from click.shell_completion import get_completion_class

from benchcore.base.errors import BenchcoreError
from benchcore.base.plugins import nearest
from benchcore.base.secrets import hiding
from benchcore.base.text import printable
from benchcore.cli.terminal import guarded, hold_standard_streams, interrupt_before
from benchcore.version import __version__

_HOW = {
    "bash": "write this into ~/.local/share/bash-completion/completions/benchcore",
    "zsh": "write this into a file _benchcore in a folder of $fpath",
    "fish": "write this into ~/.config/fish/completions/benchcore.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> int:
    """Print what completes benchcore's commands and options in SHELL.

    For this session only, run eval "$(benchcore completion bash)".
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    click.echo(f"# {_HOW[shell]}")
    click.echo(kind(cli, {}, "benchcore", "_BENCHCORE_COMPLETE").source())
    return 0


COMMANDS = {
    "climb": ("benchcore.cli.climb:climb", "Measure a server, level by level."),
    "find": ("benchcore.cli.find:find", "Find the highest load that holds every SLO."),
    "verify": ("benchcore.cli.find:verify", "Compute the verdict of a find again from its rows."),
    "check": ("benchcore.cli.check:check", "Check whether a server speaks the API it claims."),
    "eval": ("benchcore.cli.eval:evaluate", "Score a server's answers to a task's questions."),
    "plan": ("benchcore.cli.run:plan", "Say what a scenario or a matrix would do."),
    "run": ("benchcore.cli.run:run", "Run a scenario, from the launch to the clean-up."),
    "run-matrix": ("benchcore.cli.run:run_matrix", "Run the scenarios of a matrix."),
    "new": ("benchcore.cli.upkeep:new", "Write a commented file to start from."),
    "deploy": ("benchcore.cli.deploy:deploy", "Bring up only the server of a scenario."),
    "undeploy": ("benchcore.cli.deploy:undeploy", "Take that server down again."),
    "clean": ("benchcore.cli.upkeep:clean", "Remove what killed runs left on a cluster."),
    "prune": ("benchcore.cli.upkeep:prune", "Remove old runs."),
    "report": ("benchcore.cli.reports:report", "Show runs that are over."),
    "explain": ("benchcore.cli.explain:explain", "Say why slow requests are slow."),
    "compare": ("benchcore.cli.reports:compare", "Compare runs, figure by figure."),
    "gate": ("benchcore.cli.gate:gate", "Judge a run against a baseline, for CI."),
    "history": ("benchcore.cli.reports:history", "List runs, and say where figures changed."),
    "baseline": ("benchcore.cli.gate:baseline", "Keep runs that others are compared with."),
    "push": ("benchcore.cli.push:push", "Push a run's figures to a Prometheus Pushgateway."),
    "import": ("benchcore.cli.push:import_results", "Read another load generator's results."),
    "workload": ("benchcore.cli.workload:workload", "Look at what a load would ask, beforehand."),
    "record": ("benchcore.cli.record:record", "Record real requests as a trace to replay."),
    "serve": ("benchcore.cli.serve:serve", "Start and follow runs over HTTP, with their pages."),
    "doctor": ("benchcore.cli.upkeep:doctor", "Say what this machine can drive and measure."),
    "completion": ("benchcore.cli.main:completion", "Print a shell's completion script."),
    "sim": ("benchcore.cli.sim:sim", "Run the built-in simulated server."),
}


class LazyGroup(click.Group):
    """A group that imports a command only when it is called: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command; `None` where there is no such."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called; of one that is not known, say which is near."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = nearest(args[0], COMMANDS, otherwise="benchcore --help lists all", cutoff=0.5)
            text = f"{error.message.rstrip('.')}; {hint}"
            raise click.UsageError(text, ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what the commands do, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="benchcore %(version)s")
def cli() -> None:
    """Load generator for LLM inference servers whose figures are the server's, not its own."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with the code of the contract."""
    hold_standard_streams()
    # Imports make many objects and no garbage; a command that goes on for long has it on again.
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt_before)
    try:
        sys.exit(run(args))
    finally:
        gc.freeze()  # the process ends: what it holds need not be looked through first


def run(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Whatever goes wrong is one line on standard error: what, where, what to do. That the result
    cannot be written to standard output changes no verdict.
    """
    with hiding(), guarded() as out:
        code = _run(args)
        out.flush()
        if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
            _complain(f"standard output: {out.failure.strerror}; not all of the result is there")
            code = code or 1
    return code


def _run(args: list[str] | None) -> int:
    try:
        result: Any = cli.main(args=args, prog_name="benchcore", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else error.message)
        return 0
    except click.Abort:
        return 130
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "benchcore"
        _complain(f"{error.format_message()} (see {command} --help)")
        return 2
    except click.ClickException as error:
        _complain(error.format_message())
        return 2
    except BenchcoreError as error:
        _complain(str(error))
        return error.exit_code
    except Exception as error:
        if os.environ.get("BENCHCORE_TRACEBACK"):
            raise
        _complain(
            f"internal fault: {type(error).__name__}: {error}; this is a bug: please report it "
            "with the output of the same command under BENCHCORE_TRACEBACK=1"
        )
        return 1
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    # It may hold a server's words, or a stranger's file name.
    shown = "\n".join(map(printable, text.split("\n")))
    sys.stderr.write(f"benchcore: {shown}\n")


if __name__ == "__main__":
    main()
