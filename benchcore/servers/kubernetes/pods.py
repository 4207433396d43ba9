"""Pods: what ails them, when one is lost, and what they log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import aiohttp

from benchcore.base.errors import BenchcoreError
from benchcore.base.secrets import masked_text
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.resources import (
    POD,
    Json,
    condition,
    name_of,
    namespace_of,
    one_line,
    uid_of,
)

CRASHES: Final = 3
"""So many restarts in a crash loop are enough to give up."""

_NEVER: Final = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_FOR_GOOD: Final = re.compile(
    r"not found|manifest unknown|does not exist|unauthorized|denied|authentication required"
    r"|no match for platform",
    re.IGNORECASE,
)
# Their news is in the status of the pod, said better there; or there is none in them.
_SILENT: Final = frozenset({"BackOff", "Failed", "FailedToUpdateEndpoint", "NodeNotReady"})
_ONCE: Final = frozenset({"Unhealthy", "FailedScheduling", "FailedMount", "FailedAttachVolume"})
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is in the way.

    Args:
        text: what, in one line.
        key: of two troubles with the same key only the first is told.
        fatal: it will not heal.
        container: whose log says more, with its pod; `None` where nobody's does.
        crashed: the log is that of the container before.
    """

    text: str
    key: tuple[str, ...]
    fatal: bool = False
    container: tuple[str, str] | None = None
    crashed: bool = False


def pod_troubles(pod: Mapping[str, Any]) -> Iterator[Trouble]:
    """Give what is wrong with a pod."""
    name, status = name_of(pod), pod.get("status") or {}
    scheduled = condition(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        reason = scheduled.get("reason", "Unschedulable")
        said = _short(scheduled.get("message", ""))
        yield Trouble(f"pod {name}: {reason}: {said}", (name, reason))
    if status.get("phase") == "Failed" and status.get("reason"):
        said = _short(status.get("message", ""))
        yield Trouble(f"pod {name}: {status['reason']}: {said}", (name, status["reason"]))
    for one in container_statuses(pod):
        yield from _container_troubles(name, one)


def container_statuses(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of a pod's containers, those of its start first."""
    status = pod.get("status") or {}
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


def _container_troubles(pod: str, status: Mapping[str, Any]) -> Iterator[Trouble]:
    container, restarts = status["name"], status.get("restartCount", 0)
    place, whose = f"pod {pod}, container {container}", (pod, container)
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, said = waiting.get("reason", ""), _short(waiting.get("message", ""))
    ended = ending(status)
    if reason == "CrashLoopBackOff":
        yield Trouble(
            f"{place}: CrashLoopBackOff after {restarts} restarts: {ended or said}",
            (*whose, reason, str(restarts)),
            fatal=restarts >= CRASHES,
            container=whose,
            crashed=True,
        )
    elif reason in _PULL:
        # kubelet tries again for ever; what the registry does not have will not come.
        fatal = _FOR_GOOD.search(said) is not None
        yield Trouble(f"{place}: {reason}: {said}", (*whose, reason, str(fatal)), fatal=fatal)
    elif reason and reason not in _STARTING:
        yield Trouble(
            f"{place}: {reason}: {said}", (*whose, reason), fatal=reason in _NEVER, container=whose
        )
    elif ended is not None:
        yield Trouble(
            f"{place}: {ended}",
            (*whose, ended, str(restarts)),
            container=whose,
            crashed="terminated" not in (status.get("state") or {}),
        )


def ending(status: Mapping[str, Any]) -> str | None:
    """Return how a container ended last; `None` where it did not, or ended well."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended = state.get("terminated")
        if ended:
            code = ended.get("exitCode", 0)
            if code == 0:
                continue
            said = _short(ended.get("message", ""))
            how = f"{ended.get('reason') or 'Error'}, exit code {code}"
            return f"{how}: {said}" if said else how
    return None


def rollout_troubles(body: Mapping[str, Any]) -> Iterator[Trouble]:
    """Give what the object that makes pods says is wrong."""
    name = f"{body['kind']} {name_of(body)}"
    going = condition(body, "Progressing")
    if going is not None and going.get("reason") == "ProgressDeadlineExceeded":
        # A large model may take longer than the deadline, and come up after all.
        text = f"{name}: ProgressDeadlineExceeded: {_short(going.get('message', ''))}"
        yield Trouble(text, (name, "ProgressDeadlineExceeded"))
    failing = condition(body, "ReplicaFailure")
    if failing is not None and failing.get("status") == "True":
        said = _short(failing.get("message", ""))
        yield Trouble(f"{name}: {failing.get('reason')}: {said}", (name, "ReplicaFailure", said))


def event_trouble(event: Mapping[str, Any]) -> Trouble | None:
    """Return what an event warns of; `None` where it does not."""
    reason, said = event.get("reason", ""), _short(event.get("message", ""))
    pull = reason == "Failed" and said.startswith("Failed to pull image")
    if event.get("type") != "Warning" or (reason in _SILENT and not pull):
        return None
    about = event.get("involvedObject") or {}
    name = f"{str(about.get('kind', 'object')).lower()} {about.get('name')}"
    key = (name, reason) if reason in _ONCE else (name, reason, said)
    fatal = pull and _FOR_GOOD.search(said) is not None
    return Trouble(f"{name}: {reason}: {said}", key, fatal=fatal)


def _short(message: Any) -> str:
    line = one_line(str(message or ""))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


class PodWatch:
    """Compares pods with what they were.

    Args:
        pods: those that are there, by uid.
    """

    def __init__(self, pods: Mapping[str, Json]) -> None:
        self._names = {uid: name_of(pod) for uid, pod in pods.items() if not _is_over(pod)}
        self._ended = {(uid, name) for uid, pod in pods.items() for name in _ended(pod)}
        self._restarts = {uid: _restarts(pod) for uid, pod in pods.items()}

    def loss(self, pods: Mapping[str, Json]) -> str | None:
        """Return which pod is not what it was, and why; `None` where all are.

        Args:
            pods: those that are there now, by uid.
        """
        for uid, name in self._names.items():
            pod = pods.get(uid)
            if pod is None:
                return f"pod {name} is gone"
            if "deletionTimestamp" in pod["metadata"]:
                return f"pod {name} is being removed"
            status = pod.get("status") or {}
            if status.get("phase") == "Failed":
                return f"pod {name} failed: {status.get('reason') or _how(pod)}"
            for container, count in _restarts(pod).items():
                if count > self._restarts[uid].get(container, 0):
                    return f"pod {name}: container {container} was started again: {_how(pod)}"
            for container in _ended(pod):
                if status.get("phase") == "Running" and (uid, container) not in self._ended:
                    return f"pod {name}: container {container} ended: {_how(pod)}"
        return None


def _is_over(pod: Json) -> bool:
    """Tell whether a pod had done its work, as one of a Job has."""
    return (pod.get("status") or {}).get("phase") == "Succeeded"


def _ended(pod: Json) -> list[str]:
    found = (pod.get("status") or {}).get("containerStatuses") or ()
    return [one["name"] for one in found if "terminated" in (one.get("state") or {})]


def _restarts(pod: Json) -> dict[str, int]:
    return {one["name"]: one.get("restartCount", 0) for one in container_statuses(pod)}


def _how(pod: Json) -> str:
    return next(filter(None, map(ending, container_statuses(pod))), "it does not say why")


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
