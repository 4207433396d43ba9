"""TimerDescriptor: a descriptor that becomes readable at an instant (Linux, timerfd_create(2)).

An event loop's own timers tick in milliseconds; this one is the kernel's high-resolution timer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any, Final

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK and TFD_CLOEXEC are the same bits
_ABSOLUTE: Final = 1
_NS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


@cache
def _libc() -> Any:
    """Return the C library's functions, for a Python before 3.13."""
    return ctypes.CDLL(None, use_errno=True)


class TimerDescriptor:
    """One timer on CLOCK_MONOTONIC.

    Raises:
        OSError: there is none here: another system, or no descriptors are left.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._setting = _Itimerspec()
        if sys.version_info >= (3, 13):
            self.descriptor = os.timerfd_create(_CLOCK_MONOTONIC, flags=_FLAGS)
        else:
            self.descriptor = self._checked(_libc().timerfd_create(_CLOCK_MONOTONIC, _FLAGS))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def arm(self, when_ns: int) -> None:
        """Be readable from `when_ns` on, at once where that has passed; not readable until then.

        Args:
            when_ns: in ns of CLOCK_MONOTONIC; 0: never.
        """
        if sys.version_info >= (3, 13):
            os.timerfd_settime_ns(self.descriptor, flags=os.TFD_TIMER_ABSTIME, initial=when_ns)
        else:
            value = self._setting.value
            value.seconds, value.nanoseconds = divmod(when_ns, _NS)
            setting = ctypes.byref(self._setting)
            self._checked(_libc().timerfd_settime(self.descriptor, _ABSOLUTE, setting, None))

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)
