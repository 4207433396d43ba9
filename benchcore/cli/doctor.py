"""The `benchcore doctor` command."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--concurrency", type=click.IntRange(1), help="Plan for so many streams at once.")
@click.option(
    "--tps",
    type=click.FloatRange(0, min_open=True),
    help="Plan for so many tokens per second of each stream.",
)
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    help="Try for so many seconds what this machine can read; 0 tries nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(*, concurrency: int | None, tps: float | None, seconds: float, as_json: bool) -> int:
    """Tell what this machine can drive and how truly it can measure."""
    from benchcore.cli.loop import run_loop
    from benchcore.pipeline.doctor import examine

    if (concurrency is None) != (tps is None):
        raise click.UsageError("--concurrency and --tps go together: streams, and the pace of each")
    if concurrency is not None and seconds <= 0:
        raise click.UsageError("a planned load is held against a trial: leave --seconds 0 out")
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
