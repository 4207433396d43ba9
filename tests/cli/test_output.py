"""Output that cannot be written, and secrets on their way out."""

import json
import os
import subprocess
import sys

import pytest

from benchcore.base.files import replace_file
from benchcore.base.secrets import hide, hiding, masked_arguments
from benchcore.cli import terminal
from benchcore.cli.main import run
from tests.conftest import bare_environment

EXAMPLE = "results/examples/simulator"
COMMANDS = {
    "report": ["report", EXAMPLE],
    "json": ["report", EXAMPLE, "--format", "json"],
    "compare": ["compare", EXAMPLE, EXAMPLE],
    "history": ["history", "results/examples"],
    "gate": ["gate", EXAMPLE, "--baseline", EXAMPLE, "--allow-simulator"],
    "unknown": ["report", "results/examples/none"],
}
CODES = dict.fromkeys(COMMANDS, 0) | {"unknown": 2}


def benchcore(name, **streams):
    environment = bare_environment(PYTHONIOENCODING=streams.pop("encoding", "utf-8"))
    return subprocess.run(
        [sys.executable, "-m", "benchcore", *COMMANDS[name]],
        **{"stderr": subprocess.PIPE, **streams},
        env=environment,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_what_ascii_lacks_is_replaced(name):
    done = benchcore(name, stdout=subprocess.PIPE, encoding="ascii")
    assert (done.returncode, "internal fault" in done.stderr) == (CODES[name], False)
    assert done.stdout.isascii()
    assert ("?" in done.stdout) == (name in ("gate", "compare", "history"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_closed_output_changes_no_verdict(name):
    done = benchcore(name, preexec_fn=lambda: os.close(1))
    assert done.returncode == CODES[name]
    assert done.stderr.count("\n") == (CODES[name] != 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_reader_that_has_gone_is_no_fault(name):
    reading, writing = os.pipe()
    os.close(reading)
    done = benchcore(name, stdout=writing)
    os.close(writing)
    assert done.returncode == CODES[name]
    assert done.stderr.count("\n") == (CODES[name] != 0)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_output_is_told_in_one_line(name):
    with open("/dev/full", "w") as full:
        done = benchcore(name, stdout=full)
    assert done.returncode == (CODES[name] or 1)
    assert done.stderr.count("\n") == 1
    if not CODES[name]:
        assert done.stderr == (
            "benchcore: standard output: No space left on device; not all of the result is there\n"
        )


def test_no_output_at_all_ends_as_ever():
    for name, code in CODES.items():
        done = benchcore(name, stderr=None, preexec_fn=lambda: (os.close(1), os.close(2)))
        assert done.returncode == code


def test_what_is_hidden_is_masked_in_files_and_on_the_way_out(capsys, tmp_path, monkeypatch):
    path = tmp_path / "run.json"

    def command(*_args, **_kwargs):
        hide({"sk-very-secret", "tiny"})
        print("the key is sk-very-secret", "tiny")
        print("the key is sk-very-secret", file=sys.stderr)
        replace_file(path, json.dumps({"a": "sk-very-secret", "tiny": 1}).encode())
        return 0

    monkeypatch.setattr("benchcore.cli.main.cli.main", command)
    assert run([]) == 0
    told = capsys.readouterr()
    # What is shorter than eight characters may be a word of our own, as a key of JSON.
    assert told.out == "the key is *** tiny\n"
    assert told.err == "the key is ***\n"
    assert json.loads(path.read_bytes()) == {"a": "***", "tiny": 1}
    print("the key is sk-very-secret")  # nothing is hidden once the command is over
    assert capsys.readouterr().out == "the key is sk-very-secret\n"


def test_two_runs_in_one_process_hide_their_own():
    with hiding():
        hide({"sk-of-the-first"})
        with hiding():
            hide({"sk-of-the-second"})
        from benchcore.base.secrets import unhidden

        assert unhidden("sk-of-the-first sk-of-the-second") == "*** sk-of-the-second"


def test_the_recorded_command_has_no_secret():
    given = ["climb", "--header", "x-a=secret", "--header=b=c", "--extra-body"]
    body = '{"api_key":"k1","stop":["a"],"deep":[{"password":"p"}],"max_tokens":3}'
    assert masked_arguments([*given, body, "--model", "m"]) == [
        *("climb", "--header", "x-a=***", "--header=b=***", "--extra-body"),
        '{"api_key":"***","stop":["a"],"deep":[{"password":"***"}],"max_tokens":3}',
        *("--model", "m"),
    ]
    assert masked_arguments([f"--extra-body={body}"])[0].startswith('--extra-body={"api_key":"***"')
    assert masked_arguments(["--extra-body", '{"api_key":"k']) == ["--extra-body", "***"]


def test_an_interrupt_while_a_module_is_made_is_an_exit_code_as_any_other():
    program = (
        "import os, signal\n"
        "from benchcore.cli import main\n"
        "def run(args):\n"
        "    try:\n"
        "        exec('os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "main.run = run\n"
        "main.main([])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


@pytest.mark.parametrize(
    ("encoding", "term", "characters", "draws"),
    [
        ("utf-8", "xterm", "█", True),
        ("utf-8", "dumb", "", False),
        ("ascii", "xterm", "", True),
        ("ascii", "xterm", "█", False),
    ],
)
def test_nothing_is_drawn_that_a_terminal_cannot_show(
    monkeypatch, encoding, term, characters, draws
):
    monkeypatch.setenv("TERM", term)
    leader, follower = os.openpty()
    try:
        with os.fdopen(follower, "w", encoding=encoding) as stream:
            assert terminal.draws(stream, characters) is draws
    finally:
        os.close(leader)
    with open(os.devnull, "w") as stream:
        assert terminal.draws(stream) is False


@pytest.mark.parametrize("number", [0, 1, 2])
def test_with_a_stream_closed_a_server_can_be_asked(number, simulator, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchcore", "climb", "--base-url", simulator.base_url),
            *("--concurrency", "1", "--requests", "5", "--idle", "0s", "--output", str(tmp_path)),
        ],
        env=bare_environment(),
        capture_output=True,
        preexec_fn=lambda: os.close(number),
        check=False,
    )
    assert done.returncode in (0, 4), done.stderr
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "run.json").read_bytes())["status"] == "complete"
