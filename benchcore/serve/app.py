"""App: the HTTP API and the pages of `benchcore serve`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import orjson
from aiohttp import web

from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.publish.live import CONTENT_TYPE, LiveFigures
from benchcore.runs.reading import RunFolder
from benchcore.serve.jobs import BusyError, Job, Jobs
from benchcore.serve.openapi import document

_EVENT_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_MOST_BODY: Final = 4 * 1024 * 1024
_PING_SECONDS: Final = 15.0
_REFRESH_SECONDS: Final = 5
"""After so long a browser asks anew for the page of a run that goes on."""
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MissingError(BenchcoreError):
    """There is no such run, job or file."""


class Service:
    """What `benchcore serve` answers.

    Args:
        commands: that can be asked for, by their names.
        results: where the folders of runs are.
        token: that each request must have; empty: none need have one.
        page: returns the page of a run.
    """

    def __init__(
        self,
        commands: Mapping[str, click.Command],
        results: Path,
        token: str,
        page: Callable[[RunFolder], str],
    ) -> None:
        self.figures = LiveFigures()
        self._jobs = Jobs(commands, results, self.figures.take, self.figures.ended)
        self._token = token
        # Browsers keep cookies by host, whatever the port: two services each have their own.
        self._cookie = f"benchcore_{hashlib.sha256(token.encode()).hexdigest()[:12]}"
        self._page = page
        self._document = document(commands)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=_MOST_BODY)
        app.add_routes(
            [
                web.get("/", self.index),
                web.get("/metrics", self.metrics),
                web.get("/api/openapi.json", self.openapi),
                web.get("/api/jobs", self.list_jobs),
                web.post("/api/jobs", self.start),
                web.get("/api/jobs/{id}", self.job),
                web.get("/api/jobs/{id}/events", self.events),
                web.post("/api/jobs/{id}/stop", self.stop),
                web.get("/api/runs", self.list_runs),
                web.get("/api/runs/{id}", self.run),
                web.get("/api/runs/{id}/files/{name}", self.file),
                web.get("/runs/{id}", self.page),
            ]
        )
        app.on_shutdown.append(self._close)
        return app

    async def _close(self, _app: web.Application) -> None:
        await self._jobs.close()

    # Who may ask.

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if not self._is_known(request):
            return _error(401, "give the token: Authorization: Bearer TOKEN, or ?token=TOKEN")
        try:
            answer = await handler(request)
        except BusyError as error:
            return _error(409, str(error))
        except MissingError as error:
            return _error(404, str(error))
        except ConfigError as error:
            return _error(400, str(error))
        except BenchcoreError as error:
            return _error(500, str(error))
        except web.HTTPException as error:
            return _error(error.status, error.reason)
        if "token" in request.query and not answer.prepared:
            # A browser keeps it, so that links need not have it in them.
            answer.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
        return answer

    def _is_known(self, request: web.Request) -> bool:
        if not self._token:
            return True
        scheme, _, said = request.headers.get("Authorization", "").partition(" ")
        given = [said] if scheme.lower() == "bearer" else []
        given.append(request.query.get("token", ""))
        if request.method in ("GET", "HEAD"):
            # A cookie only shows. A page of another port of this host is of the same site, so that
            # a browser would send it along with what that page posts.
            given.append(request.cookies.get(self._cookie, ""))
        ours = self._token.encode()
        return any(
            hmac.compare_digest(text.strip().encode(errors="surrogateescape"), ours)
            for text in given
        )

    # Runs that were asked for.

    async def openapi(self, _request: web.Request) -> web.Response:
        """Return the OpenAPI document."""
        return _json(self._document)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Return how the running load stands."""
        headers = {"Content-Type": CONTENT_TYPE}
        return web.Response(body=self.figures.exposition(), headers=headers)

    async def list_jobs(self, _request: web.Request) -> web.Response:
        """Return the runs that were asked for, the newest first."""
        jobs = [job.to_json() for job in reversed(self._jobs.all.values())]
        return _json({"jobs": jobs})

    async def start(self, request: web.Request) -> web.Response:
        """Start a run."""
        try:
            asked = orjson.loads(await request.read())
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"the body is no JSON: {error}") from None
        if not isinstance(asked, dict) or not isinstance(asked.get("options", {}), dict):
            raise ConfigError("the body is an object with command and options")
        unknown = asked.keys() - {"command", "options", "scenario"}
        if unknown:
            raise ConfigError(f"{min(unknown)}: is not known; give command, options and scenario")
        job = await self._jobs.start(
            str(asked.get("command")), asked.get("options", {}), asked.get("scenario")
        )
        return _json(job.to_json(), 201)

    def _job(self, request: web.Request) -> Job:
        job = self._jobs.all.get(request.match_info["id"])
        if job is None:
            raise MissingError(f"no run {request.match_info['id']} was asked for here")
        return job

    async def job(self, request: web.Request) -> web.Response:
        """Return how a run stands."""
        return _json(self._job(request).to_json())

    async def stop(self, request: web.Request) -> web.Response:
        """Let a run end."""
        job = self._job(request)
        self._jobs.stop(job)
        return _json(job.to_json(), 202)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Follow a run, from the event after the one that is known already."""
        job = self._job(request)
        said = request.headers.get("Last-Event-ID", "")
        known = int(said) if _EVENT_NUMBER.fullmatch(said) else 0
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await answer.prepare(request)
        ping = asyncio.create_task(_ping(answer))
        try:
            async for number, kind, told in job.follow(known):
                data = orjson.dumps(told).decode()
                await answer.write(f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode())
        finally:
            ping.cancel()
        await answer.write_eof()
        return answer

    # Runs whose results are kept.

    def _folders(self) -> list[Path]:
        folders = [path.parent for path in self._jobs.results.glob("*/run.json")]
        return sorted(folders, key=lambda path: path.name, reverse=True)

    def _folder(self, request: web.Request) -> Path:
        name = request.match_info["id"]
        # Only a name that is listed: no path of a stranger's is ever opened.
        for path in self._folders():
            if path.name == name:
                return path
        raise MissingError(f"there is no run {name} in the results")

    def _listed(self) -> list[dict[str, Any]]:
        return [_listed(path) for path in self._folders()]

    async def list_runs(self, _request: web.Request) -> web.Response:
        """Return the runs whose results are kept, the newest first."""
        return _json({"runs": await asyncio.to_thread(self._listed)})

    async def run(self, request: web.Request) -> web.Response:
        """Return the `run.json` of a run."""
        run = await asyncio.to_thread(lambda: RunFolder(self._folder(request)).run)
        return _json(run.whole())

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Return a file of a run."""
        folder, name = self._folder(request), request.match_info["name"]
        for path in folder.iterdir():
            if path.name == name and path.is_file() and not path.is_symlink():
                return web.FileResponse(path)
        raise MissingError(f"{folder.name} has no file {name}")

    async def page(self, request: web.Request) -> web.Response:
        """Return the page of a run, as it stands."""
        folder = self._folder(request)

        def made() -> tuple[str, bool]:
            run = RunFolder(folder)
            return self._page(run), run.run.status == "running"

        # Many requests take a while to read: meanwhile others are answered.
        page, goes_on = await asyncio.to_thread(made)
        headers = {"Refresh": str(_REFRESH_SECONDS)} if goes_on else {}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def index(self, _request: web.Request) -> web.Response:
        """Return a page with links to all runs."""
        running = self._jobs.running
        lines = [] if running is None else [f"<p>Running: {escape(running.kind)}.</p>"]
        rows = [
            f'<li><a href="/runs/{quote(run["run"])}">{escape(run["run"])}</a> '
            f"{escape(str(run['model'] or ''))}, {escape(run['status'])}</li>"
            for run in await asyncio.to_thread(self._listed)
        ]
        listed = f"<ul>{''.join(rows)}</ul>" if rows else "<p>There are no runs yet.</p>"
        return web.Response(
            text=_INDEX.format(lines="".join(lines) + listed), content_type="text/html"
        )


_INDEX: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>benchcore</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;"
    "max-width:60rem;margin:2rem auto;padding:0 1rem}}</style></head>"
    '<body><main><h1>Runs</h1>{lines}<p><a href="/api/openapi.json">API</a> · '
    '<a href="/metrics">metrics</a></p></main></body></html>'
)


def _listed(path: Path) -> dict[str, Any]:
    files = sorted(file.name for file in path.iterdir() if file.is_file())
    entry = {"run": path.name, "name": None, "started_at": None, "model": None, "files": files}
    try:
        run = RunFolder(path).run
    except ConfigError as error:
        return {**entry, "status": f"cannot be read: {error}"}
    said = {"name": run.name, "started_at": run.started_at, "model": run.target.model}
    return {**entry, **said, "status": run.status}


async def _ping(answer: web.StreamResponse) -> None:
    """Keep a quiet stream open: proxies close what says nothing."""
    with suppress(ConnectionError):
        while True:
            await asyncio.sleep(_PING_SECONDS)
            await answer.write(b": still here\n\n")


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _error(status: int, text: str) -> web.Response:
    return _json({"error": text}, status)
