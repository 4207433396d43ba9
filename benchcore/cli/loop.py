"""Loop: a coroutine on uvloop, where there is one, and signals that end it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


T = TypeVar("T")


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    done: T = uvloop.run(work)
    return done


def catch_signals(interrupt: Callable[[], None]) -> list[int]:
    """Let SIGINT, SIGTERM and SIGHUP interrupt, on the running loop.

    Args:
        interrupt: called at each of them.

    Returns:
        What has come so far.
    """
    from benchcore.base.logs import LOGGER

    caught: list[int] = []
    loop = asyncio.get_running_loop()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def on_signal(number: int) -> None:
        caught.append(number)
        _leave(terminals)
        if len(caught) == 1:
            LOGGER.warning("stopping: what is in flight may end; again to stop at once")
        interrupt()

    for number in _asking():
        loop.add_signal_handler(number, on_signal, number)
    return caught


def _asking() -> list[signal.Signals]:
    """Return the signals that ask a command to end."""
    found = [signal.SIGINT, signal.SIGTERM]
    # Under nohup it is ignored from the start, and the command is to outlive its terminal.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def _leave(terminals: Iterable[int]) -> None:
    """Send what is still said to nobody, where a terminal has been closed.

    Writing to a closed one is an I/O error, which would end the command before its clean-up.
    """
    for number in terminals:
        if not os.isatty(number):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
