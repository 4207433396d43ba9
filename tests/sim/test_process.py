from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from benchcore.errors import TargetError
from benchcore.sim import SimOptions, SimProfile, SimulatorProcess

pytestmark = pytest.mark.integration


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process ends in time; one that nobody has reaped yet has ended."""
    deadline = time.monotonic() + seconds
    while True:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE)
        if state.stdout.strip()[:1] in (b"", b"Z"):
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
        with urllib.request.urlopen(request, timeout=5) as answer:
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
        with urllib.request.urlopen(f"{sim.base_url}/v1/completions", body, timeout=5) as stream:
            stream.readline()
            began = time.monotonic()
            assert sim.stop() == 143
    assert time.monotonic() - began < 2.5
