"""The `benchcore compare` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.folders import read_folder
from benchcore.errors import ConfigError
from benchcore.sinks.folder import replace_file

if TYPE_CHECKING:
    from benchcore.report.run_folder import RunFolder


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--anyway", is_flag=True, help="Compare runs that were asked different things, too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown", "html"]),
    default="table",
    show_default=True,
    help="Show it in this form.",
)
@click.option(
    "--output",
    default="comparison.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write html to this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as --format json.")
def compare(runs: tuple[Path, ...], **given: Any) -> int:
    """Compare runs with the first of them: level by level, figure by figure.

    Evals are compared question by question, on those that both answered.
    """
    if len(runs) < 2:
        raise click.UsageError("name two runs or more")
    folders = [read_folder(path) for path in runs]
    form = "json" if given["as_json"] else given["form"]
    evals = [(one.json("accuracy.json") or {}).get("score") is not None for one in folders]
    if all(evals) and not any(one.levels for one in folders):
        if form in ("html", "markdown"):
            raise click.UsageError("evals are compared as text or JSON")
        return _evals(folders, form)
    empty = [one.name for one in folders if not one.levels]
    if empty:
        raise ConfigError(
            f"{empty[0]}: holds no levels; climbs compare with climbs, evals with evals"
        )
    return _climbs(folders, form, given["output"], anyway=given["anyway"])


def _climbs(folders: list[RunFolder], form: str, output: Path, *, anyway: bool) -> int:
    from benchcore.report.comparison_lines import comparison_json, render_comparison
    from benchcore.report.differences import forbidding
    from benchcore.sinks.run_json import dump

    first, *others = folders
    notes = []
    for other in others:
        different = forbidding(first.run, other.run)
        if different and not anyway:
            raise ConfigError(
                f"{first.name} and {other.name} were asked different things: {different[0]}; "
                "--anyway compares all the same"
            )
        notes += [f"{other.name}: {one}" for one in different]
    if form == "json":
        sys.stdout.write(dump(comparison_json(first, others, notes)).decode())
    elif form == "html":
        from benchcore.report.html.comparison_page import comparison_page

        try:
            replace_file(output, comparison_page(first, others, notes).encode())
        except OSError as error:
            raise ConfigError(f"--output {output}: cannot be written ({error.strerror})") from None
        click.echo(str(output))
    else:
        sys.stdout.write(render_comparison(first, others, notes, markdown=form == "markdown"))
    return 0


def _asked_differently(first: RunFolder, other: RunFolder) -> list[str]:
    """Return in which settings two evals differ that may change a score."""
    one, two = (folder.json("accuracy.json") or {} for folder in (first, other))
    ignored = ("concurrency", "rate", "retries", "min_score", "keep_text")
    before, after = one.get("config") or {}, two.get("config") or {}
    found = [("model", (one["target"] or {}).get("model"), (two["target"] or {}).get("model"))]
    found += [(name, before.get(name), after.get(name)) for name in before if name not in ignored]
    return [
        f"{name} is {left!r} in one and {right!r} in the other"
        for name, left, right in found
        if left != right
    ]


def _evals(folders: list[RunFolder], form: str) -> int:
    from benchcore.metrics.accuracy import by_question
    from benchcore.metrics.scores import paired_difference
    from benchcore.report.accuracy import render_difference
    from benchcore.sinks.accuracy import read_accuracy, read_samples
    from benchcore.sinks.run_json import dump

    first, *others = folders
    task = read_accuracy(first.path)["task"]
    found = []
    for other in others:
        its = read_accuracy(other.path)["task"]
        if its != task:
            raise ConfigError(
                f"{first.path} is of {task} and {other.path} of {its}: two tasks do not compare"
            )
        difference = paired_difference(
            by_question(read_samples(first.path)), by_question(read_samples(other.path))
        )
        found.append(None if difference is None else difference.to_json())
        if form != "json":
            sys.stdout.write(render_difference((first.name, other.name), difference))
            for line in _asked_differently(first, other):
                click.echo(line)
    if form == "json":
        facts = {
            "first": str(first.path),
            "others": [
                {"run": str(other.path), "paired": one}
                for other, one in zip(others, found, strict=True)
            ],
        }
        sys.stdout.write(dump(facts).decode())
    return 0
