"""The `benchcore new` command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from benchcore.cli.output import json_option, show_json
from benchcore.errors import ConfigError

SCHEMAS: Final = "https://raw.githubusercontent.com/benchcore/benchcore/main/docs/schema"
_TEMPLATES: Final = Path(__file__).parents[1] / "templates"
_WHERE: Final = {
    "scenario": "scenarios/NAME.yaml",
    "matrix": "scenarios/matrix.yaml",
    "checks": "NAME.checks.yaml",
    "workload": "workloads/NAME.yaml",
}
_NEXT: Final = {
    "scenario": "Edit it, then: benchcore plan --scenario {path}; benchcore run --scenario {path}",
    "matrix": "Edit it, then: benchcore plan --matrix {path}; benchcore run-matrix --matrix {path}",
    "checks": "Edit it, then: benchcore check --cases-file {path}",
    "workload": "Edit it, then: benchcore climb --workload {path} --dry-run",
}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


@click.command()
@click.argument("kind", type=click.Choice(list(_WHERE)))
@click.argument("name")
@click.option(
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write this file [default: scenarios/NAME.yaml, scenarios/matrix.yaml, …].",
)
@json_option()
def new(kind: str, name: str, path: Path | None, *, as_json: bool) -> int:
    """Write a commented file to start from; one that is there already stays as it is."""
    if not _NAME.match(name):
        raise click.UsageError(f"{name!r}: a name has lower-case letters, digits, '_' and '-'")
    path = path or Path(_WHERE[kind].replace("NAME", name))
    text = (_TEMPLATES / f"{kind}.yaml").read_text()
    text = text.replace("@SCHEMAS@", SCHEMAS).replace("@NAME@", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: is there already; name another file with --to") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    if as_json:
        show_json({"file": str(path)})
    else:
        click.echo(str(path))
    click.echo(_NEXT[kind].format(path=path), err=True)
    return 0
