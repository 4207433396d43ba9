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

from benchcore.errors import TargetError
from benchcore.sim import SimOptions, SimProfile, SimulatorProcess

pytestmark = pytest.mark.integration


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.status


def gone(pid: int, seconds: float = 5.0) -> bool:
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
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert b'"tiny"' in answer.read()
        assert "a key" not in repr(sim)
    assert gone(sim.pid, 0)
    assert sim.stop() == 143


async def test_it_is_an_async_context_too():
    async with SimulatorProcess() as sim:
        assert await asyncio.to_thread(get, f"{sim.base_url}/health") == 200
    assert gone(sim.pid, 0)


def test_stopping_what_was_never_started_does_nothing():
    assert SimulatorProcess().stop() is None


def test_a_start_that_fails_says_why(tmp_path):
    with pytest.raises(TargetError, match=r"the simulator did not start: .*No such file"):
        SimulatorProcess(SimOptions(truth=tmp_path / "no" / "truth.jsonl")).start()


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


def test_stop_kills_a_process_that_does_not_listen(monkeypatch):
    monkeypatch.setattr("benchcore.sim.process._STOP_SECONDS", 0.05)
    sim = SimulatorProcess().start()
    os.kill(sim.pid, signal.SIGSTOP)
    assert sim.stop() == -signal.SIGKILL


def test_stop_does_not_wait_for_streams_in_flight():
    with SimulatorProcess(SimOptions(profile=SimProfile.named("slow"))) as sim:
        body = b'{"prompt": "hi", "max_tokens": 9999, "ignore_eos": true, "stream": true}'
        with urllib.request.urlopen(f"{sim.base_url}/v1/completions", body, timeout=60) as stream:
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
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
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


def test_connection_faults_strike_on_uvloop_too(uvloop_sim):
    with pytest.raises(ConnectionResetError):
        exchange(uvloop_sim, "reset:3")
    cut = exchange(uvloop_sim, "cut:3")
    assert cut.count(b'"text":') == 3
    assert not cut.endswith(b"\r\n")
    assert not exchange(uvloop_sim, "garbage").startswith(b"HTTP/")
    assert exchange(uvloop_sim, "close_after").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_slow_reader_gets_everything_in_order_on_uvloop_too(uvloop_sim):
    options = {"include_usage": True, "continuous_usage_stats": True}
    fields = {"max_tokens": 200, "n": 128, "stream_options": options}
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
    assert counts == list(range(1, 128 * 200 + 1))


def test_on_uvloop_too_the_headers_come_before_the_first_event(uvloop_sim):
    read = exchange(uvloop_sim, "close_after", messages=[{"role": "user", "content": "hi"}])
    head, body = read.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"role":"assistant"' in body.split(b"\n\n", 1)[0]
