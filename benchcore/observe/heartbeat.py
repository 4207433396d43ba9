"""Heartbeat: how late the event loop runs, where the kernel does not stamp what it reads."""

from __future__ import annotations

import asyncio
import time
from array import array

PERIOD_NS = 5_000_000
_TIMER_NS = 1_500_000
"""uvloop's timers are this coarse: a beat within it is on time."""


class Heartbeat:
    """Beats every 5 ms and notes by how much each beat is late, in ns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._planned_ns = 0
        self.lags: array[int] = array("q")

    def start(self) -> None:
        """Begin to beat."""
        self._planned_ns = time.perf_counter_ns() + PERIOD_NS
        self._handle = self._loop.call_later(PERIOD_NS * 1e-9, self._beat)

    def _beat(self) -> None:
        late_ns = time.perf_counter_ns() - self._planned_ns - _TIMER_NS
        self.lags.append(max(late_ns, 0))
        self.start()

    def stop(self) -> None:
        """Beat no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
