"""Remote: a worker on another host, as we see it from here, through its relay.

We ask the relay all the time what there is, on a thread with an event loop of its own: a driver
that reckons for seconds at the end of a level is not one that has gone. What is known of a worker
is kept on the driver's loop.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchcore.base.clock import NS
from benchcore.fleet.clocks import HostClock, Offset, RoundTrip, moved
from benchcore.fleet.crew import Message
from benchcore.fleet.relay import BATCH_SECONDS, GONE_SECONDS, LAST, Place, Report, Told
from benchcore.fleet.shard_log import Entry, entries_of

WAIT_SECONDS: Final = 0.5
"""So long a relay that has nothing to say waits with its answer."""
LOST_SECONDS: Final = 1.0
"""A relay that is out of reach for so long is lost; one that is silent, after `GONE_SECONDS`."""
STOP_SECONDS: Final = 8.0
MEASURED_AT_ONCE: Final = 8
"""Round trips before a level, one after another."""
UNREACHABLE: Final = (OSError, RuntimeError, TimeoutError, KeyError)
"""What is raised where an answer does not come; Dask has the others for actors that are no more."""
_INSTANTS: Final = {"open": 1, "start": 1, "close": 1, "interrupt": 2, "filled": 1}
"""Where a message has its instant."""
_PASSED: Final = frozenset({"close", "interrupt"})
"""The messages about an instant that has passed."""

_now_ns = time.perf_counter_ns


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fleet", daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something there and return what it returns."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call something there soon."""
        self._loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RemoteLog:
    """What a worker on another host has written, as far as it has come here.

    Args:
        move: puts an entry on our timeline.
        on_begin_again: lets it be emptied where it is.
    """

    def __init__(self, move: Callable[[Entry], Entry], on_begin_again: Callable[[], None]) -> None:
        self._move = move
        self._on_begin_again = on_begin_again
        self._pieces: deque[bytes] = deque()

    def feed(self, piece: bytes) -> None:
        """Take what has come."""
        self._pieces.append(piece)

    def read(self, most: int | None = None) -> Iterator[Entry]:
        """See `AnyLog`."""
        taken = 0
        while self._pieces and (most is None or taken < most):
            piece = self._pieces.popleft()
            taken += len(piece)
            for entry in entries_of(piece):
                yield self._move(entry)

    def spilled(self, data: bytes) -> None:
        """Nothing comes this way: a relay puts it behind what it has read from the disk."""
        raise NotImplementedError

    def begin_again(self) -> None:
        """See `AnyLog`."""
        self._on_begin_again()


class RemoteWorker:
    """A worker on another host; messages and records have our instants here, and its own there.

    Args:
        number: which one, from 1.
        address: of its Dask worker.
        hostname: of its host.
        clock: of its host.
        loop: where we ask its relay.
        arrived: takes what it says.
        batch_seconds: how long its log grows before it is passed on.
    """

    def __init__(
        self,
        number: int,
        address: str,
        hostname: str,
        clock: HostClock,
        loop: LoopThread,
        arrived: Callable[[RemoteWorker, Message | None], None],
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self.number = number
        self.address = address
        self.log = RemoteLog(lambda entry: moved(entry, -self.offset.ns), self._begin_again)
        self.has_ended = False
        self.end = "it runs"
        self.place = Place(0, Path())
        self.delays_ns: deque[int] = deque([0], maxlen=2 * MEASURED_AT_ONCE)
        """How long it took of late to tell it something, and to hear that it has come."""
        self._hostname = hostname
        self._clock = clock
        self._loop = loop
        self._arrived = arrived
        self._batch_seconds = batch_seconds
        self._offset: Offset | None = None
        self._sent = 0
        # Of the thread alone.
        self._relay: Any = None
        self._is_reached = True
        self._tasks: list[asyncio.Task[None]] = []
        self._outbox: asyncio.Queue[Told | None] = asyncio.Queue()

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `AnyWorker`."""
        offset = self.offset
        drift_ns = self._clock.offset(_now_ns()).ns - offset.ns
        return {
            "host": self._hostname,
            "address": self.address,
            "clock_uncertainty_seconds": offset.uncertainty_ns / NS,
            "clock_drift_seconds": drift_ns / NS,
        }

    @property
    def offset(self) -> Offset:
        """How far its clock is ahead, fixed by the first instant of a level and for all of it."""
        if self._offset is None:
            self._offset = self._clock.offset(_now_ns())
        return self._offset

    def send(self, *message: Any) -> None:
        """See `AnyWorker`."""
        name, not_before_ns = message[0], 0
        if name == "level":
            self._offset = None
            self._put(None, is_told=False)
        place = _INSTANTS.get(name)
        if place is not None:
            there_ns = message[place] + self.offset.ns
            message = (*message[:place], there_ns, *message[place + 1 :])
            not_before_ns = there_ns if name in _PASSED else 0
        self._put(pickle.dumps(message), not_before_ns)

    def kill(self) -> None:
        """See `AnyWorker`: its relay ends it, at the latest when we have gone."""
        self.take_end("it did not end when it was told to")

    def _begin_again(self) -> None:
        self._put(None)

    def _put(self, message: bytes | None, not_before_ns: int = 0, *, is_told: bool = True) -> None:
        if self.has_ended:
            return
        self._sent += is_told
        told = Told(self._sent, message, not_before_ns) if is_told else None
        self._loop.call(self._outbox.put_nowait, told)

    # On the driver's loop: what has come.

    def take_trip(self, trip: RoundTrip, *, told: bool) -> None:
        """Take a question and its answer as a measurement of the clock."""
        self._clock.add(trip)
        if told:
            self.delays_ns.append(trip.delay_ns)

    def take(self, report: Report, messages: Sequence[Message]) -> None:
        """Take what the relay has said."""
        if report.log:
            self.log.feed(report.log)
        for message in messages:
            self._arrived(self, self._on_our_timeline(message))
        if report.end:
            self.take_end(report.end)

    def take_end(self, end: str) -> None:
        """Take that it is no more."""
        if not self.has_ended:
            self.has_ended, self.end = True, end
            self._arrived(self, None)

    def _on_our_timeline(self, message: Message) -> Message:
        name = message[0]
        place = _INSTANTS.get(name)
        if place is not None:
            ours_ns = message[place] - self.offset.ns
            return (*message[:place], ours_ns, *message[place + 1 :])
        if name == LAST[0]:
            message[1].move(-self.offset.ns)
        return message

    # On the thread.

    async def begin(self, relay: Any, post: Callable[..., None]) -> None:
        """Start the process and go on asking.

        Args:
            relay: of it.
            post: calls something on the driver's loop.
        """
        self._relay = relay
        self._post = post
        self.place = await relay.start()
        await self._measure()
        self._tasks = [asyncio.create_task(self._poll()), asyncio.create_task(self._tell())]

    async def _ask(self, seconds: float, call: Callable[[], Any], *, told: bool) -> Report:
        sent_ns = _now_ns()
        async with asyncio.timeout(seconds):
            report: Report = await call()
        trip = RoundTrip(sent_ns, report.received_ns, report.sent_ns, _now_ns())
        self._post(lambda: self.take_trip(trip, told=told))
        return report

    async def _measure(self) -> None:
        for _ in range(MEASURED_AT_ONCE):
            await self._ask(GONE_SECONDS, lambda: self._relay.tell([]), told=True)

    async def _poll(self) -> None:
        place = first = 0
        wait, reached_ns = 0.0, _now_ns()
        while True:
            try:
                report = await self._ask(
                    GONE_SECONDS,
                    lambda: self._relay.poll(
                        *(place, first, wait, self._batch_seconds)  # noqa: B023
                    ),
                    told=False,
                )
            except UNREACHABLE as error:
                if _now_ns() - reached_ns > LOST_SECONDS * NS:
                    why = str(error) or "no answer"
                    end = f"its Dask worker {self.address} is out of reach: {why}"
                    self._is_reached = False
                    self._post(lambda end=end: self.take_end(end))
                    return
                await asyncio.sleep(LOST_SECONDS / 10)
                continue
            reached_ns = _now_ns()
            wait = 0.0 if report.more else WAIT_SECONDS
            place += len(report.log)
            messages = report.messages[first - report.first :]
            first += len(messages)
            if report.log or messages or report.end:
                self._post(lambda r=report, m=messages: self.take(r, m))
            if report.end:
                return

    async def _tell(self) -> None:
        while True:
            waiting = [await self._outbox.get()]
            while not self._outbox.empty():
                waiting.append(self._outbox.get_nowait())
            told = [one for one in waiting if one is not None]
            while True:
                with suppress(*UNREACHABLE):  # whether it is lost, `_poll` finds
                    if told:
                        await self._ask(
                            GONE_SECONDS,
                            lambda: self._relay.tell(told),  # noqa: B023  asked at once
                            told=True,
                        )
                    if None in waiting:
                        await self._measure()
                    break
                await asyncio.sleep(LOST_SECONDS / 10)

    async def finish(self) -> None:
        """End the process, as far as it can be reached."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._relay is not None and self._is_reached:
            with suppress(*UNREACHABLE):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._relay.stop()
