"""The simulator's endpoints that generate nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from benchcore.sim.ask import ApiError, read_object, read_tokenize

if TYPE_CHECKING:
    from benchcore.sim.engine import Engine
    from benchcore.sim.metrics import Metrics
    from benchcore.sim.profile import SimProfile


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


def unknown_model(name: str, known: str) -> ApiError:
    """Returns the refusal of a model that is not there."""
    return ApiError(
        404,
        f"the model {name!r} does not exist; this server has {known!r}",
        kind="NotFoundError",
        param="model",
    )


def _json(payload: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(payload), content_type="application/json")
