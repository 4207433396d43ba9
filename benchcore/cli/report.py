"""The `benchcore report` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchcore.cli.folders import RESULTS, read_folder
from benchcore.cli.output import colored, json_option
from benchcore.errors import ConfigError
from benchcore.sinks.folder import replace_file

if TYPE_CHECKING:
    from benchcore.metrics.accuracy import AccuracyReport
    from benchcore.report.run_folder import RunFolder


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "markdown", "html", "vllm"]),
    default="table",
    show_default=True,
    help="Show it in this form; vllm is the JSON of vllm bench serve.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write html to this file [default: report.html in the run's folder].",
)
@click.option(
    "--plots",
    "plots_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each plot as SVG and PNG into this folder.",
)
@click.option(
    "--gpus",
    type=click.IntRange(1),
    default=None,
    help="Reckon throughput per GPU with so many of them.",
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
    *,
    as_json: bool,
) -> int:
    """Show runs that are over; the newest one where none is named."""
    from benchcore.report.run_folder import newest
    from benchcore.sinks.run_json import dump

    folders = [read_folder(path) for path in runs or (newest(results),)]
    if (output is not None or plots_folder is not None) and len(folders) > 1:
        raise click.UsageError("--output and --plots are of one run")
    if plots_folder is not None:
        _plots(folders[0], plots_folder, gpus)
    if form == "html":
        for folder in folders:
            _page(folder, output or folder.path / "report.html", gpus)
        return 0
    if form == "vllm":
        return _vllm(folders)
    if form == "json" or as_json:
        found: list[Any] = [folder.run for folder in folders]
        sys.stdout.write(dump(found[0] if len(found) == 1 else found).decode())
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
    page = _eval_page(folder)
    if page is None:
        from benchcore.report.html.drawing import can_draw
        from benchcore.report.html.page import render_page
        from benchcore.report.html.plots import plots

        page = render_page(folder, plots(folder, gpus) if can_draw() else None)
    try:
        replace_file(path, page.encode())
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror})") from None
    click.echo(str(path))


def _eval_page(folder: RunFolder) -> str | None:
    """Return the page of an eval with its samples; `None`: the folder is of something else."""
    from benchcore.report.html.eval_page import accuracy_page

    found = _accuracy(folder)
    if folder.levels or found is None:
        return None
    return accuracy_page(found, show_text=False)


def _accuracy(folder: RunFolder) -> AccuracyReport | None:
    from benchcore.metrics.accuracy import AccuracyReport
    from benchcore.sinks.accuracy import read_samples

    accuracy = folder.json("accuracy.json")
    if accuracy is None or "score" not in accuracy:
        return None
    return AccuracyReport.from_json(accuracy, read_samples(folder.path))


def _plots(folder: RunFolder, into: Path, gpus: int | None) -> None:
    from benchcore.report.html.plots import plots

    try:
        into.mkdir(parents=True, exist_ok=True)
        for plot in plots(folder, gpus):
            for kind in ("svg", "png"):
                replace_file(into / f"{plot.name}.{kind}", plot.data(kind))
    except OSError as error:
        raise ConfigError(f"--plots {into}: cannot be written ({error.strerror})") from None


def _vllm(folders: list[RunFolder]) -> int:
    from benchcore.report.foreign.vllm_keys import vllm_result
    from benchcore.sinks.run_json import dump

    found = [vllm_result(folder.run, level) for folder in folders for level in folder.levels]
    if not found:
        raise ConfigError(f"{folders[0].path}: holds no levels")
    sys.stdout.write(dump(found[0] if len(found) == 1 else found).decode())
    return 0


def _markdown(folder: RunFolder) -> str:
    from benchcore.report.markdown import render_markdown

    return render_markdown(folder.run, folder.json("functional.json"), folder.json("accuracy.json"))


def _text(folder: RunFolder) -> str:
    try:
        return _rendered(folder)
    except ValueError as error:
        raise ConfigError(f"{folder.path}: {error}; is it of an older benchcore?") from None


def _rendered(folder: RunFolder) -> str:
    from benchcore.report.accuracy import render_accuracy
    from benchcore.report.functional import render_functional
    from benchcore.report.table import render

    color = colored()
    parts = []
    if folder.levels:
        parts.append(render(folder.run, color=color))
    checks = folder.json("functional.json")
    if checks is not None:
        from benchcore.metrics.functional import FunctionalReport

        parts.append(render_functional(FunctionalReport.from_json(checks), color=color))
    found = _accuracy(folder)
    if found is not None:
        parts.append(render_accuracy(found, color=color))
    if not parts:
        raise ConfigError(f"{folder.path}: nothing was measured")
    return "\n".join(parts)
