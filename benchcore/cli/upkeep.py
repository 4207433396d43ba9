"""The `benchcore new`, `doctor`, `prune` and `clean` commands."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from benchcore.base.errors import ConfigError, TargetError
from benchcore.cli.run import OUTPUT
from benchcore.cli.terminal import json_option, show_json
from benchcore.cli.values import Value

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
    """Write a commented file to start from; a file that already exists is not changed."""
    if not _NAME.match(name):
        raise click.UsageError(
            f"{name!r}: a name may contain only lower-case letters, digits, '_' and '-'"
        )
    path = path or Path(_WHERE[kind].replace("NAME", name))
    text = (_TEMPLATES / f"{kind}.yaml").read_text()
    text = text.replace("@SCHEMAS@", SCHEMAS).replace("@NAME@", name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; name another file with --to") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    if as_json:
        show_json({"file": str(path)})
    else:
        click.echo(str(path))
    click.echo(_NEXT[kind].format(path=path), err=True)
    return 0


@click.command()
@click.option("--concurrency", type=click.IntRange(1), help="Plan for this many streams at once.")
@click.option(
    "--tps",
    type=click.FloatRange(0, min_open=True),
    help="Plan for this many tokens per second from each stream.",
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    help="Try for this many seconds how much this machine can read; 0 leaves the trial out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(*, concurrency: int | None, tps: float | None, seconds: float, as_json: bool) -> int:
    """Say how much load this machine can drive and how truly it can measure."""
    from benchcore.cli.driver import run_loop
    from benchcore.scenario.doctor import examine

    if (concurrency is None) != (tps is None):
        raise click.UsageError(
            "--concurrency and --tps belong together: the number of streams, and the pace of each"
        )
    if concurrency is not None and seconds <= 0:
        raise click.UsageError("a planned load is compared with a trial: leave out --seconds 0")
    findings = run_loop(examine(concurrency=concurrency, tps=tps, seconds=seconds))
    if as_json:
        import orjson

        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        report = orjson.dumps([finding.to_json() for finding in findings], option=options)
        sys.stdout.write(report.decode())
        return 0
    for finding in findings:
        mark = "ok  " if finding.ok else "look"
        click.echo(f"{mark} {finding.what:<15} {finding.found}")
        if finding.advice:
            click.echo(f"{'':<21}{finding.advice}")
    return 0


def _age(text: str) -> dt.timedelta:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dhw])\s*", text)
    if match is None:
        raise ConfigError(f"{text!r} is not an age such as 30d, 12h or 8w")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[match[2]]
    try:
        return dt.timedelta(**{unit: float(match[1])})
    except OverflowError:
        raise ConfigError(f"{text!r} goes back further than dates do") from None


AGE = Value("AGE", _age)


@click.command()
@click.option(
    "--keep", type=AGE, required=True, help="Keep runs that are younger than this, such as 30d."
)
@OUTPUT
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option()
def prune(**given: Any) -> int:
    """Remove old runs.

    Baselines, examples and the newest valid run of each scenario and run type are kept.
    """
    from benchcore.scenario.upkeep import lock, old_runs, remove_run_folder

    if not given["output"].is_dir():
        raise ConfigError(
            f"{given['output']}: is not a folder; name the folder of results with --output"
        )
    now = dt.datetime.now(dt.UTC)
    removed: list[str] = []
    kept: list[dict[str, str]] = []
    tell: Any = (lambda _line: None) if given["as_json"] else click.echo
    with lock(given["output"], "benchcore prune"):
        for run in old_runs(given["output"], given["keep"], now):
            if run.kept:
                kept.append({"path": str(run.path), "why": run.kept})
                tell(f"kept {run.path}: {run.kept}")
                continue
            if not given["dry_run"]:
                remove_run_folder(run.path)
            removed.append(str(run.path))
            tell(f"{'would remove' if given['dry_run'] else 'removed'} {run.path}")
    if given["as_json"]:
        show_json({"dry_run": given["dry_run"], "removed": removed, "kept": kept})
    click.echo(f"{len(removed)} {'run' if len(removed) == 1 else 'runs'}", err=True)
    return 0


@click.command()
@click.option(
    "--kubeconfig", type=click.Path(dir_okay=False), help="Reach the cluster by this kubeconfig."
)
@click.option("--context", help="Use this context of the kubeconfig; by default, the current one.")
@click.option("--namespace", help="Look only in this namespace; by default, in all.")
@click.option("--run", "run_id", metavar="ID", help="Remove only what this run left.")
@click.option("--older-than", type=AGE, help="Remove only what is older than this, such as 12h.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option()
def clean(**given: Any) -> int:
    """Remove what runs that were killed have left on a Kubernetes cluster.

    Everything that benchcore creates there carries a label. Give --older-than where other runs may
    still be going on.
    """
    return asyncio.run(_clean(given))


async def _clean(given: dict[str, Any]) -> int:
    from benchcore.servers.kubernetes.removal import find_leftovers, remove_leftovers

    cluster = {"kubeconfig": given["kubeconfig"], "context": given["context"]}
    age: dt.timedelta | None = given["older_than"]
    leftovers = await find_leftovers(
        **cluster,
        namespace=given["namespace"],
        run=given["run_id"],
        older_than_seconds=None if age is None else age.total_seconds(),
    )
    if leftovers.unread:
        many = f" and {len(leftovers.unread) - 1} other kinds" if len(leftovers.unread) > 1 else ""
        hint = "" if given["namespace"] else "; --namespace looks in only one"
        click.echo(f"warning: not looked at: {leftovers.unread[0]}{many}{hint}", err=True)
    ours = [leftover for leftover in leftovers.objects if not leftover.owned]
    if given["as_json"]:
        objects = [{"place": str(leftover.place), "run": leftover.run or None} for leftover in ours]
        show_json({"dry_run": given["dry_run"], "objects": objects, "not_read": leftovers.unread})
    if given["dry_run"]:
        for leftover in () if given["as_json"] else ours:
            click.echo(f"would remove {leftover.place}, of run {leftover.run or 'unknown'}")
        return 0
    tell: Any = (lambda _line: None) if given["as_json"] else click.echo
    left = await remove_leftovers(leftovers.objects, **cluster, tell=tell)
    if left:
        raise TargetError(f"not everything could be removed: {'; '.join(left)}")
    click.echo("nothing of benchcore is left" if not leftovers.unread else "done", err=True)
    return 0
