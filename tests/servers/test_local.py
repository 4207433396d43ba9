"""A server as a command: started, heard, ended with all that it has started, whatever happens."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from benchcore.base.errors import ConfigError
from benchcore.config.servers import LocalLaunch
from benchcore.servers import local
from benchcore.servers.guard import Log, _take_rest, living
from benchcore.servers.local import LocalServer
from tests.conftest import is_there

pytestmark = pytest.mark.integration

# It says what it was given, starts a child of its own, and waits.
FAMILY = """
import os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def bye(*_):
    print("bye", flush=True)
    sys.exit(0)
if "stubborn" not in sys.argv:
    signal.signal(signal.SIGTERM, bye)
print("child", child.pid, "port", sys.argv[1], flush=True)
print("token", os.environ.get("MY_TOKEN"), flush=True)
time.sleep(600)
"""

# It starts a process that leaves the group, says which, and ends or goes on.
STRAY = """
import os, signal, sys, time
ready, say = os.pipe()
pid = os.fork()
if pid == 0:
    os.setsid()
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), os._exit(0)))
    print("stray", os.getpid(), flush=True)
    os.write(say, b"x")
    time.sleep(600)
os.read(ready, 1)
while "stays" in sys.argv:
    time.sleep(600)
"""


@pytest.fixture
async def start(tmp_path):
    """Starts a command as a server, stopped at the end."""
    servers = []

    def make(*command, environ=None, secrets=(), tell=lambda _line: None, **fields):
        config = LocalLaunch.model_validate({"command": command, "stop_seconds": 20, **fields})
        server = LocalServer(
            config,
            base=tmp_path,
            logs=tmp_path / "logs",
            tell=tell,
            environ={**os.environ, **(environ or {})},
            secrets=secrets,
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
    async with asyncio.timeout(600):
        while what not in said(server):
            await asyncio.sleep(0.01)
    return said(server)


async def happens(condition):
    async with asyncio.timeout(600):
        while not condition():
            await asyncio.sleep(0.01)


async def ended(server):
    async with asyncio.timeout(600):
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
    async with asyncio.timeout(600):
        while is_there(child):
            await asyncio.sleep(0.01)
    assert await server.stop() == []
    assert server.ended() == (
        "it ended with status 0 and left processes behind: a server must stay in the foreground"
    )


@pytest.mark.parametrize("stubborn", [[], ["stubborn"]])
async def test_a_server_that_daemonises_is_ended_and_told_to_stay(start, stubborn):
    server = start(sys.executable, "-c", STRAY, *stubborn, stop_seconds=0.5)
    await server.start()
    stray = int((await heard(server, "stray"))["stray"])
    await ended(server)
    assert server.ended() == (
        "it ended with status 0 and left processes behind: a server must stay in the foreground"
    )
    assert not is_there(stray)
    assert await server.stop() == []
    assert server.last_lines()[-1] == (f"stray {stray}" if stubborn else "bye")


async def test_a_child_that_has_left_the_group_is_ended_too(start):
    server = start(sys.executable, "-c", STRAY, "stays")
    served = await server.start()
    stray = int((await heard(server, "stray"))["stray"])
    assert os.getpgid(stray) != served.facts["pid"]
    assert await server.stop() == []
    assert not is_there(stray)
    assert server.ended() == "it was ended by signal 15"
    assert server.last_lines()[-1] == "bye"


async def test_orphans_that_end_while_it_serves_are_fetched(start):
    server = start("sh", "-c", "(sleep 0.1 & echo orphan $!); exec sleep 600")
    await server.start()
    orphan = int((await heard(server, "orphan"))["orphan"])

    def is_gone():
        try:
            os.kill(orphan, 0)  # a zombie is still there
        except ProcessLookupError:
            return True
        return False

    await happens(is_gone)
    assert server.ended() is None


async def test_children_that_end_a_moment_later_are_not_left_behind(start):
    server = start("sh", "-c", "sleep 0.2 & echo done")
    await server.start()
    await ended(server)
    assert server.ended() == "it ended with status 0"


def test_a_server_that_says_more_than_can_be_read_is_not_read_for_ever():
    taken = []

    class Endless:
        def take(self, data):
            taken.append(data)
            assert len(taken) < 1000

    with open("/dev/zero", "rb") as endless:
        _take_rest(endless.fileno(), Endless())
    assert taken


async def test_a_full_disk_is_told_once_and_ends_the_server_all_the_same(start, tmp_path):
    told = []
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/service_local.log").symlink_to("/dev/full")
    (tmp_path / "pids").mkdir()
    server = start(
        "sh",
        "-c",
        "sleep 600 & touch pids/$!; while :; do echo much; sleep 0.02; done",
        tell=told.append,
        directory=".",
    )
    served = await server.start()
    await happens(lambda: len(told) > 1 and list((tmp_path / "pids").iterdir()))
    await asyncio.sleep(0.1)
    child = int(next((tmp_path / "pids").iterdir()).name)
    assert server.ended() is None
    assert await server.stop() == []
    assert not is_there(child)
    assert not is_there(served.facts["pid"])
    assert server.ended() == "it was ended by signal 15"
    notes = [line for line in told if not line.startswith("started")]
    assert notes == ["the log of the server is incomplete: No space left on device"]


async def test_a_log_that_cannot_be_opened_is_told(start, tmp_path):
    told = []
    (tmp_path / "logs/service_local.log").mkdir(parents=True)
    server = start("sh", "-c", "echo unheard", tell=told.append)
    await server.start()
    await ended(server)
    assert server.ended() == "it ended with status 0"
    assert "the log of the server is incomplete: Is a directory" in told
    assert server.last_lines() == []


async def test_a_guard_that_is_killed_takes_the_server_along(start):
    server = start(sys.executable, "-c", FAMILY, "{port}", "stubborn", stop_seconds=0.2)
    served = await server.start()
    child = int((await heard(server, "token"))["child"].split()[0])
    server._guard.kill()
    await happens(lambda: not is_there(served.facts["pid"]))
    await ended(server)
    assert server.ended() == "its guard has ended"
    assert is_there(child)
    assert await server.stop() == []
    assert not is_there(child)


async def test_what_a_killed_guard_has_left_is_killed_where_it_does_not_end(start):
    code = "trap '' TERM; (while :; do sleep 0.1; done) & echo child $!; wait"
    server = start("sh", "-c", code, stop_seconds=0.2)
    await server.start()
    child = int((await heard(server, "child"))["child"])
    server._guard.kill()
    await ended(server)
    assert await server.stop() == []
    assert not is_there(child)


async def test_what_no_signal_ends_is_told(start, monkeypatch):
    server = start(sys.executable, "-c", FAMILY, "{port}", stop_seconds=0.05)
    served = await server.start()
    child = int((await heard(server, "token"))["child"].split()[0])
    server._guard.kill()
    await ended(server)
    await happens(lambda: not is_there(served.facts["pid"]))
    sent = []
    monkeypatch.setattr(local, "signal_group", lambda *what: sent.append(what))
    monkeypatch.setattr(local, "_KILL_SECONDS", 0.05)
    try:
        assert await server.stop() == [f"process {child} of the server does not end"]
    finally:
        os.kill(child, signal.SIGKILL)
    group = served.facts["pid"]
    assert sent == [(group, signal.SIGTERM), (group, signal.SIGKILL)]


def test_what_has_ended_does_not_live():
    process = subprocess.Popen(
        ["sh", "-c", "sleep 600 & exec sleep 600"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    try:
        until_two = time.monotonic() + 600
        while len(living(process.pid)) < 2:
            assert time.monotonic() < until_two
        assert set(living(process.pid).values()) == {process.pid}
        assert living(process.pid).keys() <= living(-1, os.getpid()).keys()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    # The leader is a zombie until it is waited for.
    while living(process.pid):
        assert time.monotonic() < until_two
    assert process.wait() == -signal.SIGKILL


def test_it_ends_when_we_are_killed(tmp_path, until):
    code = f"""
    import asyncio, os, sys
    from pathlib import Path
    from benchcore.config.servers import LocalLaunch
    from benchcore.servers.local import LocalServer
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


async def test_last_words_without_a_line_end_are_there(start):
    code = r"printf 'loading\r\n\r12%% of s3cr3t-'; sleep 0.1; printf 'value'; sleep 600"
    server = start("sh", "-c", code, secrets=["s3cr3t-value"])
    await server.start()
    await happens(lambda: len(server.last_lines()) == 2)
    assert server.last_lines() == ["loading", "12% of ***"]
    assert server.ended() is None


def test_the_rest_of_a_line_is_written_when_nothing_comes_for_a_while(tmp_path):
    now = [0.0]
    log = Log(str(tmp_path / "log"), ["s3cr3t-value"], pytest.fail, lambda: now[0])

    def written():
        log.settle()
        return (tmp_path / "log").read_bytes()

    log.take(b"\r43% of s3cr3t-")
    assert written() == b"\r"
    now[0] = 0.9
    assert written() == b"\r"
    log.take(b"value")
    now[0] = 1.8
    assert written() == b"\r"
    now[0] = 2.0
    assert written() == b"\r43% of ***"
    log.take(b"\r44%\nlast")
    assert written() == b"\r43% of ***\r44%\n"
    log.close()
    assert (tmp_path / "log").read_bytes() == b"\r43% of ***\r44%\nlast"


def test_a_log_goes_on_where_there_is_room_again(tmp_path):
    noted = []
    log = Log("/dev/full", [], noted.append)
    log.take(b"lost\n")
    log.take(b"lost too\n")
    assert noted == ["the log of the server is incomplete: No space left on device"]
    log._file.close()
    log._file = (tmp_path / "log").open("ab", buffering=0)
    log.take(b"kept\n")
    log.close()
    assert (tmp_path / "log").read_bytes() == b"kept\n"


async def test_long_lines_are_cut_where_they_are_shown(start, tmp_path):
    server = start("sh", "-c", "head -c 4000 /dev/zero | tr '\\0' x; echo; echo; echo short")
    await server.start()
    await ended(server)
    assert server.last_lines() == ["x" * 499 + "…", "short"]
    assert (tmp_path / "logs/service_local.log").read_text() == "x" * 4000 + "\n\nshort\n"


async def test_a_secret_need_not_be_utf_8(start):
    value = b"caf\xe9-value".decode(errors="surrogateescape")
    server = start("sh", "-c", 'echo "a $MY_TOKEN b"', environ={"MY_TOKEN": value})
    await server.start()
    await ended(server)
    assert server.last_lines() == ["a *** b"]


async def test_further_secrets_are_shown_nowhere(start):
    told = []
    server = start(
        *("sh", "-c", "echo with $OPTIONS; exit 3", "--key=n0t-by-name"),
        tell=told.append,
        environ={"INHERITED": "-k n0t-by-name"},
        environment={"OPTIONS": "--api-key n0t-by-name"},
        base_url="http://127.0.0.1:{port}/n0t-by-name",
        secrets=["n0t-by-name", ""],
    )
    kept = server.kept()
    await server.start()
    await ended(server)
    assert server.last_lines() == ["with --api-key ***"]
    assert told[-1].endswith("--key=***")
    launch = json.loads(kept["launch.json"])
    assert launch["command"][-1] == "--key=***"
    assert launch["environment"] == {"OPTIONS": "--api-key ***"}
    assert launch["base_url"] == "http://127.0.0.1:{port}/***"
    assert b"\nINHERITED=-k ***\n" in kept["environment.txt"]
    assert b"n0t-by-name" not in b"".join(kept.values())


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
        ({"command": ["true"], "directory": "gone"}, "gone: is not a folder"),
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
        with pytest.raises(ConfigError, match=f"something is already listening on {port}"):
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
