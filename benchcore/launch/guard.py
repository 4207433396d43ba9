"""Guard: a process between benchcore and the server that it starts.

Run as a file, and nothing of benchcore is imported, so that it costs little beside a load. It
starts the server in a process group of its own, copies what it says into a log without the secrets,
and ends the whole group when it is told to, or when benchcore is gone, however that ended: the
kernel closes the pipe.

The first line on standard input says what to start::

    {"command": […], "environment": {…}, "directory": null, "log": "…", "secrets": […],
     "stop_seconds": 30}

On standard output it says ``{"pid": …}`` or ``{"error": "…"}``, and in the end ``{"ended": …}``:
the exit status, negative where a signal ended it.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time

_BLOCK = 65536
_LONGEST_LINE = 1 << 20
_POLL_SECONDS = 0.05
_MASK = b"***"


class Log:
    """Writes whole lines, secrets masked: a secret may come in two pieces."""

    def __init__(self, path: str, secrets: list[str]) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115, PTH123  as long as the process
        self._secrets = [secret.encode() for secret in secrets]
        self._line = b""

    def take(self, data: bytes) -> None:
        """Take what the server has said."""
        whole, newline, rest = (self._line + data).rpartition(b"\n")
        if len(rest) > _LONGEST_LINE:
            whole, newline, rest = whole + newline + rest, b"", b""
        self._line = rest
        self._write(whole + newline)

    def close(self) -> None:
        """Write what is left."""
        self._write(self._line)
        self._file.close()

    def _write(self, data: bytes) -> None:
        for secret in self._secrets:
            data = data.replace(secret, _MASK)
        while data:
            data = data[self._file.write(data) :]


def _say(**what: object) -> None:
    with contextlib.suppress(OSError):  # whoever listened is gone; the group is ended all the same
        # Not by sys.stdout: what it could not write it would try again at the end.
        os.write(1, json.dumps(what).encode() + b"\n")


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
        os.killpg(group, number)


def main() -> None:
    """Start the server, wait for its end or for that of benchcore."""
    # A Ctrl-C in the terminal, or a TERM to the session, is for benchcore, which tells us in time.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.readline()
    if not line:
        return  # benchcore was interrupted before it could say what to start
    asked = json.loads(line)
    log = Log(asked["log"], asked["secrets"])
    try:
        process = subprocess.Popen(  # noqa: S603  the user named it
            asked["command"],
            env=asked["environment"],
            cwd=asked["directory"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            restore_signals=True,
            preexec_fn=_usual_signals,  # noqa: PLW1509  there are no threads here
        )
    except (OSError, ValueError) as error:
        _say(error=f"{asked['command'][0]}: {getattr(error, 'strerror', None) or error}")
        return
    _say(pid=process.pid)
    _watch(process, log)
    _end(process, log, asked["stop_seconds"])
    log.close()
    _say(ended=process.returncode)


def _usual_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _watch(process: "subprocess.Popen[bytes]", log: Log) -> None:
    """Copy what the server says until it ends, or until benchcore asks for its end or is gone."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        while process.poll() is None:
            for key, _ in selector.select(_POLL_SECONDS):
                if key.fd != output:
                    return  # a line, or the end of the pipe
                data = os.read(output, _BLOCK)
                if data:
                    log.take(data)
                else:
                    selector.unregister(output)


def _end(process: "subprocess.Popen[bytes]", log: Log, seconds: float) -> None:
    """End the group, by TERM and after a while by KILL; take the last words."""
    assert process.stdout is not None
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    group = process.pid
    _signal_group(group, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while process.poll() is None or _group_is_there(group):
        if time.monotonic() >= deadline:
            _signal_group(group, signal.SIGKILL)
            process.wait()
            break
        _take_rest(output, log)
        time.sleep(_POLL_SECONDS)
    _take_rest(output, log)


def _take_rest(output: int, log: Log) -> None:
    while True:
        try:
            data = os.read(output, _BLOCK)
        except BlockingIOError:
            return
        if not data:
            return
        log.take(data)


if __name__ == "__main__":
    main()
