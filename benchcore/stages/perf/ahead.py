"""Ahead: connections that are opened before a level needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from benchcore.client.client import Client
from benchcore.errors import BenchcoreError

CONNECT_SECONDS = 5.0
"""Connections are opened ahead for no longer than this."""


async def connect_ahead(
    client: Client,
    count: int,
    interrupted: asyncio.Event,
    say: Callable[[str], None] = lambda _what: None,
) -> int | None:
    """Open connections for a while; those that are missing are opened when they are needed.

    Args:
        client: opens them.
        count: how many.
        interrupted: ends it.
        say: is told where not all could be opened.

    Returns:
        How many were opened; `None`: the time was up before.

    Raises:
        CapacityError: this process may not open that many.
    """
    opening = asyncio.ensure_future(client.connect_ahead(count))
    stop = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait(
        {opening, stop}, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    stop.cancel()
    if not opening.done():
        opening.cancel()
    opened = (await asyncio.gather(opening, return_exceptions=True))[0]
    if isinstance(opened, BenchcoreError):
        raise opened
    if opened != count and not interrupted.is_set():
        say(f"not all {count} connections could be opened ahead")
    return opened if isinstance(opened, int) else None
