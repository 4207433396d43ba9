"""The `benchcore push` command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from benchcore.cli.folders import read_folder
from benchcore.errors import ConfigError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--url",
    envvar="PROM_PUSHGATEWAY_URL",
    help="The Pushgateway. Also PROM_PUSHGATEWAY_URL.",
)
@click.option("--job", default="benchcore", show_default=True, help="First of the grouping key.")
@click.option("--prefix", default="benchcore_", show_default=True, help="Of every name.")
@click.option(
    "--user-env", metavar="NAME", help="Variable that holds the user [PROM_PUSHGATEWAY_USER]."
)
@click.option(
    "--password-env",
    metavar="NAME",
    help="Variable that holds the password [PROM_PUSHGATEWAY_PASSWORD].",
)
@click.option("--ca-file", type=click.Path(dir_okay=False), help="Certificates to trust.")
@click.option("--print", "print_only", is_flag=True, help="Print the metrics and push nothing.")
@click.option("--dry-run", is_flag=True, help="Do all but push.")
@click.option("--allow-simulator", is_flag=True, help="Also a run of the simulator.")
def push(run: Path, **given: Any) -> int:
    """Push the figures of RUN to a Prometheus Pushgateway."""
    from pydantic import SecretStr

    from benchcore.sinks.pushgateway import Pushgateway, shown
    from benchcore.sinks.run_metrics import GROUPING, run_labels, run_metrics

    folder = read_folder(run)
    registry = run_metrics(
        folder.run, folder.json("functional.json"), folder.json("accuracy.json"), given["prefix"]
    )
    if given["print_only"]:
        click.echo(shown(registry), nl=False)
        return 0
    if (folder.run.get("target") or {}).get("kind") == "simulator" and not given["allow_simulator"]:
        raise ConfigError(
            f"{folder.path}: is of the simulator; --allow-simulator pushes it all the same"
        )
    if not given["url"]:
        raise click.UsageError("--url names the Pushgateway; PROM_PUSHGATEWAY_URL does too")
    labels = run_labels(folder.run)
    gateway = Pushgateway(
        given["url"],
        job=given["job"],
        user=os.environ.get(given["user_env"] or "PROM_PUSHGATEWAY_USER", ""),
        password=SecretStr(
            os.environ.get(given["password_env"] or "PROM_PUSHGATEWAY_PASSWORD", "")
        ),
        ca_file=given["ca_file"],
    )
    if given["dry_run"]:
        click.echo(f"would push {folder.path} to {gateway.url}")
        return 0
    gateway.push(registry, {name: labels[name] for name in GROUPING})
    click.echo(f"pushed {folder.path} to {gateway.url}")
    return 0
