"""Loop: a coroutine on uvloop, where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    done: T = uvloop.run(work)
    return done
