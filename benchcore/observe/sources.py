"""Sources: every page of metrics that a run reads, the target's own and those that are named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from benchcore.base.clock import NS
from benchcore.base.errors import TargetError
from benchcore.config.target import Target
from benchcore.observe.scraper import PAGE, Page, ServerMetrics


class MetricsSources:
    """The pages of metrics of a run.

    Args:
        target: whose own page is read where it has one, and whose `metrics_urls` are.
        on_page: told what is new on each page, and when it came in seconds of Unix time.
        unix_ns: the time of day in ns, and `monotonic_ns` that of CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        target: Target,
        on_page: Callable[[Page, float], None] = lambda _page, _seconds: None,
        *,
        unix_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._on_page = on_page
        self._epoch_ns = unix_ns() - monotonic_ns()
        self.target = ServerMetrics(target, on_page=self._told)
        """The target's own page; every target has this one, whether it is there or not."""
        self.others: list[ServerMetrics] = []
        """Those that were named, without the target's own."""
        for place in _places(target):
            source = ServerMetrics(*place, self._told, picks=False)
            alike = [other.source.partition(" #")[0] for other in self.others].count(source.source)
            if alike:
                source.source += f" #{alike + 1}"
            if source.source != self.target.source:
                self.others.append(source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(source.close() for source in self.all))

    def _told(self, page: Page) -> None:
        self._on_page(page, self.unix_seconds(page.at_ns))

    @property
    def all(self) -> list[ServerMetrics]:
        """All of them."""
        return [self.target, *self.others]

    def unix_seconds(self, at_ns: int) -> float:
        """Return the time of day of an instant of CLOCK_MONOTONIC.

        That clock is set against the other once a run, so that times of one run never jump.
        """
        return (self._epoch_ns + at_ns) / NS

    async def read_others(self) -> None:
        """Read every page that was named.

        Raises:
            TargetError: one is not there.
        """
        await asyncio.gather(*(source.read() for source in self.others))
        for source in self.others:
            if source.available is False:
                what = (
                    f"answers {source.status}, and no metrics in Prometheus's format"
                    if source.status
                    else "does not answer"
                )
                raise TargetError(
                    f"--metrics-url {source.source}: {what}; name the whole address of a page "
                    "of metrics, or leave it out"
                )


def _places(target: Target) -> Iterator[tuple[Target, str]]:
    """Yield whom to ask for each page that was named, and its path.

    Keys and headers go to the target's own server alone.
    """
    for address in dict.fromkeys(target.metrics_urls):
        origin, slash, path = address.partition("://")[2].partition("/")
        place = Target(f"{address.partition('://')[0]}://{origin}")
        same = place.base_url == target.url("").removesuffix(target.server_root)
        fields: dict[str, Any] = {"verify": target.verify, "ca_file": target.ca_file}
        if same:
            fields |= {"api_key": target.api_key, "headers": target.headers}
        yield place.model_copy(update=fields), f"{slash}{path}" or PAGE
