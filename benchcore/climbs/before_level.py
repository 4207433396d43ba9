"""Before a level: what the user wants done, an empty cache, and a server that is idle again."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable

from benchcore.base.errors import ConfigError, TargetError
from benchcore.client.client import Client
from benchcore.climbs.plan import Step
from benchcore.observe.server import busy, parse
from benchcore.observe.sources import MetricsSources

IDLE_POLL_SECONDS = 0.2
PAUSE_SECONDS = 0.5
"""Between levels where the server does not say whether it is idle."""


class BeforeLevel:
    """Does what is to be done before each level.

    Args:
        client: asks the target.
        sources: pages of metrics, the target's own among them.
        say: is told what is worth a line.
    """

    def __init__(self, client: Client, sources: MetricsSources, say: Callable[[str], None]) -> None:
        self._client = client
        self._sources = sources
        self._say = say

    async def level(self, step: Step, *, again: bool) -> None:
        """Make ready for a level.

        Args:
            step: which.
            again: there has been a level before.

        Raises:
            ConfigError: the user's command fails.
            TargetError: the server cannot empty its cache.
        """
        config = step.part.config
        if again:
            gc.collect()  # what the level before has left in circles
        if config.before_level is not None:
            await _run_command(config.before_level, step.name)
        if config.reset_prefix_cache:
            record = await self._client.ask("POST", "/reset_prefix_cache")
            if record.status != 200:
                raise TargetError(
                    f"{self._client.target.url('/reset_prefix_cache')} answers {record.status}; "
                    "the server cannot reset its cache: leave out --reset-prefix-cache"
                )
        await self._until_idle(config.idle_seconds, step.name, again=again)
        # What counters stand at as the level begins: it may have no time for that itself.
        await asyncio.gather(*(source.read() for source in self._sources.others))

    async def _until_idle(self, limit: float, level: str, *, again: bool) -> None:
        """Wait until the server has nothing left of the level before."""
        deadline = time.monotonic() + limit
        while True:
            text = await self._sources.target.read()
            left = None if text is None else busy(parse(text))
            if left is None:
                if again:
                    await asyncio.sleep(min(PAUSE_SECONDS, limit))
                return
            if left == 0:
                return
            if time.monotonic() >= deadline:
                self._say(f"{level}: after {limit:g} s the server still has {left:g} request(s)")
                return
            await asyncio.sleep(IDLE_POLL_SECONDS)


async def _run_command(command: str, level: str) -> None:
    process = await asyncio.create_subprocess_shell(
        command, stdout=sys.stderr.fileno(), env=None, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if code != 0:
        raise ConfigError(f"--before-level {command!r} ended with {code} before {level}")
