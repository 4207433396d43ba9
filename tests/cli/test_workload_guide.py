"""The guide to workloads: every command does on the simulator what the page says, as typed."""

import re
import shlex
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "workloads.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r'(?ms)^```\w+ title="([^"]+)"\n(.*?)^```$', TEXT))
COMMANDS = re.findall(r"(?m)^\$ benchcore (climb --sim .*)$", TEXT)

pytestmark = [pytest.mark.integration]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_guide_runs_as_it_is_typed(benchcore, line):
    for name, content in FILES.items():
        (benchcore.folder / name).write_text(content, encoding="utf-8")
    done = benchcore.measure(*shlex.split(line), "--json", "--quiet", "--idle", "0")
    assert done.returncode == 0, done.stderr
    assert '"failed": 0' in done.stdout


def test_there_is_an_example_of_every_kind():
    from benchcore.workload.kinds import KINDS

    kinds = set(KINDS.points()) - {"synthetic", "jsonl"}  # of the guide to the climb
    shown = {word for line in COMMANDS for word in re.findall(r"--workload \"?(\w+)", line)}
    files = {line.split()[1] for line in re.findall(r"(?m)^kind: .*$", TEXT)}
    assert kinds - shown - files == set()


SHOWN = re.findall(r"(?ms)^```console\n\$ benchcore (workload [^\n]*)\n(.*?)^```$", TEXT)


@pytest.mark.parametrize(("line", "shows"), SHOWN, ids=[line for line, _ in SHOWN])
def test_what_the_guide_shows_of_a_workload_is_what_is_printed(benchcore, line, shows):
    for name, content in FILES.items():
        (benchcore.folder / name).write_text(content, encoding="utf-8")
    done = benchcore.run(*shlex.split(line))
    assert done.stderr == ""
    assert done.returncode == (2 if "cannot be used" in shows else 0)
    assert [text.rstrip() for text in done.stdout.splitlines()] == shows.splitlines()


def test_the_guide_shows_both_commands():
    assert {line.split()[1] for line, _ in SHOWN} == {"validate", "describe"}
