"""Scenario: the options that name scenarios, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.target import group

if TYPE_CHECKING:
    from benchcore.pipeline.matrix_file import LoadedMatrix

RUN_TYPE = click.option(
    "--run-type",
    type=click.Choice(["pr", "daily"]),
    default="pr",
    show_default=True,
    help="Run shortly, where whatever fails fails the run (pr), or in full, where only the "
    "checks fail it (daily).",
)
OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Write run folders into this one.",
)
ONLY = click.option("--only", metavar="ID,…", help="Take only these scenarios of the matrix.")
MATRIX = click.option(
    "--matrix",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("scenarios/matrix.yaml"),
    show_default=True,
    help="Read the matrix from this file.",
)
LOGS = group(
    click.option("--quiet", is_flag=True, help="Say only what is wrong and where the results are."),
    click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Write messages as text or as lines of JSON.",
    ),
)


def read_matrix(given: dict[str, Any]) -> LoadedMatrix:
    """Return the matrix that the options name.

    Raises:
        ConfigError: it, or a scenario of it, is wrong.
    """
    import os

    from benchcore.errors import ConfigError
    from benchcore.pipeline.matrix_file import load_matrix

    if not given["matrix"].is_file():
        raise ConfigError(
            f"{given['matrix']}: is not there; name a matrix by --matrix, or begin one: "
            "benchcore new matrix NAME"
        )
    only = [name.strip() for name in (given["only"] or "").split(",") if name.strip()]
    return load_matrix(given["matrix"], given["run_type"], only=only, environ=os.environ)
