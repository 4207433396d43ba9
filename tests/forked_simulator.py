"""Simulators forked from a process that has imported all they need: a start costs 20 ms, not 500.

What runs is the child side of `SimulatorProcess`, with the pipes, the session and the signals that
it has as a process; only the start of Python and its imports are shared. Real ones are started by
`tests/sim/test_process.py`.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import types

from benchcore.sim import process


class ForkedSimulator:
    """What `SimulatorProcess` uses of `subprocess.Popen`."""

    def __init__(self, command, *, stdin, stdout, start_new_session, env):
        assert command == [sys.executable, "-m", "benchcore.sim"]
        assert stdin == stdout == subprocess.PIPE
        assert start_new_session
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        self._ended, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        _ORIGIN.fork([read_in, write_out, theirs.fileno()], env)
        theirs.close()
        os.close(read_in)
        os.close(write_out)
        self.stdin, self.stdout = os.fdopen(write_in, "wb"), os.fdopen(read_out, "rb")
        self.returncode = None
        self.pid = int(self._ended.recv(16))

    def wait(self, timeout=None):
        with selectors.DefaultSelector() as selector:
            selector.register(self._ended, selectors.EVENT_READ)
            if self.returncode is None and not selector.select(timeout):
                raise subprocess.TimeoutExpired("simulator", timeout)
        return self.poll()

    def poll(self):
        if self.returncode is None:
            with contextlib.suppress(BlockingIOError):
                self.returncode = int(self._ended.recv(16, socket.MSG_DONTWAIT) or -signal.SIGKILL)
                self._ended.close()
        return self.returncode

    def terminate(self):
        self._send(signal.SIGTERM)

    def kill(self):
        self._send(signal.SIGKILL)

    def _send(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)


class _Origin:
    """The process that simulators are forked from, begun with the first of them."""

    def __init__(self):
        self._process = self._socket = None
        self._lock = threading.Lock()

    def fork(self, files, environment):
        with self._lock:
            if self._process is None:
                self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
                # It measures no coverage, which would slow down every simulator.
                kept = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-m", "tests.forked_simulator"],
                        stdin=theirs,
                        start_new_session=True,
                        env={**kept, "SSL_CERT_FILE": os.devnull},
                        cwd=os.path.dirname(os.path.dirname(__file__)),
                    )
            socket.send_fds(self._socket, [json.dumps(environment).encode()], files)

    def stop(self):
        if self._process is not None:
            self._socket.close()
            self._process.wait()


_ORIGIN = _Origin()


@contextlib.contextmanager
def simulators_by(popen):
    """Let `SimulatorProcess` start simulators by `ForkedSimulator`, or by `subprocess.Popen`."""
    before = process.subprocess
    process.subprocess = types.SimpleNamespace(
        Popen=popen, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    try:
        yield
    finally:
        process.subprocess = before


def stop_forking():
    """End the process that simulators are forked from."""
    _ORIGIN.stop()


def main():
    """Fork a simulator for each message: its environment, and its stdin, stdout and minder."""
    from benchcore.sim.child import main as simulate

    origin = socket.socket(fileno=0)
    while True:
        message, files, _, _ = socket.recv_fds(origin, 1 << 20, 3)
        if not message:
            return
        if os.fork() == 0:
            origin.detach()
            _mind(json.loads(message), files, simulate)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _mind(environment, files, simulate):
    """Be the parent of one simulator: tell its process id, and in the end how it ended."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(files[0], 0)
        os.dup2(files[1], 1)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(environment)
        code = 1
        try:
            code = simulate()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(0)
    os.close(files[0])
    os.close(files[1])
    asks = socket.socket(fileno=files[2])
    asks.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # whoever asked has gone
        asks.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
