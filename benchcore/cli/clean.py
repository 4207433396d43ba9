"""The `benchcore clean` command."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import click

from benchcore.cli.output import json_option, show_json
from benchcore.cli.prune import AGE
from benchcore.errors import TargetError


@click.command()
@click.option(
    "--kubeconfig", type=click.Path(dir_okay=False), help="Reach the cluster by this kubeconfig."
)
@click.option("--context", help="Use this context of the kubeconfig; without it, the current one.")
@click.option("--namespace", help="Look only into this namespace; without it, into all.")
@click.option("--run", "run_id", metavar="ID", help="Remove only what this run left.")
@click.option("--older-than", type=AGE, help="Remove only what is older, such as 12h.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option()
def clean(**given: Any) -> int:
    """Remove what runs that were killed have left on a Kubernetes cluster.

    Everything that benchcore puts there carries a label. Give --older-than where other runs may be
    under way.
    """
    return asyncio.run(_clean(given))


async def _clean(given: dict[str, Any]) -> int:
    from benchcore.launch.leftovers import find_leftovers, remove_leftovers

    cluster = {"kubeconfig": given["kubeconfig"], "context": given["context"]}
    age: dt.timedelta | None = given["older_than"]
    found = await find_leftovers(
        **cluster,
        namespace=given["namespace"],
        run=given["run_id"],
        older_than_seconds=None if age is None else age.total_seconds(),
    )
    if found.unread:
        many = f" and {len(found.unread) - 1} other kinds" if len(found.unread) > 1 else ""
        hint = "" if given["namespace"] else "; --namespace looks into one alone"
        click.echo(f"warning: not looked at: {found.unread[0]}{many}{hint}", err=True)
    ours = [one for one in found.objects if not one.owned]
    if given["as_json"]:
        objects = [{"place": str(one.place), "run": one.run or None} for one in ours]
        show_json({"dry_run": given["dry_run"], "objects": objects, "not_read": found.unread})
    if given["dry_run"]:
        for one in () if given["as_json"] else ours:
            click.echo(f"would remove {one.place}, of run {one.run or 'unknown'}")
        return 0
    tell: Any = (lambda _line: None) if given["as_json"] else click.echo
    left = await remove_leftovers(found.objects, **cluster, tell=tell)
    if left:
        raise TargetError(f"not everything could be removed: {'; '.join(left)}")
    click.echo("nothing of benchcore is left" if not found.unread else "done", err=True)
    return 0
