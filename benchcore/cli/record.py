"""The `benchcore record` command."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from benchcore.base.errors import ConfigError
from benchcore.cli.driver import run_loop
from benchcore.cli.terminal import show_json

if TYPE_CHECKING:
    from benchcore.config.target import Target

EXAMPLES = """\
benchcore record --to http://gpu0:8000 --port 9000 --output trace.jsonl
benchcore climb --base-url http://gpu0:8000 --workload mooncake,path=trace.jsonl
"""


@click.command(epilog=EXAMPLES)
@click.option("--to", "to", required=True, metavar="URL", help="Pass everything on to this server.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen on this address.")
@click.option(
    "--port",
    default=9000,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Listen on this port; 0 picks a free one.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.jsonl"),
    show_default=True,
    help="Write the trace to this file, which must not be there yet.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["benchcore", "mooncake", "weka"]),
    default="benchcore",
    show_default=True,
    help="Write the trace in this form; weka is written at the end.",
)
@click.option(
    "--texts", is_flag=True, help="Keep bodies and answers in the trace, not only their hashes."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was recorded as JSON.")
def record(
    *,
    to: str,
    host: str,
    port: int,
    output: Path,
    form: Literal["benchcore", "mooncake", "weka"],
    texts: bool,
    as_json: bool,
) -> int:
    """Record the requests of a server's real clients, as a trace that can be replayed.

    A reverse proxy passes every byte through unchanged and writes the time, the lengths, the prefix
    and the session of each request. Texts are not in the trace: prefixes are salted hashes. It ends
    at SIGINT or SIGTERM.
    """
    from benchcore.cli.target import validated
    from benchcore.config.target import Target

    if texts and form != "benchcore":
        raise click.UsageError(f"--texts: the format {form} has no place for texts")
    if output.exists():
        raise ConfigError(f"--output {output}: is there already; name another file")
    target = validated(lambda: Target(to))
    return run_loop(_record(target, host, port, output, form, texts=texts, as_json=as_json))


async def _record(
    target: Target,
    host: str,
    port: int,
    output: Path,
    form: Literal["benchcore", "mooncake", "weka"],
    *,
    texts: bool,
    as_json: bool,
) -> int:
    from benchcore.recording.proxy import Proxy
    from benchcore.recording.tap import HTTPTap
    from benchcore.recording.trace import Trace

    trace = Trace(output, form, texts=texts)
    said: set[str] = set()

    def say(problem: str) -> None:
        if problem not in said:
            said.add(problem)
            click.echo(f"benchcore: {problem}", err=True)

    unread = "a connection is not HTTP/1.1: it is passed on and not recorded"
    proxy = Proxy(target, lambda: HTTPTap(trace.begun, trace.ended, lambda: say(unread)), say)
    try:
        base_url = await proxy.open(host, port)
    except OSError as error:
        raise click.UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}"
        ) from None
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(which, ended.set)
    begun = f"recording {target.base_url} at {base_url} into {output}; end it with Ctrl+C"
    click.echo(begun, err=as_json)  # with --json standard output holds the result alone
    making = loop.create_task(trace.run())
    waiting = loop.create_task(ended.wait())
    await asyncio.wait({making, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    await proxy.close()
    failed = making.done()
    making.cancel()
    (problem,) = await asyncio.gather(making, return_exceptions=True)
    if failed and isinstance(problem, Exception):
        raise problem
    await trace.finish()
    if as_json:
        recorded = {"recorded": trace.recorded, "passed_over": trace.passed_over}
        show_json({**recorded, "file": str(output), "format": form})
        return 0
    over = f", {trace.passed_over} passed over" if trace.passed_over else ""
    click.echo(f"{trace.recorded} request(s) recorded{over}: {output}")
    return 0
