"""What a server's processes take: its own, and those that it has started."""

import subprocess
import sys
import time

import pytest

from benchcore.observe.processes import ProcessWatch

PARENT = """
import subprocess, sys
command = [sys.executable, "-c", sys.argv[1]]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=1, text=True)
for line in sys.stdin:
    child.stdin.write(line)
    child.stdin.flush()
child.stdin.close()
child.wait()
"""
WAIT = "print('ready', flush=True); input()"
CHILD = """
import sys, time
kept = []
print("ready", flush=True)
for line in sys.stdin:
    megabytes, seconds = line.split()
    kept.append(b"x" * (int(megabytes) << 20))
    until = time.process_time() + float(seconds)
    while time.process_time() < until:
        pass
    print("done", flush=True)
"""


@pytest.fixture
def server():
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def take(server, megabytes, seconds):
    server.stdin.write(f"{megabytes} {seconds}\n")
    server.stdin.flush()
    assert server.stdout.readline() == "done\n"


def test_memory_and_processors_of_a_child_are_the_server_s(server):
    watch = ProcessWatch(server.pid)
    watch.opened()
    begun = time.monotonic()
    take(server, 100, 0.5)
    watch.tick()
    watch.closed()
    seconds = time.monotonic() - begun
    found = watch.figures(seconds)
    assert found.processes == 2
    assert found.memory_bytes_growth == pytest.approx(100 << 20, rel=0.05)
    assert found.memory_bytes_max == found.memory_bytes_begin + found.memory_bytes_growth
    assert found.cpu_seconds == pytest.approx(0.5, abs=0.1)
    assert found.cpu_cores == pytest.approx(found.cpu_seconds / seconds)


def test_of_a_server_that_is_gone_nothing_is_known():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    watch = ProcessWatch(process.pid)
    watch.opened()
    watch.tick()
    watch.closed()
    assert watch.figures(1.0) is None


def test_a_process_is_found_whatever_its_name_holds():
    name = "a) b ( c"
    process = subprocess.Popen(
        [sys.executable, "-c", f"open('/proc/self/comm', 'w').write({name!r}); {WAIT}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        taken = ProcessWatch(process.pid).look()
        assert taken.processes == 1
        # What the kernel says of little memory is coarse.
        assert 1 << 20 < taken.memory_bytes < 100 << 20
    finally:
        process.communicate(b"\n")


def test_while_a_level_runs_nobody_looks_for_processes(server, monkeypatch):
    watch = ProcessWatch(server.pid)

    def listed(_path):
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.iterdir", listed)
        watch.opened()
        watch.tick()
        watch.closed()
        assert watch.figures(1.0).processes == 2


def test_a_process_that_was_started_since_is_found_when_it_is_looked_for():
    starts_one = "import subprocess, sys; print('ready', flush=True); input(); "
    starts_one += f"subprocess.run([sys.executable, '-c', {WAIT!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", starts_one], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"ready\n"
        watch = ProcessWatch(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        assert watch.look().processes == 1
        watch.find()
        assert watch.look().processes == 2
    finally:
        process.communicate(b"\n")
