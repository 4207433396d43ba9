"""The `benchcore serve` command."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click

from benchcore.base.errors import ConfigError
from benchcore.cli.driver import catch_signals, run_loop

if TYPE_CHECKING:
    from benchcore.runs.reading import RunFolder
    from benchcore.serve.app import Service

KINDS: Final = ("climb", "check", "eval", "run")
_LEAST_TOKEN: Final = 8


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8090,
    show_default=True,
    help="Listen on this port; 0 takes a free one.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Keep the folders of runs in this folder, and show those that are there.",
)
def serve(host: str, port: int, output: Path) -> int:
    """Start runs, follow them and show their pages over HTTP.

    Every request needs the token that is printed, or that BENCHCORE_SERVE_TOKEN holds. Whoever has
    it can run commands as you: a scenario starts whatever it says.
    """
    from benchcore.serve.jobs import TOKEN

    given = os.environ.get(TOKEN, "")
    if given and len(given) < _LEAST_TOKEN:
        raise ConfigError(f"{TOKEN}: is shorter than {_LEAST_TOKEN} characters")
    token = given or secrets.token_urlsafe(24)
    where = "" if given else f"?token={token}"
    asked = f"--host {host} --port {port}"
    return run_loop(_serve(host, port, output, token, KINDS, where, asked=asked))


def show_run(folder: Path, port: int) -> int:
    """Show the page of a run, and of those beside it, until interrupted; nothing can be started.

    Args:
        folder: of the run, finished or not.
        port: to listen on, on the loopback address; 0 takes a free one.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    token = secrets.token_urlsafe(24)
    where = f"runs/{quote(folder.resolve().name)}?token={token}"
    results, asked = folder.resolve().parent, f"--port {port}"
    return run_loop(_serve("127.0.0.1", port, results, token, (), where, asked=asked))


def _page(folder: RunFolder) -> str:
    from benchcore.show.pages import run_page

    return run_page(folder)


async def _serve(
    host: str,
    port: int,
    output: Path,
    token: str,
    kinds: tuple[str, ...],
    where: str,
    *,
    asked: str,
) -> int:
    from aiohttp import web

    from benchcore.cli.main import cli
    from benchcore.serve.app import Service

    context = click.Context(cli)
    commands = {name: command for name in kinds if (command := cli.get_command(context, name))}
    service: Service = Service(commands, output, token, _page)
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    stop = asyncio.Event()
    caught: list[int] = catch_signals(stop.set, quiet=True)
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"{asked}: cannot be listened on ({error.strerror}); take another port"
            ) from None
        address: Any = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        click.echo(f"http://{shown}:{address[1]}/{where}")
        await stop.wait()
    finally:
        await runner.cleanup()
    return 128 + caught[0] if caught and caught[0] != 2 else 0
