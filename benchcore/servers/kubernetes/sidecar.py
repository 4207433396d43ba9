"""Sidecar: a process beside the measuring one that follows logs and carries connections."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchcore.base.errors import BenchcoreError, TargetError
from benchcore.base.files import first_line
from benchcore.servers.kubernetes.address import PortForward
from benchcore.servers.kubernetes.cluster import Cluster
from benchcore.servers.kubernetes.pods import PodLogs, PodWatch
from benchcore.servers.kubernetes.resources import POD, Access, Json, uid_of
from benchcore.servers.kubernetes.watch import Watch

_AGAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class SidecarTask:
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


class Sidecar:
    """The child side: attends until its standard input ends."""

    def __init__(self, task: SidecarTask, cluster: Cluster) -> None:
        self._cluster = cluster
        folder = Path(task.folder)
        self._logs = PodLogs(cluster, folder, task.secrets, _note)
        query = [("labelSelector", task.selector)]
        self._watches = [
            Watch(cluster, POD, space, query, changed=self._look) for space in task.namespaces
        ]
        self._complete = False
        self._vigil: PodWatch | None = None
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
                self._vigil = PodWatch(self._pods())
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


async def _attend(task: SidecarTask) -> None:
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(0, "rb", buffering=0, closefd=False)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), pipe)
    async with Cluster(Access(task.kubeconfig, task.context)) as cluster:
        await Sidecar(task, cluster).attend(commands)


def main() -> int:
    """Attend as the first line of standard input says."""
    line = first_line(0)
    if not line:
        return 0  # whoever started us has gone before saying anything
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_attend(SidecarTask.read(line)))
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


if __name__ == "__main__":
    sys.exit(main())


_ANSWER_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0


class SidecarProcess:
    """Starts ``python -m benchcore.servers.kubernetes.sidecar``; it ends when this process does.

    Attributes:
        notes: what it had to say so far, besides answers.

    Args:
        task: what it follows and carries.
    """

    def __init__(self, task: SidecarTask) -> None:
        self.notes: list[str] = []
        self._task = task
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._ended: str | None = None

    async def start(self) -> None:
        """Start it, and return when it follows.

        Raises:
            TargetError: it cannot; says why.
        """
        await asyncio.to_thread(self._open)
        await self._ask(self._task.line(), "ready")

    def _open(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchcore.servers.kubernetes.sidecar"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # A Ctrl-C in the terminal is for benchcore, which ends it in time.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    async def forward(self, pods: Sequence[tuple[str, str, int]]) -> int:
        """Open a loopback port that leads to pods; return it.

        Args:
            pods: namespace, name and port of each.

        Raises:
            TargetError: it cannot; says why.
        """
        return int(await self._ask(_line(forward=[list(pod) for pod in pods]), "port"))

    async def guard(self) -> None:
        """Let `ended` tell from now on when one of the pods is lost.

        Raises:
            TargetError: it cannot; says why.
        """
        await self._ask(_line(guard=True), "guarded")

    def ended(self) -> str | None:
        """Return why a pod is no longer there; does not wait."""
        for _ in self._answers():
            pass
        return self._ended

    @property
    def failed(self) -> bool:
        """Whether the process ended before it was told to."""
        return self._process is not None and self._process.poll() is not None

    async def stop(self) -> None:
        """End it, by the end of its pipe and after a while by SIGKILL; more than once is fine."""
        if self._process is not None:
            await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not process.stdout.closed:
            self.ended()
            process.stdout.close()

    async def _ask(self, line: bytes, key: str) -> Any:
        self._write(line)
        return await asyncio.to_thread(self._answer, key)

    def _write(self, line: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
        except OSError:
            return  # it is gone, which whoever waits for the answer is told

    def _answer(self, key: str) -> Any:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + _ANSWER_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                for said in self._answers():
                    if "error" in said:
                        raise TargetError(said["error"])
                    if key in said:
                        return said[key]
                if process.poll() is not None:
                    raise TargetError(
                        f"the process that follows the logs ended with status "
                        f"{process.returncode}; its last words are above"
                    )
                # In short steps: a stop from another thread closes the pipe under the selector.
                ready = selector.select(_STEP_SECONDS)
                if not ready and time.monotonic() >= deadline:
                    raise TargetError(
                        f"the process that follows the logs did not answer within "
                        f"{_ANSWER_SECONDS:g} s; is the machine busy?"
                    )

    def _answers(self) -> Iterator[dict[str, Any]]:
        """Give what it said meanwhile, and keep what is news."""
        process = self._process
        if process is None or process.stdout is None or process.stdout.closed:
            return
        while True:
            try:
                data = os.read(process.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not data:
                break
            self._unread += data
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            said: dict[str, Any] = json.loads(line)
            if "note" in said:
                self.notes.append(said["note"])
            elif "ended" in said:
                self._ended = self._ended or said["ended"]
            else:
                yield said


def _line(**what: Any) -> bytes:
    return json.dumps(what).encode() + b"\n"
