"""Guards: what holds around a running level."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector still: what lives is frozen, what dies is freed by counting."""
    was_enabled, was_frozen = gc.isenabled(), gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        # As the user of the library had it.
        if was_enabled:
            gc.enable()
        if not was_frozen:
            gc.unfreeze()


@contextmanager
def faults_end(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> Iterator[None]:
    """Let a fault in a callback of the loop, which nobody awaits, surface.

    Args:
        loop: the running event loop.
        end: called at the fault, to end what is being waited for.

    Raises:
        BaseException: the first fault.
    """
    faults: list[BaseException] = []
    before = loop.get_exception_handler()

    def on_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if fault is None:
            loop.default_exception_handler(context)
            return
        faults.append(fault)
        end()

    loop.set_exception_handler(on_fault)
    try:
        yield
    finally:
        loop.set_exception_handler(before)
    if faults:
        raise faults[0]
