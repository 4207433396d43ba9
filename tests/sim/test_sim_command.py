from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner

from benchcore.cli.sim import sim

COMMAND = [sys.executable, "-c", "from benchcore.cli.sim import sim; sim()"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "speed"], "--set speed: write FIELD=VALUE"),
        (["--set", "speed=1"], "a profile has no field 'speed'"),
        (["--set", "max_running=many"], "--set max_running: Input should be a valid integer"),
        (["--set", "blocks=1"], "--set blocks × block_tokens = 16 cannot hold"),
        (["--profile", "quick"], "unknown profile 'quick'"),
        (["--fault", "explode"], "--fault: unknown fault 'explode'"),
        (["--certfile", __file__], "keyfile and certfile go together"),
        (["--certfile", "nowhere.pem"], "nowhere.pem"),
        (["--port", "70000"], "70000"),
        (["--host", "192.0.2.1"], "cannot serve: 192.0.2.1:8000: "),
        (["--truth", "/nowhere/at/all"], "cannot serve: /nowhere/at/all: No such file"),
    ],
)
def test_a_bad_option_is_a_usage_error_of_one_line(arguments, message):
    result = CliRunner().invoke(sim, arguments)
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in line
    assert "Traceback" not in result.output


def test_the_fields_of_a_profile_can_be_listed():
    result = CliRunner().invoke(sim, ["--list-fields"])
    assert result.exit_code == 0
    assert "decode_base_seconds" in result.output


@pytest.mark.integration
@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_where_it_is_and_ends_at_a_signal(how, status):
    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--set", "model=tiny"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        assert first.startswith("simulating tiny at http://127.0.0.1:")
        base_url = first.split()[-1]
        assert f"benchcore climb --base-url {base_url}" in process.stdout.readline()
        with urllib.request.urlopen(f"{base_url}/health", timeout=60) as answer:
            assert answer.status == 200
        process.send_signal(how)
        assert process.wait(5) == status
        assert process.stderr.read() == ""
