"""What somebody types first: nothing, a command misspelt, --dry-run, --quiet, --json."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchcore.base.errors import ConfigError
from benchcore.cli.main import COMMANDS, cli, run
from benchcore.config.limits import Slo

BENCHCORE = Path(sys.executable).parent / "benchcore"


def test_without_a_command_the_help_is_shown_and_nothing_is_wrong(capsys):
    assert run([]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("Usage: ")
    assert [line.split()[0] for line in told.out.splitlines()[-len(COMMANDS) :]] == list(COMMANDS)
    assert told.err == ""
    assert run(["baseline"]) == 0


@pytest.mark.parametrize(
    ("typed", "meant"), [("clmb", "climb"), ("reprot", "report"), ("histroy", "history")]
)
def test_a_command_misspelt_gets_the_near_one(typed, meant, capsys):
    assert run([typed]) == 2
    assert capsys.readouterr().err == (
        f"benchcore: No such command '{typed}'; did you mean {meant}? (see benchcore --help)\n"
    )


def test_a_command_that_is_like_none_gets_no_guess(capsys):
    assert run(["xyzzy"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert "_BENCHCORE_COMPLETE" in done.stdout
    assert done.stdout.startswith("# write this into ")


def test_bash_completes_a_command_and_an_option():
    script = subprocess.run(
        [
            "bash",
            "-c",
            "COMP_WORDS='x cli' COMP_CWORD=1 $0; COMP_WORDS='x climb --conc' COMP_CWORD=2 $0",
            str(BENCHCORE),
        ],
        env={**os.environ, "_BENCHCORE_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert script.stdout.splitlines() == ["plain,climb", "plain,--concurrency"]


@pytest.mark.parametrize("limit", ["500", "0.5", " 2 "])
def test_a_limit_without_a_unit_is_asked_which_it_is(limit):
    with pytest.raises(ConfigError) as told:
        Slo.parse(f"ttft:{limit}")
    number = limit.strip()
    assert str(told.value) == (
        f"SLO 'ttft:{limit}' needs a unit: ttft:{number}ms or ttft:{number}s"
    )


def test_a_dry_run_says_how_long_each_level_and_all_of_them_take(capsys):
    args = ["climb", "--base-url", "http://127.0.0.1:9", "--dry-run", "--duration", "30s"]
    args += ["--drain", "10s", "--warmup", "5s", "--concurrency", "1,8", "--repeats", "2"]
    assert run([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "base_url": "http://127.0.0.1:9",
        "levels": [
            {"level": name, "repeat": repeat, "at_most_seconds": 45.0}
            for repeat in (1, 2)
            for name in ("c1", "c8")
        ],
        "at_most_seconds": 180.0,
    }
    assert run(args) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "  c1           window of 30 s: at most 45 s with its drain"
    assert lines[3] == "  c1 #2        window of 30 s: at most 45 s with its drain"
    assert lines[5] == (
        "in all at most 3 min; before each level up to 60 s until the server is idle; a fast "
        "server takes less"
    )
    assert run(["climb", "--dry-run", "--requests", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["at_most_seconds"] is None


def test_quiet_still_says_where_the_results_are(tmp_path, simulator, benchcore):
    done = benchcore.measure(
        *("climb", "--base-url", simulator.base_url, "--quiet", "--idle", "0s"),
        *("--concurrency", "1", "--requests", "3", "--input-tokens", "16", "--output-tokens", "4"),
    )
    assert done.returncode == 0
    (folder,) = (tmp_path / "results").iterdir()
    assert done.stderr == f"results are in results/{folder.name}\n"


def prints_json(command):
    return any(option.name == "as_json" for option in command.params)


def test_every_command_with_a_result_prints_it_as_json():
    """What serves, a completion script and a message that a server is down are none."""
    without = {name for name in COMMANDS if not _json(name)}
    assert without == {"sim", "serve", "completion", "undeploy"}


def _json(name):
    command = cli.get_command(None, name)
    inner = getattr(command, "commands", {})
    return all(map(prints_json, inner.values())) if inner else prints_json(command)


def test_gate_and_push_take_the_newest_run(tmp_path, capsys, monkeypatch):
    for night in (1, 2):
        shutil.copytree("results/examples/simulator", tmp_path / f"2026010{night}T000000Z-climb")
    results = ["--results", str(tmp_path), "--allow-simulator"]
    assert run(["gate", *results, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == str(tmp_path / "20260102T000000Z-climb")
    assert found["baseline"] == str(tmp_path / "20260101T000000Z-climb")
    push = ["push", *results, "--url", "http://127.0.0.1:9", "--dry-run", "--json"]
    assert run(push) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == str(tmp_path / "20260102T000000Z-climb")
    assert found["pushed"] is False
    assert found["series"] > 0


@pytest.mark.parametrize("kind", ["scenario", "matrix", "checks", "workload"])
def test_a_new_file_says_what_can_be_done_with_it(kind, tmp_path, capsys):
    path = tmp_path / "a.yaml"
    assert run(["new", kind, "mine", "--to", str(path), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"file": str(path)}
    assert told.err.startswith("Edit it, then: benchcore ")
    assert str(path) in told.err


def options():
    for name in COMMANDS:
        command = cli.get_command(None, name)
        for one in (command, *getattr(command, "commands", {}).values()):
            for option in one.params:
                if isinstance(option, click.Option) and not option.hidden:
                    yield pytest.param(option, id=f"{name} {option.opts[0]}")


@pytest.mark.parametrize("option", list(options()))
def test_the_help_of_an_option_is_a_whole_sentence(option):
    assert re.match(r"[A-Z][a-z]+ ", option.help), option.help
    assert re.search(r"(\.|\])$", option.help), option.help


def test_the_help_of_climb_has_sections_and_two_examples(capsys):
    assert run(["climb", "--help"]) == 0
    text = capsys.readouterr().out
    heads = re.findall(r"^(\w+):$", text, re.MULTILINE)
    assert heads == [
        *("Target", "Load", "Workload", "Limits", "Output", "Advanced", "Options", "Examples")
    ]
    examples = text.partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 2
    for line in examples:
        assert run([*line.split()[1:], "--dry-run"]) == 0


def test_no_line_of_the_help_of_climb_is_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["climb", "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
