"""Cluster: the one way to ask an API server; tries again what may pass, says what will not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp

from benchcore.base.backoff import Backoff
from benchcore.base.errors import BenchcoreError, ConfigError, TargetError
from benchcore.servers.kubernetes.resources import (
    Access,
    Json,
    Resource,
    api_client,
    api_path,
    listed_resources,
    one_line,
    preferred_versions,
)

APPLY: Final = "application/apply-patch+yaml"
FIELD_MANAGER: Final = "benchcore"
Query = Sequence[tuple[str, str]]
Sleep = Callable[[float], Awaitable[None]]

_ATTEMPTS: Final = 6
BACKOFF: Final = Backoff(first_seconds=0.25, most_seconds=8.0)
_LONGEST_ASKED_WAIT: Final = 30.0
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_USERS: Final = frozenset({400, 401, 403, 404, 405, 409, 413, 415, 422})
_TIMEOUT: Final = aiohttp.ClientTimeout(total=60, sock_connect=10)


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """What the API server said."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Json:
        """Return the object it sent; a `Status` is one as well."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def message(self) -> str:
        """What it says in words, as one line."""
        said = self.json().get("message") or self.body[:200].decode(errors="replace")
        return one_line(str(said))


class Cluster:
    """An API server and who asks it; an async context manager.

    Args:
        access: which cluster, and as whom.
        sleep: waits between two tries.
    """

    def __init__(self, access: Access, *, sleep: Sleep = asyncio.sleep) -> None:
        self.access = access
        self.sleep = sleep
        self._client: Any = None
        self._earlier: list[Any] = []
        self._resources: dict[str, list[Resource]] = {}

    async def __aenter__(self) -> Self:
        self._client = await api_client(self.access)
        return self

    async def __aexit__(self, *_: object) -> None:
        clients, self._earlier = [*self._earlier, self._client], []
        self._client = None
        for client in clients:
            if client is not None:
                await client.close()

    def __repr__(self) -> str:
        return f"Cluster({self.where})"

    @property
    def where(self) -> str:
        """Which cluster, for people."""
        host = self._client.configuration.host if self._client is not None else "not connected"
        context = self.access.context
        return f"cluster {host}" + (f" (context {context})" if context else "")

    async def ask(
        self,
        method: str,
        path: str,
        query: Query = (),
        *,
        body: Json | None = None,
        content_type: str = "application/json",
        accept: Collection[int] = (),
    ) -> ApiAnswer:
        """Ask once, and again where the fault may pass.

        Args:
            method: of HTTP.
            path: of the API server.
            query: after it.
            body: sent as JSON.
            content_type: of it.
            accept: the statuses from 300 that the caller understands.

        Raises:
            ConfigError: the server refused it for good; says why.
            TargetError: the server cannot be reached, or did not get over its fault.
        """

        async def once() -> ApiAnswer:
            response = await self._send(method, path, query, body, content_type, _TIMEOUT)
            async with response:
                return ApiAnswer(response.status, await response.read(), response.headers)

        answer: ApiAnswer = await self._tried(once, f"{method} {path}", accept)
        return answer

    @asynccontextmanager
    async def stream(
        self, path: str, query: Query, *, idle_seconds: float, accept: Collection[int] = ()
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for what comes bit by bit: a watch, or a log.

        Only opening it is tried again; the caller sees `aiohttp.ClientError`, `TimeoutError` and
        `OSError` of a stream that breaks.

        Args:
            path: of the API server.
            query: after it.
            idle_seconds: how long nothing may come.
            accept: the statuses from 300 that the caller understands.
        """
        timeout = aiohttp.ClientTimeout(sock_connect=10, sock_read=idle_seconds)

        async def once() -> aiohttp.ClientResponse | ApiAnswer:
            response = await self._send("GET", path, query, None, "application/json", timeout)
            if response.status == 200 or response.status in accept:
                return response
            async with response:
                return ApiAnswer(response.status, await response.read(), response.headers)

        response = await self._tried(once, f"GET {path}", accept)
        async with response:
            yield response

    @asynccontextmanager
    async def web_socket(
        self, path: str, query: Query, protocol: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a web socket to the API server; nothing is tried again.

        Raises:
            TargetError: it was not opened; says why.
        """
        client = self._client
        headers: dict[str, str] = {"User-Agent": client.user_agent}
        await client.update_params_for_auth(headers, [], ["BearerToken"])
        url = f"{client.configuration.host}{path}?{urlencode(query)}"
        try:
            # Neither compressed nor limited: what goes through is a measured stream.
            socket = await client.rest_client.pool_manager.ws_connect(
                url.replace("http", "ws", 1),
                protocols=(protocol,),
                headers=headers,
                compress=0,
                max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                proxy=client.configuration.proxy,
                **(
                    {"server_hostname": name}
                    if (name := client.rest_client.server_hostname)
                    else {}
                ),
            )
        except aiohttp.WSServerHandshakeError as error:
            raise TargetError(
                f"{self.where}: GET {path}: {error.status}: a tunnel was refused; "
                "allow get and create of pods/portforward, or use address: node_port"
            ) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TargetError(f"{self.where}: no tunnel: {_named(error)}") from None
        async with socket:
            yield socket

    async def version(self) -> str:
        """Return what the API server says of its version."""
        return str((await self.ask("GET", "/version")).json().get("gitVersion", "unknown"))

    async def resources(self, api_version: str, *, anew: bool = False) -> list[Resource]:
        """Return the kinds of a group and version; none where the cluster does not know it."""
        if anew or api_version not in self._resources:
            answer = await self.ask("GET", api_path(api_version), accept={404})
            known = listed_resources(answer.json()) if answer.status == 200 else []
            self._resources[api_version] = known
        return self._resources[api_version]

    async def resource(self, api_version: str, kind: str, *, anew: bool = False) -> Resource | None:
        """Return a kind; `None` where the cluster does not know it."""
        known = await self.resources(api_version, anew=anew)
        return next((one for one in known if one.kind == kind), None)

    async def all_resources(self) -> tuple[list[Resource], list[str]]:
        """Return every kind, in the version each group prefers, and what could not be looked at."""
        groups = preferred_versions((await self.ask("GET", "/apis")).json())
        found: list[Resource] = []
        unread: list[str] = []
        for api_version in ("v1", *groups):
            try:
                found += await self.resources(api_version)
            except BenchcoreError as error:
                # A group whose own server is down, such as that of metrics, is usual.
                unread.append(f"{api_version}: {error}")
        return found, unread

    async def list(self, path: str, query: Query = ()) -> tuple[list[Json], str]:
        """Return all objects of a path, and the version of the list.

        Raises:
            ConfigError: it must not be listed.
            TargetError: the server did not answer.
        """
        items: list[Json] = []
        goes_on = ""
        while True:
            more = [("continue", goes_on)] if goes_on else []
            accept = {410} if goes_on else set()
            answer = await self.ask("GET", path, [*query, ("limit", "500"), *more], accept=accept)
            if answer.status == 410:  # the pages are too old to be gone on with
                items, goes_on = [], ""
                continue
            page = answer.json()
            items += page.get("items") or ()
            about = page.get("metadata") or {}
            goes_on = about.get("continue") or ""
            if not goes_on:
                return items, str(about.get("resourceVersion", ""))

    async def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: Json | None,
        content_type: str,
        limits: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await self._client.call_api(
            path,
            method,
            query_params=list(query),
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limits,
        )
        return response

    async def _tried(
        self, once: Callable[[], Awaitable[Any]], what: str, accept: Collection[int]
    ) -> Any:
        failures = 0
        renewed = False
        while True:
            wait = BACKOFF.seconds(failures + 1)
            try:
                answer = await once()
            except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
                raise TargetError(
                    f"{self.where}: {_named(error)}; correct server and "
                    "certificate-authority in the kubeconfig"
                ) from None
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                fault: BenchcoreError = TargetError(
                    f"{self.where}: cannot be reached: {_named(error)}; "
                    "is it running, and is the network open to it?"
                )
            else:
                if answer.status < 300 or answer.status in accept:
                    return answer
                fault = self._fault(answer, what)
                if answer.status == 401 and not renewed:
                    # The token of a plug-in lives minutes, a run may take hours: get another.
                    renewed = True
                    await self._renew()
                    continue
                if not _may_pass(answer):
                    raise fault
                wait = _asked_wait(answer, wait)
            failures += 1
            if failures == _ATTEMPTS:
                raise fault
            await self.sleep(wait)

    async def _renew(self) -> None:
        client = await api_client(self.access)
        # What streams through the one before goes on: a tunnel must not break for a new token.
        self._earlier.append(self._client)
        self._client = client

    def _fault(self, answer: ApiAnswer, what: str) -> BenchcoreError:
        message = f"{self.where}: {what}: {answer.status}: {answer.message}"
        match answer.status:
            case 401:
                message += "; log in anew, or give another kubeconfig or context"
            case 403:
                message += "; give this account the right, or give another context"
            case 404:
                message += "; is this the right cluster?"
        return (ConfigError if answer.status in _USERS else TargetError)(message)


def _may_pass(answer: ApiAnswer) -> bool:
    if answer.status == 409:
        # Somebody wrote between reading and writing; that it is there already stays so.
        return answer.json().get("reason") == "Conflict"
    return answer.status in _PASSING


def _asked_wait(answer: ApiAnswer, wait: float) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_ASKED_WAIT) if asked.isdecimal() else wait


def _named(error: Exception) -> str:
    said = one_line(str(error))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
