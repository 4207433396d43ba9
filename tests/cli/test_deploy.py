"""`deploy` and `undeploy`: who is signalled, who waits, and what a command that is cut leaves."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from types import SimpleNamespace

import pytest

from benchcore.base.errors import ConfigError, TargetError
from benchcore.cli.deploy import _deploy, _deployed
from benchcore.cli.driver import catch_signals
from benchcore.runs.scenarios import StageResult, StageStatus
from tests.conftest import is_there

WAITS = """
id: waits
launch: {local: {command: "sh -c 'echo $$ > server.pid; exec sleep 300'", base_url: "http://127.0.0.1:9"}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "waits.yaml").write_text(WAITS)
    found = tmp_path / "results" / ".deployed" / "waits"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def coming_up(benchcore, folder, tmp_path, until):
    """Starts a `deploy` that waits for a server which never becomes healthy."""
    started = []

    def start(**options):
        if options:
            command = benchcore.command("deploy", "waits.yaml")
            process = subprocess.Popen(command, cwd=tmp_path, env=benchcore.environment, **options)
        else:
            process = benchcore.start("deploy", "waits.yaml")
        started.append(process)
        until(lambda: (tmp_path / "server.pid").is_file() and (folder / "deployed.json").is_file())
        until(lambda: (tmp_path / "server.pid").read_text().endswith("\n"))
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tell(folder, found):
    (folder / "deployed.json").write_text(json.dumps(found))


@pytest.mark.integration
def test_the_process_that_now_has_the_number_of_one_that_was_killed_is_left_alone(
    benchcore, folder
):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            tell(folder, {"pid": stranger.pid, "base_url": "http://127.0.0.1:9"})
            done = benchcore.run("undeploy", "waits.yaml")
            assert done.returncode == 2
            assert done.stderr == "benchcore: waits is not deployed from results\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()
    assert not (folder / "deployed.json").exists()


@pytest.mark.integration
def test_a_second_deploy_is_refused_and_undeploy_ends_the_first_while_it_comes_up(
    benchcore, coming_up, folder, tmp_path
):
    process = coming_up()
    again = benchcore.run("deploy", "waits.yaml")
    assert again.returncode == 2
    assert again.stderr.splitlines()[-1] == (
        "benchcore: waits is being deployed already; wait for it, or undeploy it"
    )
    done = benchcore.run("undeploy", "waits.yaml")
    assert (done.returncode, done.stderr) == (0, "waits is down\n")
    process.communicate(timeout=600)
    assert process.returncode == 128 + signal.SIGTERM
    assert not is_there(int((tmp_path / "server.pid").read_text()))
    assert not (folder / "deployed.json").exists()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_it_comes_up_takes_it_down_and_is_the_exit_code(
    coming_up, folder, tmp_path, number
):
    process = coming_up()
    process.send_signal(number)
    process.communicate(timeout=600)
    assert process.returncode == 128 + number
    assert not is_there(int((tmp_path / "server.pid").read_text()))
    assert not (folder / "deployed.json").exists()


@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="terminals differ")
def test_a_closed_terminal_takes_it_down(coming_up, folder, tmp_path):
    ours, theirs = os.openpty()
    process = coming_up(
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    os.close(ours)
    assert process.wait(600) == 128 + signal.SIGHUP
    assert not is_there(int((tmp_path / "server.pid").read_text()))
    assert not (folder / "deployed.json").exists()


async def test_under_nohup_a_closed_terminal_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        caught = catch_signals(lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert caught == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "5",
        "[]",
        "{",
        "\xff",
        '{"pid": 0, "base_url": "http://a"}',
        '{"pid": -1, "base_url": "http://a"}',
        '{"pid": true, "base_url": "http://a"}',
        '{"pid": "7", "base_url": "http://a"}',
        '{"pid": 7}',
        '{"pid": 7, "base_url": 5}',
    ],
)
def test_what_is_damaged_is_told(tmp_path, content):
    (tmp_path / "deployed.json").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError) as told:
        _deployed(tmp_path)
    assert str(told.value) == (
        f"{tmp_path}/deployed.json: is not what `benchcore deploy` writes; remove it"
    )


@pytest.mark.integration
@pytest.mark.parametrize("command", ["deploy", "undeploy"])
def test_what_is_damaged_gets_one_line_and_2(benchcore, folder, command):
    (folder / "deployed.json").write_text("{}")
    done = benchcore.run(command, "waits.yaml")
    assert done.returncode == 2
    assert done.stderr == (
        "benchcore: results/.deployed/waits/deployed.json: is not what `benchcore deploy` writes; "
        "remove it\n"
    )


class Machine:
    """Runs stages that end as told; the clean-up is told what is on disk by then."""

    def __init__(self, folder, **ends):
        self.context = SimpleNamespace(
            scenario=SimpleNamespace(id="a"), base_url="http://127.0.0.1:9"
        )
        self.folder, self.ends, self.ran, self.found = folder, ends, [], []

    async def stage(self, name):
        self.ran.append(name)
        self.found.append(_deployed(self.folder))
        message = self.ends.get(name, "")
        status = StageStatus.FAILED if message else StageStatus.PASSED
        return StageResult.begun(name, status=status, message=message or None)

    def interrupt(self, number):
        self.number = number


def soon(number):
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), number)


async def test_what_is_left_is_told_and_is_no_success(tmp_path):
    machine = Machine(tmp_path, cleanup="not everything could be taken down: pod x")
    soon(signal.SIGTERM)
    with pytest.raises(TargetError) as told:
        await _deploy(machine, tmp_path, stays=False)
    assert str(told.value) == "a: cleanup: not everything could be taken down: pod x"
    assert [one.base_url for one in machine.found] == [None, None, "http://127.0.0.1:9"]
    assert all(one.pid == os.getpid() and one.lives for one in machine.found)
    # It stays told, and by nobody: `undeploy` looks for what is left.
    assert _deployed(tmp_path).lives is False


async def test_both_what_failed_and_what_is_left_are_told(tmp_path):
    machine = Machine(tmp_path, health="gave up", cleanup="pod x is left")
    with pytest.raises(TargetError, match=r"^a: health: gave up; cleanup: pod x is left$"):
        await _deploy(machine, tmp_path, stays=False)


async def test_an_end_that_was_asked_for_is_a_success(tmp_path):
    machine = Machine(tmp_path)
    soon(signal.SIGTERM)
    assert await _deploy(machine, tmp_path, stays=False) == 0
    assert machine.ran == ["launch", "health", "cleanup"]
    assert _deployed(tmp_path) is None


async def test_what_stays_on_a_cluster_has_no_process(tmp_path):
    machine = Machine(tmp_path)
    assert await _deploy(machine, tmp_path, stays=True) == 0
    assert machine.ran == ["launch", "health"]
    assert all(one.pid == os.getpid() and one.lives for one in machine.found)
    found = _deployed(tmp_path)
    assert (found.pid, found.base_url, found.lives) == (None, "http://127.0.0.1:9", False)
