"""Processes: what a server that was launched here takes of this machine, all of its processes.

Read from `/proc`: on Linux alone. Who has started whom stands with each thread: for a server with a
thousand threads, looking it up takes 17 ms, in which no token would be read. It is therefore done
between levels, and while one runs only the processes that are known are looked at (15 µs each).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchcore.base.stored import Count, Number, Stored

_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PROC: Final = Path("/proc")
# Places in /proc/PID/stat behind the name, which may hold anything (proc(5)).
_USER, _SYSTEM, _CHILD_USER, _CHILD_SYSTEM, _STARTED, _RESIDENT = 11, 12, 13, 14, 19, 21


class ServerProcesses(Stored):
    """What the processes of the server took in the window of a level."""

    processes: Count
    """At most at once."""
    memory_bytes_begin: Number
    """Resident, of all of them, as the window opened; pages that they share count for each."""
    memory_bytes_max: Number
    memory_bytes_growth: Number
    """From the opening of the window to its end."""
    cpu_seconds: Number
    """Of all of them, those that have ended in between included."""
    cpu_cores: Number
    """The same for each second of the window."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process and all below it take.

    Args:
        processes: how many they are.
        memory_bytes: resident.
        cpu_seconds: since they were started.
    """

    processes: int
    memory_bytes: int
    cpu_seconds: float


class ProcessWatch:
    """Looks at a process and all below it, as they are when the watch is made or told to find them.

    Args:
        pid: the server's, as it was launched.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started: dict[int, bytes] = {}
        self.find()
        self._opened: Taken | None = None
        self._seen: list[Taken] = []
        self._closed: Taken | None = None

    def find(self) -> None:
        """Look up which processes there are; takes milliseconds."""
        self._started = {pid: fields[_STARTED] for pid, fields in _tree(self._pid)}

    def look(self) -> Taken | None:
        """Return what they take now; `None`: they are gone, or this is not Linux."""
        taken = [
            _taken(fields)
            for pid, started in self._started.items()
            # A number that is free again may be given to a stranger.
            if (fields := _stat(pid)) is not None and fields[_STARTED] == started
        ]
        if not taken:
            return None
        return Taken(
            len(taken),
            sum(process.memory_bytes for process in taken),
            sum(process.cpu_seconds for process in taken),
        )

    def opened(self) -> None:
        """Take note that the window has opened."""
        self._opened, self._seen, self._closed = self.look(), [], None

    def tick(self) -> None:
        """Look once in between."""
        if self._opened is not None and self._closed is None:
            taken = self.look()
            if taken is not None:
                self._seen.append(taken)

    def closed(self) -> None:
        """Take note that the window is over."""
        self._closed = self.look()

    def figures(self, seconds: float) -> ServerProcesses | None:
        """Return what they took in the window; `None`: it is not known.

        Args:
            seconds: the length of the window.
        """
        first, last = self._opened, self._closed
        if first is None or last is None:
            return None
        all_seen = [first, *self._seen, last]
        spent = last.cpu_seconds - first.cpu_seconds
        if spent < 0 or seconds <= 0:
            return None  # one of them was killed, and nobody has waited for it
        return ServerProcesses.complete(
            processes=max(moment.processes for moment in all_seen),
            memory_bytes_begin=first.memory_bytes,
            memory_bytes_max=max(moment.memory_bytes for moment in all_seen),
            memory_bytes_growth=last.memory_bytes - first.memory_bytes,
            cpu_seconds=spent,
            cpu_cores=spent / seconds,
        )


def _stat(pid: int) -> list[bytes] | None:
    """Return what the kernel says of a process, behind its name; `None`: it is gone."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] == b"Z" else fields


def _taken(fields: list[bytes]) -> Taken:
    ticks = sum(int(fields[place]) for place in (_USER, _SYSTEM, _CHILD_USER, _CHILD_SYSTEM))
    return Taken(1, int(fields[_RESIDENT]) * _PAGE, ticks / _TICKS)


def _tree(pid: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield a process and each below it, by number; none that is gone."""
    fields = _stat(pid)
    if fields is None:
        return
    yield pid, fields
    try:
        tasks = [path / "children" for path in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return
    for task in tasks:
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))
