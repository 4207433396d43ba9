"""Serves the simulator until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
from typing import TYPE_CHECKING, Final

from aiohttp import web

from benchcore.sim.app import make_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchcore.sim.options import SimOptions

_BACKLOG: Final = 4096
_GRACE_SECONDS: Final = 0.2


async def start(options: SimOptions) -> tuple[web.AppRunner, str]:
    """Starts a simulator on the running loop.

    Returns:
        The runner, whose ``cleanup()`` stops it, and the base URL to aim at.

    Raises:
        OSError: the address cannot be listened on, or a file cannot be opened.
        ssl.SSLError: the certificate and key are not usable.
    """
    context = None
    if options.certfile is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certfile, options.keyfile)
    runner = web.AppRunner(
        make_app(options),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=_GRACE_SECONDS,
    )
    await runner.setup()
    scheme = "http" if context is None else "https"
    try:
        if options.uds is not None:
            await web.UnixSite(runner, options.uds, ssl_context=context, backlog=_BACKLOG).start()
            return runner, f"{scheme}://localhost"
        listener = _listen(options.host, options.port)
        await web.SockSite(runner, listener, ssl_context=context, backlog=_BACKLOG).start()
    except OSError:
        await runner.cleanup()
        raise
    host = f"[{options.host}]" if ":" in options.host else options.host
    return runner, f"{scheme}://{host}:{listener.getsockname()[1]}"


def serve(
    options: SimOptions,
    ready: Callable[[str], None],
    *,
    watch_parent: bool = False,
) -> signal.Signals | None:
    """Serves until SIGINT or SIGTERM, on uvloop where there is one.

    Args:
        options: what to serve.
        ready: called once with the base URL when requests are taken.
        watch_parent: end also when stdin reaches its end, as it does when the parent is gone.

    Returns:
        The signal that ended it, or None where the parent did.

    Raises:
        OSError: the address cannot be listened on, or a file cannot be opened.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(options, ready, watch_parent=watch_parent))


async def _serve(
    options: SimOptions, ready: Callable[[str], None], *, watch_parent: bool
) -> signal.Signals | None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals | None] = loop.create_future()

    def end(why: signal.Signals | None) -> None:
        if not ended.done():
            ended.set_result(why)

    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, end, which)
    if watch_parent:
        stdin = sys.stdin.fileno()

        def parent_gone() -> None:
            if not os.read(stdin, 4096):
                loop.remove_reader(stdin)
                end(None)

        loop.add_reader(stdin, parent_gone)
    runner, base_url = await start(options)
    try:
        gc.collect()
        gc.freeze()
        ready(base_url)
        return await ended
    finally:
        await runner.cleanup()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
