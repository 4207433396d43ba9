"""`benchcore` with an event loop that is blocked again and again: a slow machine, made to measure.

python -m tests.bench.blocked_climb BLOCKED_MS PERIOD_MS climb …
"""

import asyncio
import sys
import time
from collections.abc import Coroutine
from typing import Any

import uvloop

from benchcore.cli.main import main


async def block(blocked_seconds: float, free_seconds: float) -> None:
    """Block the loop over and over."""
    while True:
        time.sleep(blocked_seconds)
        await asyncio.sleep(free_seconds)


def blocked_run(blocked_ms: float, period_ms: float) -> Any:
    """Return a `uvloop.run` whose loop is blocked."""
    run = uvloop.run

    async def both(work: Coroutine[Any, Any, Any]) -> Any:
        blocking = asyncio.create_task(block(blocked_ms / 1e3, (period_ms - blocked_ms) / 1e3))
        try:
            return await work
        finally:
            blocking.cancel()

    return lambda work: run(both(work))


if __name__ == "__main__":
    uvloop.run = blocked_run(float(sys.argv[1]), float(sys.argv[2]))
    main(sys.argv[3:])
