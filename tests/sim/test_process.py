"""The simulator as a command and as a process, and its profiles."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from benchcore.base.errors import TargetError
from benchcore.cli.sim import sim
from benchcore.sim import PROFILES, SimOptions, SimProfile, SimulatorProcess
from tests.forked_simulator import simulators_by


@pytest.fixture(scope="module", autouse=True)
def _real_processes():
    with simulators_by(subprocess.Popen):
        yield


@pytest.mark.parametrize("name", PROFILES)
def test_every_built_in_profile_is_sound(name):
    assert SimProfile.named(name).max_running >= 1


def test_fields_can_be_overridden_by_text():
    profile = SimProfile.named("fast", decode_base_seconds="0.005", prefix_cache="false")
    assert (profile.decode_base_seconds, profile.prefix_cache) == (0.005, False)
    assert profile.max_running == SimProfile.named("fast").max_running


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("quick", {}, "unknown profile 'quick': choose one of default, "),
        ("default", {"speed": 1}, "a profile has no field 'speed': choose one of model, "),
        ("default", {"max_running": 0}, "greater than or equal to 1"),
        ("default", {"decode_base_seconds": "inf"}, "finite number"),
        ("default", {"blocks": 10}, "cannot hold one sequence of max_model_len = 32768 tokens"),
    ],
)
def test_a_bad_profile_says_what_is_wrong(name, fields, message):
    with pytest.raises(ValueError, match=message):
        SimProfile.named(name, **fields)


def test_every_field_is_described():
    for model in (SimProfile, SimOptions):
        undescribed = [name for name, field in model.model_fields.items() if not field.description]
        assert undescribed in ([], ["profile"])


def test_a_certificate_needs_its_key(tmp_path):
    with pytest.raises(ValueError, match="go together"):
        SimOptions(certfile=tmp_path / "cert.pem")


def test_a_bad_random_fault_is_refused():
    with pytest.raises(ValueError, match="unknown fault 'explode'"):
        SimOptions(faults=("explode@0.5",))


def test_the_key_is_in_no_repr():
    assert "sesame" not in repr(SimOptions(api_key="sesame"))


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
        with urllib.request.urlopen(f"{base_url}/health", timeout=600) as answer:
            assert answer.status == 200
        process.send_signal(how)
        assert process.wait(600) == status
        assert process.stderr.read() == ""


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=600) as answer:
        return answer.status


def gone(pid: int, seconds: float = 600.0) -> bool:
    """Whether a process ends in time; one that nobody has reaped yet has ended."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            os.kill(pid, 0)
            if sys.platform == "linux":
                stat = Path(f"/proc/{pid}/stat").read_text()
                if stat.rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


@pytest.mark.integration
def test_a_process_serves_while_its_context_lasts(tmp_path):
    options = SimOptions(
        profile=SimProfile.named("fast", model="tiny"),
        api_key="a key",
        truth=tmp_path / "truth.jsonl",
    )
    with SimulatorProcess(options) as sim:
        assert sim.base_url.startswith("http://127.0.0.1:")
        assert sim.pid != os.getpid()
        assert get(f"{sim.base_url}/health") == 200
        request = urllib.request.Request(
            f"{sim.base_url}/v1/models", headers={"Authorization": "Bearer a key"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            assert b'"tiny"' in answer.read()
        assert "a key" not in repr(sim)
    assert gone(sim.pid, 0)
    assert sim.stop() == 143


@pytest.mark.integration
async def test_it_is_an_async_context_too():
    async with SimulatorProcess() as sim:
        assert await asyncio.to_thread(get, f"{sim.base_url}/health") == 200
    assert gone(sim.pid, 0)


@pytest.mark.integration
def test_what_was_begun_takes_its_options_at_its_start():
    sim = SimulatorProcess().begin()
    begun = sim._process
    sim.options = SimOptions(profile=SimProfile.named("fast", model="tiny"))
    with sim:
        assert sim.pid == begun.pid
        with urllib.request.urlopen(f"{sim.base_url}/v1/models", timeout=600) as answer:
            assert b'"tiny"' in answer.read()
    assert gone(sim.pid, 0)


@pytest.mark.integration
def test_what_was_begun_and_ends_before_its_start_is_said():
    sim = SimulatorProcess().begin()
    sim._process.kill()
    sim._process.wait()
    with pytest.raises(TargetError, match=r"did not start: it ended with status -9$"):
        sim.start()


@pytest.mark.integration
def test_stopping_what_was_never_started_does_nothing():
    assert SimulatorProcess().stop() is None


@pytest.mark.integration
def test_a_start_that_fails_says_why(tmp_path):
    with pytest.raises(TargetError, match=r"the simulator did not start: .*No such file"):
        SimulatorProcess(SimOptions(truth=tmp_path / "no" / "truth.jsonl")).start()


@pytest.mark.integration
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_parent_dies(how):
    code = (
        "import time\n"
        "from benchcore.sim import SimulatorProcess\n"
        "sim = SimulatorProcess().start()\n"
        "print(sim.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, 0)
        parent.send_signal(how)
        parent.wait()
    assert gone(pid)


@pytest.mark.integration
def test_stop_kills_a_process_that_does_not_listen(monkeypatch):
    monkeypatch.setattr("benchcore.sim.process._STOP_SECONDS", 0.05)
    sim = SimulatorProcess().start()
    os.kill(sim.pid, signal.SIGSTOP)
    assert sim.stop() == -signal.SIGKILL


@pytest.mark.integration
def test_stop_does_not_wait_for_streams_in_flight():
    with SimulatorProcess(SimOptions(profile=SimProfile.named("slow"))) as sim:
        body = b'{"prompt": "hi", "max_tokens": 9999, "ignore_eos": true, "stream": true}'
        with urllib.request.urlopen(f"{sim.base_url}/v1/completions", body, timeout=600) as stream:
            stream.readline()
            # One that waits for its streams is killed in the end, and does not say 143.
            assert sim.stop() == 143


@pytest.fixture(scope="module")
def uvloop_sim():
    with SimulatorProcess(SimOptions(profile=SimProfile.named("fast"))) as sim:
        yield sim


def exchange(sim: SimulatorProcess, fault: str, *, slow: bool = False, **fields) -> bytes:
    body = json.dumps(
        {"prompt": "hi", "max_tokens": 6, "ignore_eos": True, "stream": True} | fields
    )
    path = "/v1/chat/completions" if "messages" in fields else "/v1/completions"
    place = urlsplit(sim.base_url)
    with socket.socket() as connection:
        connection.settimeout(600)
        if slow:  # what waits to be read fits into few bytes, so that the server has to wait
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((place.hostname, place.port))
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: sim\r\nx-sim-fault: {fault}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        if slow:
            time.sleep(1.0)
        read = bytearray()
        while piece := connection.recv(1 << 20):
            read += piece
        return bytes(read)


@pytest.mark.integration
def test_connection_faults_strike_on_uvloop_too(uvloop_sim):
    with pytest.raises(ConnectionResetError):
        exchange(uvloop_sim, "reset:3")
    cut = exchange(uvloop_sim, "cut:3")
    assert cut.count(b'"text":') == 3
    assert not cut.endswith(b"\r\n")
    assert not exchange(uvloop_sim, "garbage").startswith(b"HTTP/")
    assert exchange(uvloop_sim, "close_after").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


@pytest.mark.integration
def test_a_slow_reader_gets_everything_in_order_on_uvloop_too(uvloop_sim):
    options = {"include_usage": True, "continuous_usage_stats": True}
    fields = {"max_tokens": 110, "n": 128, "stream_options": options}
    read = exchange(uvloop_sim, "close_after", slow=True, **fields)
    at = read.index(b"\r\n\r\n") + 4
    whole = bytearray()
    while at < len(read):
        start = read.index(b"\r\n", at) + 2
        end = start + int(read[at : start - 2], 16)
        whole += read[start:end]
        assert read[end : end + 2] == b"\r\n"
        at = end + 2
    lines = bytes(whole).decode().removesuffix("\n\n").split("\n\n")
    assert lines.pop() == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    counts = [
        chunk["usage"]["completion_tokens"]
        for chunk in chunks
        if chunk["choices"] and chunk["choices"][0]["text"]
    ]
    assert counts == list(range(1, 128 * 110 + 1))


@pytest.mark.integration
def test_on_uvloop_too_the_headers_come_before_the_first_event(uvloop_sim):
    read = exchange(uvloop_sim, "close_after", messages=[{"role": "user", "content": "hi"}])
    head, body = read.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"role":"assistant"' in body.split(b"\n\n", 1)[0]
