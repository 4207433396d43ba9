"""Writes docs/reference/cli.md: every command and option, as click has them.

`python tests/cli_reference.py` writes the page; a test holds the page to it.
"""

import re
from html import escape
from pathlib import Path

import click

from benchcore.cli.main import COMMANDS, cli

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"

_HEAD = """\
# Command line

This page has every command and option. `python tests/cli_reference.py` writes it from the commands
themselves, so do not edit it. `benchcore COMMAND --help` says the same.

Standard output holds the result, and standard error everything else. Exit codes are in
[the contract](../contract.md#6-command-line).
"""


def reference() -> str:
    """Return the page as Markdown."""
    context = click.Context(cli, info_name="benchcore", **cli.context_settings)
    parts = [_HEAD]
    for name, (_, brief) in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        parts.append(_command(command, f"benchcore {name}", brief, context, 2))
    return "\n".join(parts)


def _command(
    command: click.Command, path: str, brief: str, parent: click.Context, depth: int
) -> str:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    body = _paragraphs(command.help or "")
    lines = [
        f"{'#' * depth} `{path}`",
        "",
        _literal(body or brief),
        "",
        "```text",
        usage,
        "```",
        "",
    ]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    rows = [_row(one, context) for one in options if not one.hidden and "--help" not in one.opts]
    if rows:
        lines += ["| option | what it does |", "|---|---|", *rows, ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            brief = inner.get_short_help_str(200)
            lines.append(_command(inner, f"{path} {name}", brief, context, depth + 1))
    return "\n".join(lines)


def _row(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    assert record is not None
    names, text = record
    # A pipe would end the cell; in backticks the site shows the backslash before it, too.
    shown = f"`{names}`" if "|" not in names else f"<code>{escape(names)}</code>"
    cells = [shown.replace("|", "&#124;"), _literal(text).replace("|", "\\|")]
    return f"| {cells[0]} | {' '.join(cells[1].split())} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _literal(text: str) -> str:
    """Return text that Markdown shows as it stands: no emphasis, no links, no HTML."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([*_<\[\]])", r"\\\1", piece)
        for piece in pieces
    )


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(reference(), encoding="utf-8")
