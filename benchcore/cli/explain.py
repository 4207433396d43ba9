"""The `benchcore explain` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError
from benchcore.base.files import replace_file
from benchcore.base.plugins import nearest
from benchcore.cli.terminal import json_option
from benchcore.cli.values import RESULTS, read_folder

if TYPE_CHECKING:
    from benchcore.runs.reading import Requests, RunFolder
    from benchcore.runs.run import Level


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--level", "name", help="Explain this level, such as c64 [default: each].")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Say what has changed since this run, level by level.",
)
@click.option("--request", metavar="ID", help="Show the parts of this one request.")
@click.option(
    "--perfetto",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the requests of the level as a trace for ui.perfetto.dev into this file.",
)
@json_option("the explanation as JSON")
@RESULTS
def explain(
    run: Path | None,
    name: str | None,
    against: Path | None,
    request: str | None,
    perfetto: Path | None,
    results: Path,
    *,
    as_json: bool,
) -> int:
    """Say why the slow requests of RUN are slow; by default, of the newest run.

    The time of each request is taken apart, from when it was due until its last token had been
    read, and the slowest are held against the typical ones.
    """
    from benchcore.runs.reading import newest

    asked = {"--against": against, "--request": request, "--perfetto": perfetto}
    given = [option for option, value in asked.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} are answers of their own: give one of them")
    folder = read_folder(run or newest(results))
    levels = _levels(folder, name)
    if perfetto is not None:
        if name is not None:
            # All repeats are called by the name of the first; a trace has only one of them.
            levels = [level for level in levels if level.name == name] or levels
        _trace(folder, levels, perfetto)
        return 0
    if request is not None:
        return _request(folder, levels, request)
    if against is not None:
        return _against(folder, read_folder(against), levels, as_json=as_json)
    explained = [(level, _explanations(folder, level)) for level in levels]
    if as_json:
        from benchcore.runs.run_json import dump
        from benchcore.show.explanation import to_json

        entries: list[dict[str, Any]] = [
            {
                "level": level.level,
                "repeat": level.repeat,
                "explanations": [
                    {"until": until.value, "requests": None}
                    if explanation is None
                    else to_json(explanation)
                    for until, explanation in explanations
                ],
            }
            for level, explanations in explained
        ]
        sys.stdout.write(dump({"run": str(folder.path), "levels": entries}).decode())
        return 0
    from benchcore.show.explanation import render_explanation

    click.echo(str(folder.path))
    for level, explanations in explained:
        click.echo()
        sys.stdout.write(render_explanation(level, explanations))
    sys.stdout.flush()
    return 0


def _levels(folder: RunFolder, name: str | None) -> list[Level]:
    """Return the levels that are asked for.

    Raises:
        ConfigError: there are none, or none of that name.
    """
    if not folder.levels:
        raise ConfigError(f"{folder.path}: holds no levels; explain takes the run of a climb")
    if name is None:
        return folder.levels
    levels = [level for level in folder.levels if name in (level.level, level.name)]
    if not levels:
        known = [level.level for level in folder.levels]
        raise ConfigError(
            f"--level {name}: {folder.path} has no such level; "
            + nearest(name, known, otherwise=f"it has {', '.join(known)}")
        )
    return levels


def _rows(folder: RunFolder, level: Level) -> Requests:
    """Return the requests of a level.

    Raises:
        ConfigError: the run kept none.
    """
    requests = folder.requests(level.level, level.repeat)
    if requests is None:
        raise ConfigError(
            f"{folder.path}: has no requests of {level.name}; explain reads requests.csv"
        )
    return requests


def _explanations(folder: RunFolder, level: Level) -> list[tuple[Any, Any]]:
    from benchcore.judge.explain import explain as explained
    from benchcore.judge.parts import Until, server_at_departure

    requests = _rows(folder, level)
    server = server_at_departure(folder, level, requests)
    return [(until, explained(requests, until, server)) for until in Until]


def _against(folder: RunFolder, other: RunFolder, levels: list[Level], *, as_json: bool) -> int:
    from benchcore.judge.against import differences
    from benchcore.judge.parts import Until
    from benchcore.runs.run_json import dump
    from benchcore.show.explanation import differences_json, render_differences

    both = [(level, other.requests(level.level, level.repeat)) for level in levels]
    missing = [level.name for level, before in both if before is None]
    if missing:
        raise ConfigError(f"--against {other.path}: has no requests of {missing[0]}")
    found = [
        (
            level,
            [(until, differences(before, _rows(folder, level), until)) for until in Until],
        )
        for level, before in both
        if before is not None
    ]
    if as_json:
        entries = [
            {
                "level": level.level,
                "repeat": level.repeat,
                "differences": [differences_json(change) for _, change in changes],
            }
            for level, changes in found
        ]
        told = {"run": str(folder.path), "against": str(other.path), "levels": entries}
        sys.stdout.write(dump(told).decode())
        return 0
    click.echo(f"{folder.path} against {other.path}")
    for level, changes in found:
        click.echo()
        sys.stdout.write(render_differences(level.name, other.name, changes))
    sys.stdout.flush()
    return 0


def _request(folder: RunFolder, levels: list[Level], wanted: str) -> int:
    from benchcore.judge.parts import parts
    from benchcore.show.explanation import render_request

    for level in levels:
        requests = _rows(folder, level)
        names = requests.text("request_id")
        if wanted not in names:
            continue
        spent = parts(requests)
        row = names.index(wanted)
        places = (spent.rows == row).nonzero()[0]
        if not len(places):
            raise ConfigError(
                f"--request {wanted}: ended {requests.outcome[row]} or was not measured: only "
                "measured requests that ended ok are taken apart"
            )
        title = f"{level.name}, request {wanted}"
        sys.stdout.write(render_request(title, spent, int(places[0])))
        return 0
    raise ConfigError(f"--request {wanted}: {folder.path} has no such request; see requests.csv")


def _trace(folder: RunFolder, levels: list[Level], path: Path) -> None:
    from benchcore.show.perfetto import perfetto_trace

    if len(levels) > 1:
        known = ", ".join(level.name for level in levels)
        raise click.UsageError(f"--perfetto is of one level: name it with --level ({known})")
    level = levels[0]
    try:
        replace_file(path, perfetto_trace(level, _rows(folder, level), folder.timeline(level)))
    except OSError as error:
        raise ConfigError(f"--perfetto {path}: cannot be written ({error.strerror})") from None
    click.echo(str(path))
