"""The `benchcore push` and `benchcore import` commands."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError, ResultsError
from benchcore.cli.terminal import json_option, show_json
from benchcore.cli.values import RESULTS, chosen

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from benchcore.publish.pushgateway import Pushgateway
    from benchcore.runs.run import Run


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from-csv",
    "table",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Push another tool's CSV, .json or .jsonl instead of a run; needs --map.",
)
@click.option(
    "--map",
    "map_file",
    metavar="MAP",
    type=click.Path(path_type=Path),
    help="Read from this YAML file which column of --from-csv is which metric.",
)
@click.option(
    "--url",
    envvar="PROM_PUSHGATEWAY_URL",
    help="Push to this gateway. It can also be given in the variable PROM_PUSHGATEWAY_URL.",
)
@click.option(
    "--job",
    default="benchcore",
    show_default=True,
    help="Use this job as the first label of the grouping key.",
)
@click.option(
    "--prefix",
    default="benchcore_",
    show_default=True,
    help="Begin the name of every metric with this.",
)
@click.option(
    "--user-env",
    metavar="NAME",
    help="Read the user from this variable [default: PROM_PUSHGATEWAY_USER].",
)
@click.option(
    "--password-env",
    metavar="NAME",
    help="Read the password from this variable [default: PROM_PUSHGATEWAY_PASSWORD].",
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False),
    help="Trust the certificates in this file instead of the system's.",
)
@click.option("--print", "print_only", is_flag=True, help="Print the metrics and push nothing.")
@click.option("--dry-run", is_flag=True, help="Do everything except push.")
@click.option("--allow-simulator", is_flag=True, help="Push even a run of the simulator.")
@json_option()
@RESULTS
def push(run: Path | None, table: Path | None, map_file: Path | None, **given: Any) -> int:
    """Push the figures of a run, or of another tool's file, to a Prometheus Pushgateway.

    Without RUN, the newest run is pushed.
    """
    if run is not None and table is not None:
        raise click.UsageError("give RUN, or --from-csv FILE and --map MAP instead of it")
    if table is None:
        if map_file is not None:
            raise click.UsageError("--map needs --from-csv")
        return _push_run(run, given)
    if map_file is None:
        raise click.UsageError("--from-csv needs --map MAP, which says what its columns are")
    return _push_table(table, map_file, given)


def _push_run(run: Path | None, given: dict[str, Any]) -> int:
    from benchcore.publish.pushgateway import RunPush

    folder = chosen(run, given["results"])
    metrics = RunPush.of(folder, given["prefix"])
    if given["print_only"]:
        return _print(metrics.registry)
    _refuse_simulator(folder.path, given, simulated=folder.run.simulated)
    gateway = _gateway(given)
    if not given["dry_run"]:
        metrics.send(gateway)
    return _told(given, metrics.series, folder.path, gateway, metrics.grouping)


def _told(
    given: dict[str, Any],
    series: int,
    source: Path,
    gateway: Pushgateway,
    grouping: dict[str, str],
) -> int:
    """Say what was pushed, or would be."""
    key = {"job": gateway.job, **{name: value for name, value in grouping.items() if value}}
    if given["as_json"]:
        facts = {"series": series, "source": str(source), "url": gateway.url, "grouping": key}
        show_json(facts | {"pushed": not given["dry_run"]})
        return 0
    shown = ", ".join(f'{name}="{value}"' for name, value in key.items())
    what = f"{series} series of {source} to {gateway.url} under {{{shown}}}"
    click.echo(f"would push {what}" if given["dry_run"] else f"pushed {what}")
    return 0


def _push_table(table: Path, map_file: Path, given: dict[str, Any]) -> int:
    from benchcore.config.document import read_model
    from benchcore.config.metric_map import MetricMap
    from benchcore.publish.mapped_metrics import mapped_metrics, read_rows

    metric_map = read_model(map_file, MetricMap)
    rows = read_rows(table)
    metrics = mapped_metrics(metric_map, rows, table, given["prefix"])
    if given["print_only"]:
        return _print(metrics.registry)
    # A summary.csv of ours says of itself what was measured.
    simulated = any(row.cells.get("target_kind") == "simulator" for row in rows)
    _refuse_simulator(table, given, simulated=simulated)
    gateway = _gateway(given)
    if not given["dry_run"]:
        gateway.push(metrics.registry, metrics.grouping)
    return _told(given, metrics.series, table, gateway, metrics.grouping)


def _print(registry: CollectorRegistry) -> int:
    from benchcore.publish.pushgateway import shown

    click.echo(shown(registry), nl=False)
    return 0


def _refuse_simulator(path: Path, given: dict[str, Any], *, simulated: bool) -> None:
    if simulated and not given["allow_simulator"]:
        raise ConfigError(
            f"{path}: comes from the simulator; --allow-simulator pushes it all the same"
        )


def _gateway(given: dict[str, Any]) -> Pushgateway:
    from benchcore.publish.pushgateway import PASSWORD, USER, Pushgateway

    if not given["url"]:
        raise click.UsageError("no Pushgateway is named; give --url, or set PROM_PUSHGATEWAY_URL")
    return Pushgateway.of_environment(
        os.environ,
        given["url"],
        job=given["job"],
        user_env=given["user_env"] or USER,
        password_env=given["password_env"] or PASSWORD,
        ca_file=given["ca_file"],
    )


_FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["vllm", "sglang", "guidellm", "aiperf", "evalscope"]),
    default=None,
    help="Read the files as results of this tool [default: found out from what they hold].",
)
@click.option(
    "--output",
    metavar="DIR",
    default="results",
    show_default=True,
    type=Path,
    help="Write the folder of the run into this folder.",
)
@click.option(
    "--name",
    default=None,
    help="Give the run and its folder this name [default: import and the tool].",
)
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
def import_results(
    files: tuple[Path, ...], kind: str | None, output: Path, name: str | None, *, as_json: bool
) -> int:
    """Import results of vllm bench serve, SGLang, GuideLLM, AIPerf or EvalScope as a run.

    Several files become the levels of one run: they must be of one tool, target and model.
    """
    from benchcore.base.files import make_folder, replace_file
    from benchcore.foreign.detect import combine, read_foreign, results_in
    from benchcore.runs.run_json import dump

    paths = [path for named in files for path in results_in(named)]
    run = combine([(str(path), read_foreign(path, kind)) for path in paths])
    tool = "" if run.origin is None else run.origin.tool or ""
    assert run.started_at is not None
    started = dt.datetime.fromisoformat(run.started_at)
    stamp = started.strftime("%Y%m%dT%H%M%SZ")
    folder = make_folder(output, stamp, name or f"import-{tool.split()[0]}")
    run.run_id, run.name = folder.name, folder.name.partition("-")[2]
    data = dump(run.to_json())
    try:
        replace_file(folder / "run.json", data)
    except OSError as error:
        raise ResultsError(f"{folder}/run.json: {error.strerror}; free some disk space") from None
    if as_json:
        sys.stdout.write(data.decode())
    else:
        sys.stdout.write(_shown(run, tool, folder))
    return 0


def _shown(run: Run, tool: str, folder: Path) -> str:
    """Return a line per level, and where the run lies."""

    def number(value: float | None, scale: float = 1.0) -> str:
        return "-" if value is None else f"{value * scale:,.1f}"

    head = ("level", "ok", "failed", "req/s", "out tok/s", "TTFT p50 ms", "TTFT p99 ms")
    rows = [
        (
            level.level,
            *("-" if count is None else str(count) for count in (level.ok, level.failed)),
            number(level.request_throughput),
            number(level.output_token_throughput),
            number(level.figure("ttft.p50"), 1000),
            number(level.figure("ttft.p99"), 1000),
        )
        for level in run.levels
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, *rows)
    ]
    lines.append(f"figures as {tool} defines them: definitions in {folder}/run.json")
    return "\n".join(lines) + "\n"
