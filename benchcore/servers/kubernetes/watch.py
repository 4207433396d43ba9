"""Watch: the objects of a path as they are now, and word of each change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp

from benchcore.base.errors import TargetError
from benchcore.servers.kubernetes.cluster import BACKOFF, Cluster, Query
from benchcore.servers.kubernetes.resources import Json, Resource, name_of, namespace_of, one_line

_LASTS_SECONDS: Final = 60
"""The server ends a watch after this; a short one shows early that a connection is dead."""
_IDLE_SECONDS: Final = 75.0
_FAILURES: Final = 6
_BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError)


class Watch:
    """A list that is kept up to date.

    Attributes:
        objects: what is there, by namespace and name.

    Args:
        cluster: where.
        resource: the kind of the objects.
        namespace: where they are; `None` for all, or for what lives in none.
        query: such as a selector of labels.
        changed: called after each change.
    """

    def __init__(
        self,
        cluster: Cluster,
        resource: Resource,
        namespace: str | None,
        query: Query = (),
        *,
        changed: Callable[[], None],
    ) -> None:
        self.objects: dict[tuple[str | None, str], Json] = {}
        self._cluster = cluster
        self._kind = resource.kind
        self._path = resource.path(namespace)
        self._query = list(query)
        self._changed = changed
        self._version = ""

    async def list(self) -> None:
        """List the objects anew.

        Raises:
            ConfigError: they must not be listed.
            TargetError: the server did not answer.
        """
        items, self._version = await self._cluster.list(self._path, self._query)
        for one in items:
            one.setdefault("kind", self._kind)  # which lists leave out
        self.objects = {(namespace_of(one), name_of(one)): one for one in items}
        self._changed()

    async def follow(self) -> None:
        """Keep the list up to date; does not return.

        Raises:
            ConfigError: they must not be watched.
            TargetError: the server did not get over its faults.
        """
        failures = 0
        while True:
            seen = False
            try:
                async for event in self._events():
                    if event["type"] == "ERROR":
                        await self._start_over(event["object"])
                        break
                    seen = True
                    failures = 0
                    self._take(event["type"], event["object"])
            except _BROKEN as error:
                failures += 1
                if failures == _FAILURES:
                    raise TargetError(
                        f"{self._cluster.where}: the watch of {self._path} breaks again and "
                        f"again: {type(error).__name__}: {one_line(str(error))}"
                    ) from None
            if not seen:
                # A server that ends every watch at once would be asked without a pause.
                await self._cluster.sleep(BACKOFF.seconds(max(failures, 1)))

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        query = [
            *self._query,
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version),
            ("timeoutSeconds", str(_LASTS_SECONDS)),
        ]
        async with self._cluster.stream(self._path, query, idle_seconds=_IDLE_SECONDS) as response:
            async for line in response.content:
                try:
                    event: dict[str, Any] = json.loads(line)
                except ValueError:
                    # A connection that breaks may break inside a line.
                    raise aiohttp.ClientPayloadError("ended inside an event") from None
                yield event

    async def _start_over(self, status: Json) -> None:
        """Deal with an error inside a watch: mostly 410, that its version is too old."""
        if status.get("code") not in {410, 429, 500, 503, 504}:
            raise TargetError(
                f"{self._cluster.where}: watch of {self._path}: {one_line(str(status))}"
            )
        await self.list()

    def _take(self, kind: str, body: Json) -> None:
        self._version = str(body["metadata"].get("resourceVersion", self._version))
        if kind == "BOOKMARK":
            return
        key = (namespace_of(body), name_of(body))
        if kind == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = body
        self._changed()
