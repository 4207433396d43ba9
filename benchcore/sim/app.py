"""The simulator as an aiohttp application."""

from __future__ import annotations

import hmac
import time
import uuid
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from benchcore.sim.admin import Admin
from benchcore.sim.answer import BabbleAnswerer
from benchcore.sim.ask import ApiError
from benchcore.sim.batching import Batch
from benchcore.sim.breaks.catalogue import known_break
from benchcore.sim.breaks.spoiling import SPOIL, spoil_headers, spoiling
from benchcore.sim.engine import Engine
from benchcore.sim.faults import FaultDice, RandomFault
from benchcore.sim.handlers import REQUEST_ID, Handlers
from benchcore.sim.metrics import Metrics
from benchcore.sim.truth import TruthLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Middleware
    from pydantic import SecretStr

    from benchcore.sim.options import SimOptions

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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
