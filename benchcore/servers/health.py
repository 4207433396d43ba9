"""Health: what brings a server up, and whether it is up."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from benchcore.base.backoff import Backoff
from benchcore.base.errors import TargetError
from benchcore.client.connection import tls_context
from benchcore.config.scenario import Health
from benchcore.config.target import Target


@dataclass(frozen=True, slots=True)
class Served:
    """A server that was started; whether it is healthy is another question.

    Args:
        base_url: where it is asked.
        facts: for `result.json`, such as its process id or the objects that were applied.
        notes: what a reader of the figures must know, such as a tunnel in between.
    """

    base_url: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Launcher(Protocol):
    """Starts one server. `stop` may be called at any time, also after a `start` that failed."""

    def kept(self) -> Mapping[str, bytes]:
        """Return what is kept beside the result, by file name, as it will be used.

        Nothing is touched for it; no secret is in it.

        Raises:
            ConfigError: what the scenario names is not there, or is wrong.
        """
        ...

    async def start(self) -> Served:
        """Start the server and return where it is.

        Raises:
            ConfigError: what the scenario says cannot be started.
            TargetError: it did not come up; says why.
        """
        ...

    def ended(self) -> str | None:
        """Return why the server is no longer there; `None` while it is, as far as is known."""
        ...

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the last lines of its logs, secrets masked."""
        ...

    async def stop(self) -> list[str]:
        """Take the server down and return what is left of it, a line each."""
        ...


_BACKOFF: Final = Backoff(first_seconds=0.1, most_seconds=10.0, factor=1.5)
"""With a random share, so that many scenarios do not ask in step."""
_ASK_SECONDS: Final = 10.0
_LAST_TRY_SECONDS: Final = 1.0
"""The least that a try gets: the last one begins at the limit."""
_TELL_SECONDS: Final = 15.0
_NO_SUCH: Final = (404, 405, 501)
"""The server has no health endpoint: its list of models says whether it is there."""
_REFUSED: Final = (401, 403)
_MODELS: Final = "/v1/models"


@dataclass(frozen=True, slots=True)
class Waiting:
    """How to wait; replaced in tests.

    Args:
        clock: monotonic, in seconds.
        sleep: waits.
        draw: 0 to 1, for jitter.
        timeout: ends what runs longer than so many seconds with `TimeoutError`.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = asyncio.sleep
    draw: Callable[[], float] = random.random
    timeout: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout


async def wait_until_up(
    target: Target,
    health: Health,
    request: Callable[[], Awaitable[str | None]],
    *,
    ended: Callable[[], str | None] = lambda: None,
    tell: Callable[[str], None] = lambda _line: None,
    waiting: Waiting | None = None,
) -> dict[str, float | int]:
    """Wait until a server is up; returns how long it took and how often it was asked.

    Args:
        target: the server.
        health: what counts as up.
        request: makes one real request; returns what is wrong with the answer, `None` if nothing.
        ended: says why the server is gone, if it is: then waiting is in vain.
        tell: takes a line for people, now and then.
        waiting: how.

    Raises:
        TargetError: it is gone, refuses us, or has not come up in time; says what it last said.
    """
    waiting = waiting or Waiting()
    begun = waiting.clock()
    deadline = begun + health.limit_seconds
    told = begun
    tries = 0
    while True:
        tries += 1
        limit = max(_LAST_TRY_SECONDS, min(health.request_seconds, deadline - waiting.clock()))
        attempt = _Try(target, health, request)
        try:
            async with waiting.timeout(limit):
                problem = await attempt.problem()
        except TimeoutError:
            problem = f"{attempt.asked} does not answer within {limit:.3g} s"
        now = waiting.clock()
        if problem is None:
            return {"seconds": round(now - begun, 3), "tries": tries}
        why = ended()
        if why is not None:
            raise TargetError(f"{target.base_url}: the server is gone: {why}")
        if now >= deadline:
            raise TargetError(
                f"{target.base_url}: not up after {health.limit_seconds:g} s: {problem}"
            )
        if now - told >= _TELL_SECONDS:
            told = now
            tell(f"waiting for {target.base_url}, {now - begun:.0f} s: {problem}")
        slept = waiting.sleep(min(_BACKOFF.seconds(tries, waiting.draw), deadline - now))
        if asyncio.iscoroutine(slept):
            await slept


class _Try:
    """One try to find a server up; knows what was asked last, for when its time is up."""

    def __init__(
        self, target: Target, health: Health, request: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._target = target
        self._health = health
        self._request = request
        self.asked = health.path

    async def problem(self) -> str | None:
        """Return what is not right yet; `None`: the server is up.

        Raises:
            TargetError: what will not become right by waiting.
        """
        refused: list[str] = []
        for path in dict.fromkeys((self._health.path, _MODELS)):
            self.asked = path
            status, problem = await _status(self._target, path)
            if status == 200:
                return await self._real_request()
            if self._decides(path) and status in (*_REFUSED, *_NO_SUCH):
                return await self._real_request()
            if status in _REFUSED:
                # A gateway may guard its health endpoint alone: what counts is what is measured.
                if path == _MODELS:
                    raise TargetError(
                        f"{self._target.url(path)} answers {status}: the key is missing or "
                        "was not accepted; see target.api_key_env"
                    )
                refused.append(problem)
            elif status not in _NO_SUCH:
                break
        return ", ".join([*refused, problem])

    def _decides(self, path: str) -> bool:
        """Whether a real request says more than this path: whoever names a model needs no list."""
        return path == _MODELS and self._target.model is not None and self._health.request

    async def _real_request(self) -> str | None:
        if not self._health.request:
            return None
        self.asked = "a request"
        return await self._request()


async def _status(target: Target, path: str) -> tuple[int | None, str]:
    import aiohttp  # a tenth of a second, which a climb of the simulator need not wait for

    headers = dict(target.headers)
    if target.api_key is not None:
        headers["Authorization"] = f"Bearer {target.api_key.get_secret_value()}"
    connector = (
        aiohttp.UnixConnector(target.uds)
        if target.uds
        else aiohttp.TCPConnector(ssl=tls_context(target) if target.tls else True)
    )
    limit = aiohttp.ClientTimeout(total=_ASK_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit, headers=headers) as session,
            session.get(target.url(path)) as answer,
        ):
            return answer.status, f"{path} answers {answer.status}"
    except TimeoutError:
        return None, f"{path} does not answer within {_ASK_SECONDS:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return None, f"{path}: {_fault(error)}"


def _fault(error: Exception) -> str:
    """Return what is wrong with a connection in the words of the system.

    aiohttp's own name the address again and, also for plain HTTP, TLS.
    """
    # That of a failed connection is in `os_error`.
    cause = getattr(error, "os_error", error)
    # The numbers of these two are not those of the system.
    if isinstance(cause, ssl.SSLError):
        return str(error)
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) and cause.errno:
        # Not its `strerror`, where asyncio says "Connect call failed ('127.0.0.1', 8000)".
        return os.strerror(cause.errno).lower()
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return str(cause) or type(error).__name__
