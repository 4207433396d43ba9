"""Guard: a process between benchcore and the server that it starts.

Run as a file, and nothing of benchcore is imported, so that it costs little beside a load. It
starts the server in a process group of its own, copies what it says into a log without the secrets,
and ends all that the server has started when it is told to, or when benchcore is gone, however that
ended: the kernel closes the pipe. On Linux that includes what has left the group, and the server
does not outlive a guard that is killed; elsewhere it is the group.

The first line on standard input says what to start::

    {"command": […], "environment": {…}, "directory": null, "log": "…", "secrets": […],
     "stop_seconds": 30}

On standard output it says ``{"pid": …}`` or ``{"error": "…"}``, at any time ``{"note": "…"}``, and
in the end ``{"ended": …, "behind": …, "left": […]}``: the exit status, negative where a signal
ended it, ``null`` where it does not end; whether it ended well by itself while processes that it
had started went on; and the processes that no signal has ended.
"""

import contextlib
import functools
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable

_BLOCK = 65536
_BLOCKS_AT_ONCE = 64
_LONGEST_LINE = 1 << 20
_POLL_SECONDS = 0.05
_QUIET_SECONDS = 1.0
_LEAVE_SECONDS = 0.5
"""How long what a server has started may take to see that the server has ended."""
_KILL_SECONDS = 5.0
"""How long the kernel may take to end what was killed; longer only where a disk or a GPU hangs."""
_MASK = b"***"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Log:
    """Writes whole lines, secrets masked: a secret may come in two pieces.

    Never raises: a disk that is full must not keep the server from being ended.

    Args:
        path: of the file, which is appended to.
        secrets: what is masked, longest first.
        note: takes a line, once, when something could not be written.
        clock: monotonic, in seconds; replaced in tests.
    """

    def __init__(
        self,
        path: str,
        secrets: list[str],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A variable of the environment need not be UTF-8.
        self._secrets = [secret.encode(errors="surrogateescape") for secret in secrets]
        self._note: Callable[[str], None] | None = note
        self._clock = clock
        self._line = b""
        self._heard = clock()
        self._file = None
        try:
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115, PTH123  as long as we
        except OSError as error:
            self._lost(error)

    def take(self, data: bytes) -> None:
        """Take what the server has said."""
        self._heard = self._clock()
        text = self._line + data
        # A progress bar ends its lines with a carriage return.
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if len(text) - end > _LONGEST_LINE:
            end = len(text)
        self._line = text[end:]
        self._write(text[:end])

    def settle(self) -> None:
        """Write the rest of a line where nothing came for a while: it may be the last words."""
        if self._line and self._clock() - self._heard >= _QUIET_SECONDS:
            line, self._line = self._line, b""
            self._write(line)

    def close(self) -> None:
        """Write what is left."""
        self._write(self._line)
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:  # a network disk says only now that it is full
                self._lost(error)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        for secret in self._secrets:
            data = data.replace(secret, _MASK)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._lost(error)  # what comes later is tried again: there may be room by then

    def _lost(self, error: OSError) -> None:
        if self._note is not None:
            self._note(f"the log of the server is incomplete: {error.strerror or error}")
            self._note = None


def living(group: int, ancestor: int | None = None) -> dict[int, int]:
    """Return the processes of a group that have not ended, and the group of each.

    Where there is no ``/proc`` it is the group that stands for them all.

    Args:
        group: its members, and those of the session of this number.
        ancestor: those that descend from this process besides.
    """
    table = _processes()
    if not table:
        return {group: group} if _group_is_there(group) else {}
    found = {pid for pid, (_, *of) in table.items() if group in of}
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    ancestors = [] if ancestor is None else [ancestor]
    while ancestors:
        below = children.pop(ancestors.pop(), [])
        found.update(below)
        ancestors += below
    return {pid: table[pid][1] for pid in found}


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
        os.killpg(group, number)


def _processes() -> dict[int, tuple[int, int, int]]:
    """Return parent, group and session of each process that has not ended; {} but on Linux."""
    found = {}
    try:
        # In a PID namespace without a /proc of its own the numbers are not ours.
        ours = os.readlink("/proc/self") == str(os.getpid())  # noqa: PTH115
        names = os.listdir("/proc") if ours else []  # noqa: PTH208
    except OSError:
        return {}
    for name in names:
        # ProcessLookupError and FileNotFoundError: it has ended meanwhile.
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{int(name)}/stat", "rb") as file:  # noqa: PTH123
                # The name of a program, in brackets, may hold brackets and blanks.
                state, *numbers = file.read().rpartition(b")")[2].split()[:4]
            if state not in (b"Z", b"X"):
                parent, group, session = map(int, numbers)
                found[int(name)] = parent, group, session
    return found


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _say(**what: object) -> None:
    with contextlib.suppress(OSError):  # whoever listened is gone; the group is ended all the same
        # Not by sys.stdout: what it could not write it would try again at the end.
        os.write(1, json.dumps(what).encode() + b"\n")


def _prctl() -> Callable[[int, int], object]:
    """Return Linux's ``prctl``; elsewhere what does nothing."""
    if sys.platform == "linux":
        # A Python without libffi has no ctypes, and one that is linked statically no CDLL(None).
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            call = ctypes.CDLL(None).prctl
            call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
            return lambda option, value: call(option, value, 0, 0, 0)
    return lambda _option, _value: None


def main() -> None:
    """Start the server, wait for its end or for that of benchcore."""
    # A Ctrl-C in the terminal, or a TERM to the session, is for benchcore, which tells us in time.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.readline()
    if not line:
        return  # benchcore was interrupted before it could say what to start
    asked = json.loads(line)
    log = Log(asked["log"], asked["secrets"], lambda text: _say(note=text))
    prctl = _prctl()
    # What loses its parent becomes our child, not that of init: so nothing gets out of sight.
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
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
            # There are no threads here.
            preexec_fn=functools.partial(_before_server, prctl, os.getpid()),  # noqa: PLW1509
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _say(error=f"{asked['command'][0]}: {getattr(error, 'strerror', None) or error}")
        return
    _say(pid=process.pid)
    behind = False
    try:
        behind = _watch(process, log)
    finally:
        left = _end(process, log, asked["stop_seconds"])
        log.close()
    _say(ended=process.returncode, behind=behind, left=left)


def _before_server(prctl: Callable[[int, int], object], guard: int) -> None:
    """Prepare the process that becomes the server."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # it was killed before the kernel knew that we want to be told
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(process: "subprocess.Popen[bytes]", log: Log) -> bool:
    """Copy what the server says until it ends, or until benchcore asks for its end or is gone.

    Returns whether it ended well and left processes behind.
    """
    assert process.stdout is not None
    output = process.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        left = float("inf")
        while True:
            _reap(process)
            now = time.monotonic()
            if process.returncode is not None:
                left = min(left, now + _LEAVE_SECONDS)
                if process.returncode != 0 or not living(process.pid, os.getpid()):
                    return False
                if now >= left:
                    return True
            for key, _ in selector.select(_POLL_SECONDS):
                if key.fd != output:
                    return False  # a line, or the end of the pipe
                data = os.read(output, _BLOCK)
                if data:
                    log.take(data)
                else:
                    selector.unregister(output)
            log.settle()


def _reap(process: "subprocess.Popen[bytes]") -> None:
    """Fetch all that has ended: the server, and what has become our child.

    Not by `Popen.poll`: beside a wait for any child it would lose the status.
    """
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid == process.pid:
                process.returncode = os.waitstatus_to_exitcode(status)


def _end(process: "subprocess.Popen[bytes]", log: Log, seconds: float) -> list[int]:
    """End all processes, by TERM and after a while by KILL; take the last words.

    Returns what is left of them.
    """
    assert process.stdout is not None
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    group = process.pid
    signal_group(group, signal.SIGTERM)
    told: set[int] = set()
    deadline = time.monotonic() + seconds
    while True:
        _reap(process)
        left = living(group, os.getpid())
        now = time.monotonic()
        if (not left and process.returncode is not None) or now >= deadline + _KILL_SECONDS:
            break
        if now >= deadline:
            signal_group(group, signal.SIGKILL)
        for pid, of in left.items():
            # A second TERM would mean to some: at once.
            if of != group and (pid not in told or now >= deadline):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL if now >= deadline else signal.SIGTERM)
        told.update(left)
        _take_rest(output, log)
        time.sleep(_POLL_SECONDS)
    _take_rest(output, log)
    return sorted(left)


def _take_rest(output: int, log: Log) -> None:
    for _ in range(_BLOCKS_AT_ONCE):  # not for ever: some write faster than we read
        try:
            data = os.read(output, _BLOCK)
        except BlockingIOError:
            return
        if not data:
            return
        log.take(data)


if __name__ == "__main__":
    main()
