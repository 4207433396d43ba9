"""The `benchcore report`, `compare` and `history` commands."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.base.errors import ConfigError
from benchcore.base.files import replace_file
from benchcore.cli.terminal import colored, json_option
from benchcore.cli.values import RESULTS, read_folder

if TYPE_CHECKING:
    from benchcore.runs.reading import RunFolder
    from benchcore.runs.samples import Eval


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--anyway", is_flag=True, help="Compare even runs that were asked different things.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown", "html"]),
    default="table",
    show_default=True,
    help="Show the comparison in this form.",
)
@click.option(
    "--output",
    default="comparison.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the HTML page to this file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as --format json.")
def compare(runs: tuple[Path, ...], **given: Any) -> int:
    """Compare runs with the first of them, level by level and figure by figure.

    Evals are compared question by question, on those that both answered.
    """
    if len(runs) < 2:
        raise click.UsageError("name two runs or more")
    folders = [read_folder(path) for path in runs]
    form = "json" if given["as_json"] else given["form"]
    evals = [folder.eval() for folder in folders]
    scored = [result for result in evals if result is not None and result.mean is not None]
    if len(scored) == len(folders) and not any(folder.levels for folder in folders):
        if form in ("html", "markdown"):
            raise click.UsageError("evals are compared as text or JSON")
        return _evals(folders, scored, form)
    empty = [folder.name for folder in folders if not folder.levels]
    if empty:
        raise ConfigError(
            f"{empty[0]}: holds no levels; climbs compare with climbs, evals with evals"
        )
    return _climbs(folders, form, given["output"], anyway=given["anyway"])


def _climbs(folders: list[RunFolder], form: str, output: Path, *, anyway: bool) -> int:
    from benchcore.judge.baselines import forbidding
    from benchcore.runs.run_json import dump
    from benchcore.show.lines import comparison_json, render_comparison

    first, *others = folders
    notes = []
    for other in others:
        different = forbidding(first.run, other.run)
        if different and not anyway:
            raise ConfigError(
                f"{first.name} and {other.name} were asked different things: {different[0]}; "
                "--anyway compares all the same"
            )
        notes += [f"{other.name}: {difference}" for difference in different]
    if form == "json":
        sys.stdout.write(dump(comparison_json(first, others, notes)).decode())
    elif form == "html":
        from benchcore.show.pages import comparison_page

        try:
            replace_file(output, comparison_page(first, others, notes).encode())
        except OSError as error:
            raise ConfigError(f"--output {output}: cannot be written ({error.strerror})") from None
        click.echo(str(output))
    else:
        sys.stdout.write(render_comparison(first, others, notes, markdown=form == "markdown"))
    return 0


def _asked_differently(first: Eval, other: Eval) -> list[str]:
    """Return in which settings two evals differ that may change a score."""
    ignored = ("concurrency", "rate", "retries", "min_score", "keep_text")
    before, after = first.config, other.config
    settings: list[tuple[str, object, object]] = [("model", first.target.model, other.target.model)]
    settings += [(name, before[name], after.get(name)) for name in before if name not in ignored]
    return [
        f"{name} is {left!r} in one and {right!r} in the other"
        for name, left, right in settings
        if left != right
    ]


def _evals(folders: list[RunFolder], evals: list[Eval], form: str) -> int:
    from benchcore.metrics.accuracy import by_question
    from benchcore.metrics.scores import paired_difference
    from benchcore.runs.run_json import dump
    from benchcore.runs.samples import read_samples
    from benchcore.show.text import render_difference

    first, *others = folders
    its, *theirs = evals
    differences = []
    for other, second in zip(others, theirs, strict=True):
        if second.task != its.task:
            raise ConfigError(
                f"{first.path} is of {its.task} and {other.path} of {second.task}: two "
                "different tasks cannot be compared"
            )
        difference = paired_difference(
            by_question(read_samples(first.path)), by_question(read_samples(other.path))
        )
        differences.append(None if difference is None else difference.to_json())
        if form != "json":
            sys.stdout.write(render_difference((first.name, other.name), difference))
            for line in _asked_differently(its, second):
                click.echo(line)
    if form == "json":
        facts = {
            "first": str(first.path),
            "others": [
                {"run": str(other.path), "paired": difference}
                for other, difference in zip(others, differences, strict=True)
            ],
        }
        sys.stdout.write(dump(facts).decode())
    return 0


@click.command()
@click.argument(
    "results", default="results", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "html"]),
    default="table",
    show_default=True,
    help="Show the history in this form.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the HTML page to this file [default: index.html in the folder].",
)
@json_option("the same as --format json")
def history(results: Path, form: str, output: Path | None, *, as_json: bool) -> int:
    """List the runs in RESULTS, and say where their figures changed by more than chance."""
    from benchcore.base.files import replace_file
    from benchcore.judge.history import listed, read_history
    from benchcore.runs.run_json import dump
    from benchcore.show.lines import render_history

    trends = read_history(results)
    if form == "json" or as_json:
        series = [
            {
                "scenario": trend.scenario,
                "level": trend.level or None,
                "figure": trend.figure,
                "runs": trend.runs,
                "values": trend.values,
                "changes": trend.changes,
            }
            for trend in trends.series()
        ]
        runs = [asdict(listed(folder)) for folder in trends.folders]
        sys.stdout.write(dump({"runs": runs, "series": series, "broken": trends.broken}).decode())
        return 0
    if form == "table":
        sys.stdout.write(render_history(trends))
        return 0
    from benchcore.show.pages import history_page

    path = output or results / "index.html"
    try:
        replace_file(path, history_page(trends).encode())
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror})") from None
    click.echo(str(path))
    return 0


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown", "html", "vllm"]),
    default="table",
    show_default=True,
    help="Show the runs in this form; vllm is the JSON of vllm bench serve.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the HTML page to this file [default: report.html in the run's folder].",
)
@click.option(
    "--plots",
    "plots_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each plot as SVG and PNG into this folder; needs the extra report.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=None,
    help="Compute throughput per GPU for this many GPUs.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Show the page on a port of 127.0.0.1 until interrupted; of a run that goes on it is kept "
    "up to date.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="Let --serve listen on this port [default: a free one].",
)
@json_option("the same as --format json")
@RESULTS
def report(
    runs: tuple[Path, ...],
    form: str,
    output: Path | None,
    plots_folder: Path | None,
    gpus: int | None,
    results: Path,
    port: int,
    *,
    serve: bool,
    as_json: bool,
) -> int:
    """Show runs that are over; by default, the newest one."""
    from benchcore.runs.reading import newest
    from benchcore.runs.run_json import dump

    if serve:
        from benchcore.cli.serve import show_run

        if len(runs) > 1:
            raise click.UsageError("--serve is for a single run")
        return show_run(read_folder(runs[0] if runs else newest(results)).path, port)
    if port:
        raise click.UsageError("--port is where --serve listens: give both")
    folders = [read_folder(path) for path in runs or (newest(results),)]
    if (output is not None or plots_folder is not None) and len(folders) > 1:
        raise click.UsageError("--output and --plots are for a single run")
    if plots_folder is not None:
        _plots(folders[0], plots_folder, gpus)
    if form == "html":
        for folder in folders:
            _page(folder, output or folder.path / "report.html", gpus)
        return 0
    if form == "vllm":
        return _vllm(folders)
    if form == "json" or as_json:
        contents: list[Any] = [folder.run.whole() for folder in folders]
        sys.stdout.write(dump(contents[0] if len(contents) == 1 else contents).decode())
        return 0
    show = _markdown if form == "markdown" else _text
    for place, folder in enumerate(folders):
        if place:
            click.echo()
        if form == "table" and (len(folders) > 1 or not runs):
            click.echo(f"{folder.path}")
        sys.stdout.write(show(folder))
    sys.stdout.flush()
    return 0


def _page(folder: RunFolder, path: Path, gpus: int | None) -> None:
    try:
        from benchcore.show.pages import run_page

        replace_file(path, run_page(folder, gpus).encode())
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror})") from None
    click.echo(str(path))


def _accuracy(folder: RunFolder) -> Eval | None:
    from benchcore.runs.samples import read_samples

    evaluated = folder.eval()
    if evaluated is None or not evaluated.scored:
        return None
    return evaluated.join(read_samples(folder.path))


def _plots(folder: RunFolder, into: Path, gpus: int | None) -> None:
    from benchcore.show.drawing import draw
    from benchcore.show.plots import plots

    try:
        into.mkdir(parents=True, exist_ok=True)
        for plot in plots(folder, gpus):
            for suffix, content in draw(plot).items():
                replace_file(into / f"{plot.name}.{suffix}", content)
    except OSError as error:
        raise ConfigError(f"--plots {into}: cannot be written ({error.strerror})") from None


def _vllm(folders: list[RunFolder]) -> int:
    from benchcore.foreign.vllm import vllm_result
    from benchcore.runs.run_json import dump

    results = [vllm_result(folder.run, level) for folder in folders for level in folder.levels]
    if not results:
        raise ConfigError(f"{folders[0].path}: holds no levels")
    sys.stdout.write(dump(results[0] if len(results) == 1 else results).decode())
    return 0


def _markdown(folder: RunFolder) -> str:
    from benchcore.show.markdown import render_markdown

    return render_markdown(folder.run, folder.checks(), folder.eval())


def _text(folder: RunFolder) -> str:
    try:
        return _rendered(folder)
    except ValueError as error:
        raise ConfigError(
            f"{folder.path}: {error}; was it written by an older benchcore?"
        ) from None


def _rendered(folder: RunFolder) -> str:
    from benchcore.show.table import render
    from benchcore.show.text import render_accuracy, render_functional

    color = colored()
    parts = []
    if folder.levels:
        parts.append(render(folder.run, color=color))
    checks = folder.checks()
    if checks is not None:
        parts.append(render_functional(checks, color=color))
    evaluated = _accuracy(folder)
    if evaluated is not None:
        parts.append(render_accuracy(evaluated, color=color))
    if not parts:
        raise ConfigError(f"{folder.path}: nothing was measured")
    return "\n".join(parts)
