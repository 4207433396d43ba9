"""Attendant: a process beside the measuring one that follows logs and carries connections.

Run as ``python -m benchcore.launch.attendant``. Both would disturb the event loop that measures.

The first line on standard input says what is attended, see `Attendance`. Each further one is a
command: ``{"forward": [[namespace, pod, port], …]}`` is answered with ``{"port": …}``, and
``{"guard": true}`` with ``{"guarded": true}``; from then on it says ``{"ended": "…"}`` when a pod
is lost. The end of standard input, which the kernel brings when the other process is gone, ends
this one.

On standard output, a line of JSON each: ``{"ready": true}``, answers, ``{"error": "…"}``, and at
any time ``{"note": "…"}`` and ``{"ended": "…"}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchcore.errors import BenchcoreError
from benchcore.launch.cluster import Cluster
from benchcore.launch.credentials import Access
from benchcore.launch.pod_logs import PodLogs
from benchcore.launch.port_forward import PortForward
from benchcore.launch.resources import POD, Json, uid_of
from benchcore.launch.vigil import Vigil
from benchcore.launch.watch import Watch

_AGAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Attendance:
    """What is attended.

    Args:
        kubeconfig: a file; `None` as for `Access`.
        context: of it.
        namespaces: where the pods are.
        selector: of their labels.
        folder: where the logs go.
        secrets: values that are masked in them.
    """

    kubeconfig: str | None
    context: str | None
    namespaces: tuple[str, ...]
    selector: str
    folder: str
    secrets: tuple[str, ...] = ()

    def line(self) -> bytes:
        """Return it as the first line of standard input."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Read the first line of standard input."""
        return cls(**json.loads(line))


class Attendant:
    """The child side: attends until its standard input ends."""

    def __init__(self, attendance: Attendance, cluster: Cluster) -> None:
        self._cluster = cluster
        folder = Path(attendance.folder)
        self._logs = PodLogs(cluster, folder, attendance.secrets, _note)
        query = [("labelSelector", attendance.selector)]
        self._watches = [
            Watch(cluster, POD, space, query, changed=self._look) for space in attendance.namespaces
        ]
        self._complete = False
        self._vigil: Vigil | None = None
        self._forward: PortForward | None = None
        self._noted: set[str] = set()

    async def attend(self, commands: asyncio.StreamReader) -> None:
        """Attend until there are no more commands.

        Raises:
            ConfigError: the pods must not be looked at.
            TargetError: the cluster cannot be reached.
        """
        for watch in self._watches:
            await watch.list()
        self._complete = True
        self._look()
        _say(ready=True)
        follows = [asyncio.create_task(self._keep_up(watch)) for watch in self._watches]
        try:
            while line := await commands.readline():
                await self._obey(json.loads(line))
        finally:
            # The followers see by the watch that a pod is gone: it ends after them.
            await self._logs.close()
            for follow in follows:
                follow.cancel()
            await asyncio.gather(*follows, return_exceptions=True)
            if self._forward is not None:
                await self._forward.close()

    async def _obey(self, command: Json) -> None:
        try:
            if "forward" in command:
                pods = [(space, name, port) for space, name, port in command["forward"]]
                self._forward = PortForward(self._cluster, pods, failed=self._note_once)
                _say(port=await self._forward.start())
            elif "guard" in command:
                for watch in self._watches:
                    await watch.list()  # the watch may be behind what the other process knows
                self._vigil = Vigil(self._pods())
                _say(guarded=True)
        except (BenchcoreError, OSError) as error:
            _say(error=str(error))

    async def _keep_up(self, watch: Watch) -> None:
        """Follow a watch for as long as it takes, whatever happens to the API server."""
        while True:
            try:
                await watch.follow()
            except BenchcoreError as error:
                self._note_once(f"pods are not followed for a while: {error}")
            await asyncio.sleep(_AGAIN_SECONDS)
            with suppress(BenchcoreError):  # as the next try will tell
                await watch.list()

    def _pods(self) -> dict[str, Json]:
        return {uid_of(pod): pod for watch in self._watches for pod in watch.objects.values()}

    def _look(self) -> None:
        if not self._complete:
            return
        pods = self._pods()
        self._logs.see(pods)
        if self._vigil is not None and (loss := self._vigil.loss(pods)) is not None:
            self._vigil = None
            _say(ended=loss)

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            _note(text)


def _note(text: str) -> None:
    _say(note=text)


def _say(**what: Any) -> None:
    with suppress(BrokenPipeError):  # whoever listened is gone: standard input ends as well
        print(json.dumps(what), flush=True)


async def _attend(attendance: Attendance) -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(0, "rb", buffering=0, closefd=False)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), pipe)
    async with Cluster(Access(attendance.kubeconfig, attendance.context)) as cluster:
        await Attendant(attendance, cluster).attend(commands)


def main() -> int:
    """Attend as the first line of standard input says."""
    line = _first_line()
    if not line:
        return 0  # whoever started us has gone before saying anything
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_attend(Attendance.read(line)))
    except BenchcoreError as error:
        _say(error=str(error))
        return error.exit_code
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: uvloop where there is one, every token may go through it."""
    try:
        import uvloop
    except ModuleNotFoundError:  # not on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _first_line() -> bytes:
    # Not sys.stdin: its buffer would swallow the commands that the loop waits for.
    line = bytearray()
    while byte := os.read(0, 1):
        if byte == b"\n":
            break
        line += byte
    return bytes(line)


if __name__ == "__main__":
    sys.exit(main())
