"""The `benchcore import` command."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import click

from benchcore.errors import ResultsError

_FILE = click.Path(path_type=Path)


@click.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["vllm", "sglang", "guidellm", "aiperf", "evalscope"]),
    default=None,
    help="Read them as this tool's results [default: found out from what they hold].",
)
@click.option(
    "--output",
    metavar="DIR",
    default="results",
    show_default=True,
    type=Path,
    help="Write the folder of the run into this one.",
)
@click.option(
    "--name", default=None, help="Call the run folder this [default: import and the tool]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
def import_results(
    files: tuple[Path, ...], kind: str | None, output: Path, name: str | None, *, as_json: bool
) -> int:
    """Read results of vllm bench serve, SGLang, GuideLLM, AIPerf or EvalScope in as a run.

    Several files become the levels of one run: they must be of one tool, target and model.
    """
    from benchcore.report.foreign.detect import combine, read_foreign, results_in
    from benchcore.sinks.folder import make_folder, replace_file
    from benchcore.sinks.run_json import dump

    paths = [path for named in files for path in results_in(named)]
    run = combine([(str(path), read_foreign(path, kind)) for path in paths])
    started = dt.datetime.fromisoformat(run["started_at"])
    folder = make_folder(
        output,
        started.strftime("%Y%m%dT%H%M%SZ"),
        name or f"import-{run['origin']['tool'].split()[0]}",
    )
    run = {**run, "run_id": folder.name, "name": folder.name.partition("-")[2]}
    data = dump(run)
    try:
        replace_file(folder / "run.json", data)
    except OSError as error:
        raise ResultsError(f"{folder}/run.json: {error.strerror}; free the disk") from None
    if as_json:
        sys.stdout.write(data.decode())
    else:
        sys.stdout.write(_shown(run, folder))
    return 0


def _shown(run: dict[str, Any], folder: Path) -> str:
    """Return a line per level, and where the run lies."""

    def number(value: float | None, scale: float = 1.0) -> str:
        return "-" if value is None else f"{value * scale:,.1f}"

    head = ("level", "ok", "failed", "req/s", "out tok/s", "TTFT p50 ms", "TTFT p99 ms")
    rows = []
    for level in run["levels"]:
        ttft = level["metrics"].get("ttft", {})
        cells = (
            number(level["request_throughput"]),
            number(level["output_token_throughput"]),
            number(ttft.get("p50"), 1000),
            number(ttft.get("p99"), 1000),
        )
        counts = ("-" if level[name] is None else str(level[name]) for name in ("ok", "failed"))
        rows.append((level["level"], *counts, *cells))
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (head, *rows)
    ]
    lines.append(
        f"figures as {run['origin']['tool']} defines them: definitions in {folder}/run.json"
    )
    return "\n".join(lines) + "\n"
