"""Live: how a running load stands, as Prometheus' text: for `/metrics` of `climb` and `serve`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from benchcore.base.errors import ConfigError

_LIVE: Final = {
    "in_flight": "Requests on their way.",
    "tokens_per_second": "Output tokens of the last whole second.",
    "ttft_p50_seconds": "Median time to first token of the level so far.",
    "ttft_p99_seconds": "99th percentile of the time to first token of the level so far.",
    "ok": "Requests of the level that have ended well so far.",
    "failed": "Requests of the level that have failed so far.",
    "elapsed_seconds": "Since the level began.",
}
_LEVEL: Final = {
    "request_throughput": "Requests per second of the last level that is over.",
    "output_token_throughput": "Output tokens per second of the last level that is over.",
    "ttft.p99": "99th percentile of the time to first token of the last level that is over.",
    "failure_rate": "Share of requests that failed, of the last level that is over.",
}
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class LiveFigures(Collector):
    """Keeps what a feed tells, and shows it to whoever scrapes.

    What is not known has no sample, and of a run that is over nothing is live.
    """

    def __init__(self) -> None:
        self.running = False
        self.levels = 0
        self._live: dict[str, Any] = {}
        self._level: dict[str, Any] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def take(self, kind: str, told: dict[str, Any]) -> None:
        """Take what a feed tells."""
        if kind == "begin":
            self.running, self.levels, self._live, self._level = True, 0, {}, {}
        elif kind == "live":
            self._live = told
        elif kind == "level":
            self._level, self._live = told, {}
            self.levels += 1

    def ended(self) -> None:
        """Take notice that the run is over."""
        self.running, self._live = False, {}

    def collect(self) -> list[Metric]:
        """Return what there is to show."""
        families: list[Metric] = [
            GaugeMetricFamily("benchcore_running", "1 while a run goes on.", float(self.running)),
            GaugeMetricFamily(
                "benchcore_levels_done", "Levels of the run that are over.", float(self.levels)
            ),
        ]
        for prefix, texts, told in (
            ("benchcore_live_", _LIVE, self._live),
            ("benchcore_level_", _LEVEL, self._level),
        ):
            for key, text in texts.items():
                value = told.get(key)
                if value is not None:
                    name = prefix + key.replace(".", "_seconds_")
                    family = GaugeMetricFamily(name, text, labels=("level",))
                    family.add_metric((str(told["level"]),), float(value))
                    families.append(family)
        return families

    def exposition(self) -> bytes:
        """Return Prometheus' text."""
        return generate_latest(self._registry)


@asynccontextmanager
async def metrics_on(port: int, figures: LiveFigures) -> AsyncIterator[None]:
    """Answer `/metrics` on the loopback address for a while.

    Args:
        port: of it.
        figures: that are shown.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    from aiohttp import web

    async def shown(_request: web.Request) -> web.Response:
        return web.Response(body=figures.exposition(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/metrics", shown)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            raise ConfigError(
                f"--metrics-port {port}: cannot be listened on ({error.strerror}); take another"
            ) from None
        yield
    finally:
        await runner.cleanup()
