"""Written: the reports that lie in a run's folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from benchcore.report.markdown import render_markdown
from benchcore.report.run_folder import RunFolder
from benchcore.sinks.folder import replace_file


def write_reports(path: Path) -> list[Path]:
    """Write `report.md`, and `report.html` where plots can be drawn; returns what was written.

    Args:
        path: of a run's folder.

    Raises:
        ConfigError: it holds no run that can be read.
        OSError: they cannot be written.
    """
    folder = RunFolder(path)
    functional, accuracy = folder.json("functional.json"), folder.json("accuracy.json")
    markdown = path / "report.md"
    replace_file(markdown, render_markdown(folder.run, functional, accuracy).encode())
    if importlib.util.find_spec("matplotlib") is None:
        return [markdown]
    from benchcore.report.html.page import render_page
    from benchcore.report.html.plots import plots

    page = path / "report.html"
    replace_file(page, render_page(folder, plots(folder)).encode())
    return [markdown, page]
