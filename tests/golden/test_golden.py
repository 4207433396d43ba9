"""Run folders of an earlier version are read as they were read then."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchcore.cli.reports import report

HERE = Path(__file__).parent
FOLDERS = sorted(path.parent for path in HERE.glob("runs/**/run.json"))
FORMATS = {"txt": [], "md": ["--format", "markdown"], "json": ["--json"]}


def shown(folder, suffix):
    done = CliRunner(env={"COLUMNS": "100"}).invoke(report, [str(folder), *FORMATS[suffix]])
    assert done.exit_code == 0, done.output
    return done.output.replace(f"{HERE}/", "")


def name_of(folder):
    return "-".join(folder.relative_to(HERE / "runs").parts)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_is_reported_as_it_was(folder, suffix):
    assert shown(folder, suffix) == (HERE / "expected" / f"{name_of(folder)}.{suffix}").read_text()
