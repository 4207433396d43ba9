"""A server as a command: started, heard, ended with all that it has started, whatever happens."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from benchcore.config.launch import LocalLaunch
from benchcore.errors import ConfigError
from benchcore.launch.local import LocalServer
from tests.conftest import is_there

pytestmark = pytest.mark.integration

# It says what it was given, starts a child of its own, and waits.
FAMILY = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, "port", sys.argv[1], flush=True)
print("token", os.environ.get("MY_TOKEN"), flush=True)
def bye(*_):
    print("bye", flush=True)
    sys.exit(0)
if "stubborn" not in sys.argv:
    signal.signal(signal.SIGTERM, bye)
time.sleep(600)
"""


@pytest.fixture
async def start(tmp_path):
    """Starts a command as a server, stopped at the end."""
    servers = []

    def make(*command, environ=None, **fields):
        config = LocalLaunch.model_validate({"command": command, "stop_seconds": 20, **fields})
        server = LocalServer(
            config, base=tmp_path, logs=tmp_path / "logs", environ={**os.environ, **(environ or {})}
        )
        servers.append(server)
        return server

    yield make
    for server in servers:
        await server.stop()


def said(server):
    return dict(line.partition(" ")[::2] for line in server.last_lines())


async def heard(server, what):
    """Return what the server has said once it has said a certain word."""
    async with asyncio.timeout(20):
        while what not in said(server):
            await asyncio.sleep(0.01)
    return said(server)


async def ended(server):
    async with asyncio.timeout(20):
        while server.ended() is None:
            await asyncio.sleep(0.01)


async def test_the_whole_group_is_ended_in_good_order(start):
    server = start(sys.executable, "-c", FAMILY, "{port}")
    served = await server.start()
    words = (await heard(server, "token"))["child"].split()
    child, port = int(words[0]), int(words[2])
    assert served.base_url == f"http://127.0.0.1:{port}"
    assert served.facts == {"pid": served.facts["pid"], "port": port}
    assert server.ended() is None
    assert is_there(child)
    assert await server.stop() == []
    assert server.last_lines()[-1] == "bye"
    assert not is_there(child)
    assert not is_there(served.facts["pid"])
    assert server.ended() == "it ended with status 0"
    assert await server.stop() == []


async def test_what_does_not_end_is_killed(start):
    server = start(sys.executable, "-c", FAMILY, "{port}", "stubborn", stop_seconds=0.2)
    served = await server.start()
    child = int((await heard(server, "token"))["child"].split()[0])
    assert await server.stop() == []
    assert not is_there(child)
    assert not is_there(served.facts["pid"])
    assert server.ended() == "it was ended by signal 9"


async def test_a_child_that_outlives_its_parent_is_ended_too(start):
    code = (
        "import subprocess, sys\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print('child', subprocess.Popen(sleeper).pid)\n"
    )
    server = start(sys.executable, "-c", code)
    await server.start()
    child = int((await heard(server, "child"))["child"])
    async with asyncio.timeout(20):
        while is_there(child):
            await asyncio.sleep(0.01)
    assert await server.stop() == []
    assert server.ended() == "it ended with status 0"


def test_it_ends_when_we_are_killed(tmp_path, until):
    code = f"""
    import asyncio, os, sys
    from pathlib import Path
    from benchcore.config.launch import LocalLaunch
    from benchcore.launch.local import LocalServer
    async def go():
        command = [sys.executable, "-c", {FAMILY!r}, "{{port}}"]
        logs = Path({str(tmp_path)!r})
        server = LocalServer(LocalLaunch(command=command), base=logs, logs=logs)
        served = await server.start()
        print(served.facts["pid"], flush=True)
        await asyncio.sleep(600)
    asyncio.run(go())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    leader = int(process.stdout.readline())
    log = tmp_path / "service_local.log"
    until(lambda: "token" in log.read_text())
    child = int(log.read_text().split()[1])
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not is_there(leader) and not is_there(child))


async def test_secrets_are_masked_in_the_log_also_where_they_come_in_pieces(start):
    code = (
        "import os, sys, time\n"
        "os.write(1, b'a s3cr3t-'); time.sleep(0.1); os.write(1, b'value b\\n')\n"
        "os.write(2, b'no newline s3cr3t-value')\n"
    )
    server = start(sys.executable, "-c", code, environ={"MY_TOKEN": "s3cr3t-value"})
    await server.start()
    await ended(server)
    assert server.last_lines() == ["a *** b", "no newline ***"]


async def test_what_is_kept_is_the_command_and_the_environment_without_secrets(start):
    server = start(
        "serve",
        "--key=s3cr3t-value",
        "{port}",
        environ={"MY_TOKEN": "s3cr3t-value"},
        environment={"CUDA_VISIBLE_DEVICES": "0", "OTHER_KEY": "another-one"},
    )
    kept = server.kept()
    launch = json.loads(kept["launch.json"])
    assert launch["command"] == ["serve", "--key=***", "{port}"]
    assert launch["environment"] == {"CUDA_VISIBLE_DEVICES": "0", "OTHER_KEY": "***"}
    text = b"".join(kept.values()).decode()
    assert "\nMY_TOKEN=***\n" in text
    assert "s3cr3t-value" not in text
    assert "another-one" not in text


async def test_a_server_that_ends_says_how(start):
    server = start("sh", "-c", "echo out of memory; exit 7")
    await server.start()
    await ended(server)
    assert server.ended() == "it ended with status 7"
    assert server.last_lines() == ["out of memory"]


async def test_the_last_lines_are_the_last(start):
    server = start("sh", "-c", "seq 1 50000")
    await server.start()
    await ended(server)
    assert server.last_lines(3) == ["49998", "49999", "50000"]


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"command": ["no-such-command"]}, "no-such-command: No such file or directory; is it"),
        ({"command": ["true"], "directory": "gone"}, "gone: is no folder"),
    ],
)
async def test_what_cannot_be_started_is_one_line(start, fields, fault):
    command = fields.pop("command")
    server = start(*command, **fields)
    with pytest.raises(ConfigError, match=fault) as told:
        await server.start()
    assert "\n" not in str(told.value)
    assert await server.stop() == []


async def test_a_port_that_is_taken_is_told(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start("true", port=port)
        with pytest.raises(ConfigError, match=f"something listens on {port} already"):
            await server.start()


async def test_a_port_that_is_free_is_used(start, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "below").mkdir()
    server = start(
        *("sh", "-c", "echo port {port} && echo where $(basename $PWD)"),
        port=port,
        directory="below",
        base_url="http://127.0.0.1:{port}/root",
    )
    served = await server.start()
    await heard(server, "where")
    assert served.base_url == f"http://127.0.0.1:{port}/root"
    assert said(server) == {"port": str(port), "where": "below"}
