"""The simulator as an aiohttp application, served until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import hmac
import os
import signal
import socket
import ssl
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from benchcore.sim.answer import BabbleAnswerer
from benchcore.sim.batching import Batch
from benchcore.sim.breaks import known_break
from benchcore.sim.breaks.spoiling import SPOIL, spoil_headers, spoiling
from benchcore.sim.engine import Engine
from benchcore.sim.faults import FaultDice, RandomFault
from benchcore.sim.handlers import REQUEST_ID, Handlers
from benchcore.sim.requests import read_object, read_tokenize
from benchcore.sim.telemetry import Metrics, TruthLog
from benchcore.sim.validation import ApiError, unknown_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Middleware
    from pydantic import SecretStr

    from benchcore.sim.options import SimOptions, SimProfile

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Admin:
    """Tells of the server: models, health, metrics, tokens."""

    def __init__(self, profile: SimProfile, engine: Engine, metrics: Metrics, created: int) -> None:
        self._profile = profile
        self._engine = engine
        self._metrics = metrics
        self._created = created

    def routes(self) -> list[web.RouteDef]:
        """Every path and what answers it."""
        return [
            web.get("/v1/models", self.models),
            web.get("/v1/models/{name}", self.model),
            web.get("/health", self.health),
            web.get("/version", self.version),
            web.get("/metrics", self.metrics),
            web.post("/tokenize", self.tokenize),
            web.post("/reset_prefix_cache", self.reset_prefix_cache),
        ]

    async def models(self, _request: web.Request) -> web.Response:
        """GET /v1/models."""
        return _json({"object": "list", "data": [self._model()]})

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{name}."""
        name = request.match_info["name"]
        if name != self._profile.model:
            raise unknown_model(name, self._profile.model)
        return _json(self._model())

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._profile.model,
            "object": "model",
            "created": self._created,
            "owned_by": "benchcore",
            "root": self._profile.model,
            "max_model_len": self._profile.max_model_len,
        }

    async def health(self, _request: web.Request) -> web.Response:
        """GET /health."""
        return web.Response()

    async def version(self, _request: web.Request) -> web.Response:
        """GET /version."""
        return _json({"version": "benchcore-sim"})

    async def metrics(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        return web.Response(
            body=self._metrics.exposition(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def tokenize(self, request: web.Request) -> web.Response:
        """POST /tokenize."""
        tokens = read_tokenize(read_object(await request.read()))
        return _json(
            {
                "count": len(tokens),
                "max_model_len": self._profile.max_model_len,
                "tokens": tokens,
                "token_strs": None,
            }
        )

    async def reset_prefix_cache(self, _request: web.Request) -> web.Response:
        """POST /reset_prefix_cache."""
        self._engine.batch.pool.reset()
        return web.Response()


def _json(payload: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")


def make_app(options: SimOptions) -> web.Application:
    """Builds the application; the engine starts with it and stops with it.

    Must be called on the running event loop that will serve it.

    Raises:
        OSError: the truth log cannot be opened.
    """
    batch = Batch(options.profile, options.seed)
    metrics = Metrics(batch, options.profile)
    engine = Engine(batch, metrics)
    truth = None if options.truth is None else TruthLog(options.truth)
    handlers = Handlers(
        options.profile,
        engine,
        metrics,
        BabbleAnswerer(options.profile, options.seed),
        FaultDice(map(RandomFault.parse, options.faults), options.seed),
        truth,
        options.max_waiting,
    )
    admin = Admin(options.profile, engine, metrics, int(time.time()))
    middlewares = [
        _envelopes,
        _authorization(_bearer(options.api_key), _bearer(options.expired_key)),
    ]
    if options.breaks:
        middlewares.insert(0, spoiling([known_break(name) for name in options.breaks]))
    app = web.Application(client_max_size=options.max_body_bytes, middlewares=middlewares)
    app.add_routes(handlers.routes())
    app.add_routes(admin.routes())
    app.on_response_prepare.append(_echo_request_id)
    if options.breaks:
        app.on_response_prepare.append(spoil_headers)

    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        yield
        engine.close()
        if truth is not None:
            truth.close()

    app.cleanup_ctx.append(lifetime)
    return app


@web.middleware
async def _envelopes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives every error OpenAI's envelope."""
    try:
        return await handler(request)
    except ApiError as error:
        problem = error
    except web.HTTPException as error:
        allow = error.headers.get("Allow")
        problem = ApiError(
            error.status,
            error.reason,
            kind="HTTPError",
            headers=None if allow is None else {"Allow": allow},
        )
    return web.Response(
        status=problem.status,
        headers=problem.headers,
        body=orjson.dumps(problem.envelope()),
        content_type="application/json",
    )


def _bearer(key: SecretStr | None) -> bytes | None:
    return None if key is None else f"Bearer {key.get_secret_value()}".encode()


def _authorization(expected: bytes | None, expired: bytes | None) -> Middleware:
    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        open_door = SPOIL in request and request[SPOIL].flag("open_door")
        if expected is not None and request.path.startswith("/v1/") and not open_door:
            given = request.headers.get("Authorization", "").encode()
            if expired is not None and hmac.compare_digest(given, expired):
                raise _unauthorized("the API key has expired", "expired_api_key")
            if not hmac.compare_digest(given, expected):
                raise _unauthorized("incorrect API key provided", "invalid_api_key")
        return await handler(request)

    return authorize


def _unauthorized(message: str, code: str) -> ApiError:
    return ApiError(
        401,
        message,
        kind="AuthenticationError",
        code=code,
        headers={"WWW-Authenticate": "Bearer"},
    )


async def _echo_request_id(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[REQUEST_ID] = request.headers.get(REQUEST_ID) or str(uuid.uuid4())


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
