"""Signals: the first asks a command to end in good order, the second at once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def catch_signals(interrupt: Callable[[], None]) -> list[int]:
    """Let SIGINT and SIGTERM interrupt, on the running loop; returns what has come so far."""
    from benchcore.report.live import LOGGER

    caught: list[int] = []
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        caught.append(number)
        if len(caught) == 1:
            LOGGER.warning("stopping: what is in flight may end; again to stop at once")
        interrupt()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return caught
