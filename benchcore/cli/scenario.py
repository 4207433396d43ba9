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
    help="pr: short, whatever fails fails the run; daily: full, only the checks fail it.",
)
OUTPUT = click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Where run folders land.",
)
ONLY = click.option("--only", metavar="ID,…", help="Of a matrix: only these scenarios.")
MATRIX = click.option(
    "--matrix",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("scenarios/matrix.yaml"),
    show_default=True,
    help="The file of a matrix.",
)
LOGS = group(
    click.option("--quiet", is_flag=True, help="Say nothing on the way."),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
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
