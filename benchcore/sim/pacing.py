"""An alarm at an absolute time of the monotonic clock."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOCK_MONOTONIC: Final = 1
_TFD_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1


class Alarm(Protocol):
    """Calls back once for each time it is set; may be early or late, the callee looks."""

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        ...

    def close(self) -> None:
        """Never rings again."""
        ...


class LoopAlarm:
    """An alarm on the event loop's own timers: to about a millisecond."""

    __slots__ = ("_handle", "_loop", "_ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        delay = max(0, due_ns - time.monotonic_ns()) / 1e9
        self._handle = self._loop.call_later(delay, self._ring)

    def close(self) -> None:
        """Never rings again."""
        if self._handle is not None:
            self._handle.cancel()


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerfdAlarm:
    """An alarm on a Linux timer descriptor: to some tens of microseconds.

    Event loops round their timers to milliseconds, a tenth of a decode step.

    Raises:
        OSError: the kernel gave no descriptor.
    """

    __slots__ = ("_fd", "_libc", "_loop", "_ring", "_spec")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spec = _Itimerspec()
        self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop.add_reader(self._fd, self._readable)

    def set(self, due_ns: int) -> None:
        """Rings at ``due_ns`` of CLOCK_MONOTONIC, or at once when that is past."""
        value = self._spec.value
        value.seconds, value.nanoseconds = divmod(max(1, due_ns), 1_000_000_000)
        spec = ctypes.byref(self._spec)
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def close(self) -> None:
        """Never rings again."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # set again since the loop saw it
        self._ring()


def alarm(ring: Callable[[], None]) -> Alarm:
    """Returns the finest alarm of this platform, on the running loop."""
    return TimerfdAlarm(ring) if sys.platform == "linux" else LoopAlarm(ring)
