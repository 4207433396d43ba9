"""Pod logs: what the containers of a run say, followed into files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp

from benchcore.errors import BenchcoreError
from benchcore.launch.cluster import Cluster
from benchcore.launch.resources import POD, Json, name_of, namespace_of, uid_of
from benchcore.launch.troubles import container_statuses
from benchcore.secrets import masked_text

_AGAIN_SECONDS: Final = 0.5
_IDLE_SECONDS: Final = 300.0
"""A connection that is silent for longer is opened anew: it may be dead."""
_LONGEST_LINE: Final = 1 << 20
_LAST_SECONDS: Final = 1.0


def log_file(pod: str, container: str) -> str:
    """Return the name of the file that holds what a container says."""
    return f"service_{pod}_{container}.log"


class PodLogs:
    """Follows the log of every container that is shown to it.

    Args:
        cluster: where they run.
        folder: where the files go.
        secrets: values that are masked.
        note: takes what a reader of the logs must know.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        secrets: Sequence[str],
        note: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._folder = folder
        self._secrets = secrets
        self._note = note
        self._pods: dict[str, Json] = {}
        self._news = asyncio.Event()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def see(self, pods: Mapping[str, Json]) -> None:
        """Take the pods that are there now, by their uid, and follow what has started."""
        self._pods = dict(pods)
        self._news.set()
        self._news = asyncio.Event()
        for uid, pod in pods.items():
            for status in container_statuses(pod):
                key = (uid, status["name"])
                started = not (status.get("state") or {}).get("waiting") or status.get("lastState")
                if started and status.get("state") and key not in self._tasks:
                    self._tasks[key] = asyncio.create_task(self._follow(pod, status["name"]))

    async def close(self) -> None:
        """Take the last words, for a moment, and end."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_LAST_SECONDS)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _may_say_more(self, uid: str, container: str) -> bool:
        """Wait, after the end of its log, until a container runs again; it may never."""
        while uid in self._pods:
            await self._change()
            pod = self._pods.get(uid, {})
            if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
                return False
            found = (one for one in container_statuses(pod) if one["name"] == container)
            if "running" in (next(found, {}).get("state") or {}):
                return True
        return False

    async def _change(self) -> None:
        """Wait until there is news of the pods, or a while."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), _AGAIN_SECONDS)

    async def _follow(self, pod: Json, container: str) -> None:
        path = f"{POD.path(namespace_of(pod), name_of(pod))}/log"
        file = self._folder / log_file(name_of(pod), container)
        with file.open("ab", buffering=0) as output:
            log = _Log(output, self._secrets)
            while True:
                broke = False  # then there may be more of it
                query = [("container", container), ("follow", "true"), ("timestamps", "true")]
                if log.last:
                    query.append(("sinceTime", log.last))
                try:
                    async with self._cluster.stream(
                        path, query, idle_seconds=_IDLE_SECONDS, accept={400, 404}
                    ) as response:
                        if response.status == 200:
                            async for line in _lines(response.content):
                                log.take(line)
                        elif response.status == 404:
                            return
                except (aiohttp.ClientError, OSError, TimeoutError):
                    broke = True
                except BenchcoreError as error:
                    self._note(f"the log of {name_of(pod)}/{container} is not followed: {error}")
                    return
                if broke:
                    await self._change()
                elif not await self._may_say_more(uid_of(pod), container):
                    return


class _Log:
    """A file of what a container says, without the time stamps and without secrets.

    Attributes:
        last: the stamp of the last line, from which to go on after a break.
    """

    def __init__(self, output: BinaryIO, secrets: Sequence[str]) -> None:
        self.last = ""
        self._output = output
        self._secrets = secrets

    def take(self, line: bytes) -> None:
        """Take a line; one that is known is left out: the server goes back to a whole second."""
        stamp, _, text = line.partition(b" ")
        when = stamp.decode(errors="replace")
        if not _comparable(when):
            text = line
        elif _comparable(when) <= _comparable(self.last):
            return
        else:
            self.last = when
        said = masked_text(text.decode(errors="surrogateescape"), self._secrets)
        self._output.write(said.encode(errors="surrogateescape"))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line + b"\n"
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = b""
    if rest:
        yield rest


def _comparable(stamp: str) -> str:
    """Return a time of RFC 3339 so that texts sort as times: trailing zeros are left out there."""
    if len(stamp) < 20 or stamp[4] != "-" or stamp[10] != "T":
        return ""
    seconds, rest = stamp[:19], stamp[19:]
    digits = rest[1:].rstrip("Z").partition("+")[0] if rest.startswith(".") else ""
    return f"{seconds}.{digits.ljust(9, '0')}"


def last_lines(folder: Path, count: int) -> list[str]:
    """Return the last lines of the logs in a folder: of the one that was written last.

    Args:
        folder: where the logs are.
        count: how many lines.
    """
    files = [file for file in folder.glob("service_*.log") if file.stat().st_size]
    if not files:
        return []
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    with newest.open("rb") as log:
        log.seek(max(0, newest.stat().st_size - 65536))
        text = log.read().decode(errors="replace")
    return text.splitlines()[-count:]
