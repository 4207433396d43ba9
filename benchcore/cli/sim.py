"""The `benchcore sim` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError, ResultsError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from benchcore.sim.options import SimOptions

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Listen on this port; 0 picks a free one.",
)
@click.option("--uds", type=click.Path(path_type=Path), help="Listen on this Unix socket instead.")
@click.option(
    "--profile",
    default="default",
    show_default=True,
    help="Behave as this profile: default, fast, slow or knee.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a field of the profile; repeatable. --list-fields names them.",
)
@click.option("--list-fields", is_flag=True, help="Print the profile's fields and serve nothing.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT[@PROBABILITY]",
    help="Strike requests at random, such as error_event:5@0.1; repeatable.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Draw answers, jitter and random faults from this seed.",
)
@click.option(
    "--truth", type=click.Path(path_type=Path), help="Log the true send times to this file."
)
@click.option(
    "--api-key",
    envvar="BENCHCORE_SIM_API_KEY",
    help="Require this bearer key in every request (a made-up one; this server is a toy).",
)
@click.option(
    "--expired-key",
    envvar="BENCHCORE_SIM_EXPIRED_KEY",
    help="Refuse this bearer key as expired (also a made-up one); needs --api-key.",
)
@click.option(
    "--max-body-bytes",
    type=click.IntRange(1),
    default=64 * 1024 * 1024,
    show_default=True,
    help="Refuse a request with a larger body with a 413.",
)
@click.option(
    "--max-waiting",
    type=click.IntRange(1),
    default=None,
    help="Let this many requests wait beside those that run; one more gets a 429 "
    "[default: no limit].",
)
@click.option(
    "--break",
    "breaks",
    multiple=True,
    metavar="CHECK_ID",
    help="Be wrong in the way that this functional check catches; repeatable. "
    "`benchcore check --list` names them.",
)
@click.option("--certfile", type=_FILE, help="Serve TLS with this certificate; needs --keyfile.")
@click.option("--keyfile", type=_FILE, help="Read the key of the certificate from this file.")
@click.option(
    "--csv",
    "csv_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write a summary.csv as of a load test of the profile to this file, and end "
    "without serving anything; `-` or no file is standard output.",
)
@click.option(
    "--csv-levels",
    default="c1,c4,c16,c32,c48,c64,r4,r16",
    show_default=True,
    metavar="LIST",
    help="Write these levels with --csv: c64 for 64 users, r4 for 4 requests per second.",
)
@click.option(
    "--csv-repeats",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Write each level of --csv this many times.",
)
def sim(
    profile: str,
    settings: tuple[str, ...],
    *,
    list_fields: bool,
    port: int,
    csv_file: str | None,
    csv_levels: str,
    csv_repeats: int,
    **given: Any,
) -> None:
    """Serve a simulated OpenAI-compatible server."""
    from benchcore.sim.app import serve
    from benchcore.sim.options import SimProfile

    if list_fields:
        for name, field in SimProfile.model_fields.items():
            click.echo(f"{name:<28} {field.default!s:<18} {field.description}")
        return
    options = _options(profile, settings, port=port, **given)
    if csv_file is not None:
        _write_csv(csv_file, csv_levels, csv_repeats, options)
        return

    def ready(base_url: str) -> None:
        if options.uds is not None:
            click.echo(f"simulating {options.profile.model} on the Unix socket {options.uds}")
            return
        click.echo(f"simulating {options.profile.model} at {base_url}")
        click.echo(f"aim at it: benchcore climb --base-url {base_url} --concurrency 1,8,64")

    try:
        ended_by = serve(options, ready)
    except OSError as error:
        place = error.filename or options.uds or f"{options.host}:{options.port}"
        raise click.UsageError(f"cannot serve: {place}: {error.strerror or error}") from None
    if ended_by is not None:
        sys.exit(128 + ended_by)


def _write_csv(file: str, levels: str, repeats: int, options: SimOptions) -> None:
    from benchcore.base.files import replace_file
    from benchcore.scenario.sample_csv import parse_levels, sample_csv

    try:
        asked = parse_levels(levels)
    except ConfigError as error:
        raise click.UsageError(f"--csv-levels: {error}") from None
    data = sample_csv(options.profile, asked, repeats, options.seed)
    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        replace_file(Path(file), data)
    except OSError as error:
        raise ResultsError(f"--csv {file}: {error.strerror}; name another file") from None
    click.echo(
        f"wrote {len(asked) * repeats} levels of the simulator {options.profile.model} to {file}",
        err=True,
    )


def _options(profile: str, settings: tuple[str, ...], **given: Any) -> SimOptions:
    from pydantic import ValidationError

    from benchcore.sim.options import SimOptions, SimProfile

    overrides: dict[str, object] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: write FIELD=VALUE")
        overrides[name] = value
    try:
        figures = SimProfile.named(profile, **overrides)
    except ValidationError as error:
        raise click.UsageError("--set " + ": ".join(filter(None, _fault(error)))) from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        return SimOptions.model_validate({"profile": figures, **given})
    except ValidationError as error:
        raise click.UsageError(_one_line(error)) from None


def _fault(error: ValidationError) -> tuple[str, str]:
    """The field that the first fault is about, and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return place, first["msg"].removeprefix("Value error, ")


def _one_line(error: ValidationError) -> str:
    place, message = _fault(error)
    option = {"faults": "--fault", "breaks": "--break"}.get(place, f"--{place.replace('_', '-')}")
    return f"{option}: {message}" if place else message
