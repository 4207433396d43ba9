"""Written: the reports that lie in a run's folder."""

from __future__ import annotations

from pathlib import Path

from benchcore.report.html.drawing import can_draw
from benchcore.report.html.page import render_page
from benchcore.report.html.plots import plots
from benchcore.report.markdown import render_markdown
from benchcore.report.run_folder import RunFolder
from benchcore.sinks.folder import replace_file


def write_reports(path: Path, *, draw: bool) -> None:
    """Write `report.md` and `report.html`.

    Args:
        path: of a run's folder.
        draw: draw plots, where matplotlib is installed; without them the page says how to get them.

    Raises:
        ConfigError: it holds no run that can be read.
        OSError: they cannot be written.
    """
    folder = RunFolder(path)
    functional, accuracy = folder.json("functional.json"), folder.json("accuracy.json")
    markdown = path / "report.md"
    replace_file(markdown, render_markdown(folder.run, functional, accuracy).encode())
    page = path / "report.html"
    replace_file(page, render_page(folder, plots(folder) if draw and can_draw() else None).encode())
