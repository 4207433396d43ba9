"""The simulator as an aiohttp application."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from benchcore.sim.answer import BabbleAnswerer
from benchcore.sim.ask import ApiError
from benchcore.sim.batching import Batch
from benchcore.sim.engine import Engine
from benchcore.sim.faults import FaultDice, RandomFault
from benchcore.sim.handlers import REQUEST_ID, Handlers
from benchcore.sim.metrics import Metrics
from benchcore.sim.truth import TruthLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from benchcore.sim.options import SimOptions

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY_BYTES = 64 * 1024 * 1024


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
    )
    key = options.api_key
    app = web.Application(
        client_max_size=_MAX_BODY_BYTES,
        middlewares=[_envelopes, _authorization(None if key is None else key.get_secret_value())],
    )
    app.add_routes(handlers.routes())
    app.on_response_prepare.append(_echo_request_id)

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
        problem = ApiError(error.status, error.reason, kind="HTTPError")
    return web.Response(
        status=problem.status,
        headers=problem.headers,
        body=orjson.dumps(problem.envelope()),
        content_type="application/json",
    )


def _authorization(key: str | None) -> Middleware:
    expected = None if key is None else f"Bearer {key}".encode()

    @web.middleware
    async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
        if expected is not None and request.path.startswith("/v1/"):
            given = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, expected):
                raise ApiError(401, "incorrect API key provided", kind="AuthenticationError")
        return await handler(request)

    return authorize


async def _echo_request_id(request: web.Request, response: web.StreamResponse) -> None:
    if (given := request.headers.get(REQUEST_ID)) is not None:
        response.headers[REQUEST_ID] = given
