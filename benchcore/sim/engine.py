"""The engine: the batching model run against the real clock."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from benchcore.sim.pacing import alarm

if TYPE_CHECKING:
    from benchcore.sim.batching import Batch, Sequence, Step
    from benchcore.sim.metrics import Metrics

_LATE_STEPS: Final = 2
"""A step that ends later than this many of its own durations starts the schedule anew."""


class Engine:
    """Runs one step after the other, each ending at an absolute time.

    A step begins when the one before was due to end, not when its alarm rang, so lateness of
    the loop does not add up. Tokens are handed to their owners from inside the step: a token
    costs no task switch.
    """

    __slots__ = (
        "_alarm",
        "_due_ns",
        "_loop",
        "_metrics",
        "_start_handle",
        "_step",
        "batch",
    )

    def __init__(self, batch: Batch, metrics: Metrics) -> None:
        self.batch = batch
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._alarm = alarm(self._ring)
        self._step: Step | None = None
        self._due_ns = 0
        self._start_handle: asyncio.Handle | None = None

    def submit(self, sequence: Sequence) -> None:
        """Puts a sequence in the queue; an idle engine starts in this turn of the loop."""
        self.batch.add(sequence, time.monotonic_ns())
        self.wake()

    def abort(self, sequence: Sequence) -> None:
        """Takes a sequence out; one that has ended already is left alone."""
        self.batch.abort(sequence)

    def wake(self) -> None:
        """Looks for work if the engine is idle."""
        if self._step is None and self._start_handle is None:
            self._start_handle = self._loop.call_soon(self._start)

    def close(self) -> None:
        """Stops for good."""
        if self._start_handle is not None:
            self._start_handle.cancel()
        self._alarm.close()

    def _start(self) -> None:
        self._start_handle = None
        self._begin(time.monotonic_ns())

    def _begin(self, start_ns: int) -> None:
        self._step = self.batch.schedule(start_ns)
        if self._step is not None:
            self._due_ns = start_ns + self._step.duration_ns
            self._alarm.set(self._due_ns)

    def _ring(self) -> None:
        step = self._step
        if step is None:
            return
        now = time.monotonic_ns()
        if now < self._due_ns:
            self._alarm.set(self._due_ns)
            return
        emitted = self.batch.complete(step, now)
        for sequence in emitted:
            owner = sequence.owner
            if owner is not None:
                owner.emit(sequence.choice)
        self._metrics.step(step, emitted, now)
        late = now - self._due_ns > _LATE_STEPS * step.duration_ns
        self._begin(now if late else self._due_ns)
