"""The `benchcore completion` command."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_HOW = {
    "bash": "write this into ~/.local/share/bash-completion/completions/benchcore",
    "zsh": "write this into a file _benchcore in a folder of $fpath",
    "fish": "write this into ~/.config/fish/completions/benchcore.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW)))
def completion(shell: str) -> int:
    """Print what completes benchcore's commands and options in SHELL.

    For this session alone: eval "$(benchcore completion bash)".
    """
    from benchcore.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    click.echo(f"# {_HOW[shell]}")
    click.echo(kind(cli, {}, "benchcore", "_BENCHCORE_COMPLETE").source())
    return 0
