"""Stamps: when bytes arrived, as the kernel says, on the monotonic clock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
import time
from array import array
from typing import Protocol

SO_TIMESTAMPNS = 35
"""Linux: ask for, and recognise, a receive stamp as `struct timespec` (asm-generic/socket.h)."""
SO_TIMESTAMPNS_NEW = 64
"""The same with 64-bit fields on every machine."""
STEP_NS = 50_000
"""A change of real − monotonic beyond this, once confirmed, is a step of the wall clock."""
NOISE_NS = 5_000
"""A single sample of the offset that has grown by more than this is not trusted."""

_TIMESPEC = struct.Struct("@qq")
_KINDS = (SO_TIMESTAMPNS, SO_TIMESTAMPNS_NEW)
_NS = 1_000_000_000
_now_ns = time.perf_counter_ns
_real_ns = time.time_ns


class NativeCounts(Protocol):
    """Stamps of reads in C."""

    offset_ns: int
    """The wall clock less the monotonic one, as the last read saw it."""

    @property
    def userspace(self) -> int:
        """Reads stamped by the clock at the read."""

    @property
    def clock_steps(self) -> int:
        """Steps of the wall clock that were noticed."""

    def take_lags(self) -> array[int]:
        """Return the lags in ns since the last call, and forget them."""


class Stamper:
    """Gives every read the instant at which its newest segment reached this machine.

    One per client, shared by its connections; counts what it gave.

    Args:
        kernel: ask the kernel for stamps; without, each stamp is the clock at the read.
    """

    def __init__(self, *, kernel: bool = True) -> None:
        self.kernel_wanted = kernel and sys.platform == "linux"
        self._userspace = 0
        self.kernel = 0
        """Reads stamped by the kernel whose lag has been folded; see `take_lags`."""
        self._clock_steps = 0
        self.lags: array[int] = array("q")
        """`mono − stamp` in ns of each kernel-stamped read since `take_lags`."""
        self.offset_ns = self._offset()
        self.native: NativeCounts | None = None
        """What is read in C, with stamps by the same rules."""
        self._keeper: socket.socket | None = None
        if self.kernel_wanted:
            # The kernel stamps only while some socket asks for it, and starts lazily: without one
            # that asks all the time, every other first read of a connection has no stamp.
            keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                keeper.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            except OSError:
                keeper.close()
                self.kernel_wanted = False
            else:
                self._keeper = keeper

    async def ready(self, limit_seconds: float = 0.5) -> bool:
        """Wait until the kernel stamps what arrives; returns whether it does.

        It begins some milliseconds after the first socket has asked. A datagram would not show it:
        one without a stamp is given the time of its reading.

        Args:
            limit_seconds: how long to wait for it.
        """
        if not self.kernel_wanted:
            return False
        deadline_ns = _now_ns() + int(limit_seconds * _NS)
        try:
            with (
                socket.create_server(("127.0.0.1", 0)) as listener,
                socket.create_connection(listener.getsockname()) as near,
                listener.accept()[0] as far,
            ):
                self.attach(far)
                while True:
                    near.send(b"x")
                    if far.recvmsg(1, 64)[1]:
                        return True
                    if _now_ns() > deadline_ns:
                        return False
                    await asyncio.sleep(0.001)
        except OSError:  # no loopback to try it on: the reads will show
            return False

    def attach(self, sock: socket.socket) -> bool:
        """Ask for stamps on `sock`; returns whether reads of it will carry one."""
        if not self.kernel_wanted or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        except OSError as error:
            if error.errno in (errno.ENOPROTOOPT, errno.EINVAL, errno.EPERM):
                return False
            raise
        return True

    def stamp(self, ancillary: list[tuple[int, int, bytes]], mono_ns: int, previous_ns: int) -> int:
        """Return the stamp of one read, in ns of CLOCK_MONOTONIC.

        Args:
            ancillary: what `recvmsg` returned beside the data.
            mono_ns: the clock right after the read.
            previous_ns: the connection's previous stamp; retransmission can reorder them.
        """
        if ancillary:
            _, kind, data = ancillary[0]
            if len(data) == 16 and kind in _KINDS:
                offset = _real_ns() - mono_ns
                if not -STEP_NS < offset - self.offset_ns < NOISE_NS:
                    # The thread may have been taken off the processor between the two clocks,
                    # which only ever makes the offset too large: look again, closely.
                    offset = self._confirmed_offset()
                    if not -STEP_NS < offset - self.offset_ns < STEP_NS:
                        self._clock_steps += 1
                        self.offset_ns = offset
                        self._userspace += 1
                        return mono_ns
                self.offset_ns = offset
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                stamp: int = seconds * _NS + nanoseconds - offset
                if stamp > mono_ns:
                    stamp = mono_ns
                elif stamp < previous_ns:
                    stamp = previous_ns
                self.lags.append(mono_ns - stamp)
                return stamp
        self._userspace += 1
        return mono_ns

    @property
    def userspace(self) -> int:
        """Reads stamped by the clock at the read."""
        return self._userspace + (0 if self.native is None else self.native.userspace)

    @property
    def clock_steps(self) -> int:
        """Steps of the wall clock that were noticed."""
        return self._clock_steps + (0 if self.native is None else self.native.clock_steps)

    def take_over(self) -> None:
        """Take over what was counted in C, which ends."""
        if self.native is not None:
            self._userspace, self._clock_steps = self.userspace, self.clock_steps
            self.lags += self.native.take_lags()
            self.native = None

    def tick(self) -> None:
        """Follow a slow drift of the two clocks; called a few times a second."""
        offset = self._offset()
        for clock in (self, self.native):
            if clock is not None and -STEP_NS < offset - clock.offset_ns < STEP_NS:
                clock.offset_ns = offset

    def take_lags(self) -> array[int]:
        """Return the lags in ns since the last call, and forget them."""
        if self.native is not None:
            self.lags += self.native.take_lags()
        lags = array("q", self.lags)
        # Emptied in place: connections hold the bound `append`.
        del self.lags[:]
        self.kernel += len(lags)
        return lags

    def _confirmed_offset(self) -> int:
        """Return the offset of the tightest of five samples."""
        return min(self._sample() for _ in range(5))[1]

    def _offset(self) -> int:
        return min(self._sample() for _ in range(3))[1]

    @staticmethod
    def _sample() -> tuple[int, int]:
        before = _now_ns()
        real = _real_ns()
        after = _now_ns()
        return after - before, real - (before + after) // 2

    def close(self) -> None:
        """Let the kernel stop stamping."""
        if self._keeper is not None:
            with contextlib.suppress(OSError):
                self._keeper.close()
            self._keeper = None
