"""The `benchcore workload` commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchcore.base.errors import ConfigError
from benchcore.base.text import printable
from benchcore.cli.driver import run_loop
from benchcore.cli.terminal import colored, json_option, show_json

if TYPE_CHECKING:
    from benchcore.workload.named import WorkloadSpec
    from benchcore.workload.profile import Profile

EXAMPLES = """\
benchcore workload validate conversations.json
benchcore workload describe conversation,turns=4 --html workload.html
"""


@click.group(epilog=EXAMPLES)
def workload() -> None:
    """Look at what a load would ask, before it is sent."""


@workload.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--kind", metavar="KIND", help="Read the file as this kind [default: found out].")
@click.option(
    "--columns",
    metavar="NAME=COLUMN;…",
    default="",
    help="Take these columns, such as prompt=question;output_tokens=n.",
)
@click.option("--drop-bad", is_flag=True, help="Go on without rows that cannot be used.")
@json_option()
def validate(file: Path, kind: str | None, columns: str, *, drop_bad: bool, as_json: bool) -> int:
    """Say what FILE is, and which of its rows cannot be used.

    The format (JSON Lines, JSON, CSV, text, Parquet) and the kind of workload are found out from
    the file, and every row is read. Rows that cannot be used are listed with line, column and
    reason: the first 20, and how many there are. They end the command with exit code 2, unless
    --drop-bad is given.
    """
    from benchcore.show.workload import render_validation
    from benchcore.workload.layouts import validate as read_whole

    found = read_whole(file, kind=kind, columns=columns)
    if as_json:
        show_json(found.to_json())
    else:
        sys.stdout.write(render_validation(found, drop_bad=drop_bad))
        sys.stdout.flush()
    return 0 if found.is_good or (drop_bad and found.droppable) else ConfigError.exit_code


@workload.command()
@click.argument("workload", metavar="FILE|NAME|KIND,KEY=VALUE")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Read this many sessions [default: all of a file, 10000 of what has no end].",
)
@click.option(
    "--tokenizer",
    type=click.Path(),
    metavar="FILE",
    help="Count the tokens of texts with this local tokenizer.json.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page that opens offline, with plots, to this file.",
)
@json_option()
def describe(
    workload: str, limit: int | None, tokenizer: str | None, html: Path | None, *, as_json: bool
) -> int:
    """Say what a workload asks: lengths, turns, classes, arrivals, and what a cache could hold.

    A file of prompts, conversations or a trace is read as what `validate` finds it to be. The
    figures are those that its requests are meant to have; no server is asked.
    """
    from benchcore.show.workload import render_profiles, workload_page

    spec = _spec(workload)
    profiles = run_loop(_profiles(spec, limit, tokenizer))
    if html is not None:
        from benchcore.base.files import replace_file

        try:
            replace_file(html, workload_page(f"Workload {spec.name}", profiles).encode())
        except OSError as error:
            raise ConfigError(f"--html {html}: cannot be written ({error.strerror})") from None
    if as_json:
        show_json({"name": spec.name, "parts": [one.to_json() for one in profiles]})
    else:
        sys.stdout.write(render_profiles(profiles, color=colored()))
        if html is not None:
            click.echo(printable(str(html)))
    sys.stdout.flush()
    return 0


def _spec(name: str) -> WorkloadSpec:
    """Load what is named; of a file of data, as the kind that it is."""
    from benchcore.workload.layouts import layout_of
    from benchcore.workload.named import load_data, load_workload

    path = Path(name)
    if path.suffix in (".yaml", ".yml") or not path.exists():
        return load_workload(name)
    return load_data(layout_of(path).kind, path)


async def _profiles(spec: WorkloadSpec, limit: int | None, tokenizer: str | None) -> list[Profile]:
    from benchcore.workload.profile import profile
    from benchcore.workload.token_costs import LocalTokenizer

    counter = None if tokenizer is None else LocalTokenizer(tokenizer)
    found = []
    for part in spec.parts:
        await part.workload.prepare(counter)
        found.append(profile(part.workload, limit=limit, counter=counter))
    return found
