"""Departures: requests of an open loop leave at their instants, whatever else the loop does."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from benchcore.base.clock import NEVER_NS, wait_awake
from benchcore.client.client import Client
from benchcore.climbs.requests import SessionSender
from benchcore.load.open_loop import OpenLoop

LEAD_NS: Final = 80_000
"""What is due within so short a time is waited for awake: a process that sleeps is 40 µs late."""
PART_NS: Final = 150_000
"""What may take so long waits for a request that is due before its end."""

_now_ns = time.perf_counter_ns


class Departures:
    """Stands between a level and its client, which looks at `due_ns` after each thing it does.

    Of a closed loop nothing is ever due, and nothing waits.

    Args:
        client: sends.
        sender: has the next requests.
        over: set when the level has ended, by a fault, say, behind which nothing leaves any more.
    """

    def __init__(self, client: Client, sender: SessionSender, over: asyncio.Event) -> None:
        self._client = client
        self._sender = sender
        self._over = over
        self._driver: OpenLoop | None = None

    def begin(self, driver: OpenLoop) -> None:
        """Let the client send what the schedule has."""
        self._driver = driver
        self._client.on_due = self._send_on_time

    def end(self) -> None:
        """Send nothing more."""
        self._client.on_due, self._client.due_ns = None, NEVER_NS

    def set_next(self, due_ns: int) -> None:
        """Take note when the next request is due, and make it ready."""
        self._client.due_ns = due_ns - LEAD_NS
        self._sender.make_ready()

    def send_due(self) -> None:
        """Send what has fallen due while something else was done, or is about to."""
        if _now_ns() >= self._client.due_ns:
            self._client.run_due()

    async def go_first(self) -> None:
        """Let the next request leave before something else is begun, where it is due soon."""
        self.send_due()
        due_ns = self._client.due_ns
        while (
            self._client.due_ns == due_ns
            and due_ns - _now_ns() < PART_NS
            and not self._over.is_set()
        ):
            await asyncio.sleep(0)
            self.send_due()

    def _send_on_time(self) -> None:
        driver = self._driver
        assert driver is not None
        due_ns = driver.due_ns
        if due_ns - _now_ns() <= LEAD_NS:
            wait_awake(due_ns)
        driver.run_due()
