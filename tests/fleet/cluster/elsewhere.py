"""Runs a command whose CLOCK_MONOTONIC is not ours: ``elsewhere.py NANOSECONDS COMMAND …``.

The command runs in a time namespace of its own (time_namespaces(7)), so that the kernel itself
gives it another clock: timers and the stamps of sockets follow. Prints the command's process id.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWTIME = 0x80
CLONE_NEWUSER = 0x10000000


def unshare(ahead_ns):
    """Let the children of this process have a clock that is ahead."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWTIME if os.geteuid() == 0 else CLONE_NEWTIME | CLONE_NEWUSER
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "no time namespace")
    seconds, left_ns = divmod(ahead_ns, 10**9)
    Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} {left_ns}\n")


if __name__ == "__main__":
    unshare(int(sys.argv[1]))
    process = subprocess.Popen(sys.argv[2:])
    print(process.pid, flush=True)
    sys.exit(process.wait())
