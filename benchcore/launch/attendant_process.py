"""Attendant process: the measuring process's side of the attendant."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchcore.errors import TargetError
from benchcore.launch.attendant import Attendance

_ANSWER_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.2
_STOP_SECONDS: Final = 5.0


class AttendantProcess:
    """Starts ``python -m benchcore.launch.attendant``; it ends when this process does.

    Attributes:
        notes: what it had to say so far, besides answers.

    Args:
        attendance: what is attended.
    """

    def __init__(self, attendance: Attendance) -> None:
        self.notes: list[str] = []
        self._attendance = attendance
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._ended: str | None = None

    async def start(self) -> None:
        """Start it, and return when it follows.

        Raises:
            TargetError: it cannot; says why.
        """
        await asyncio.to_thread(self._open)
        await self._ask(self._attendance.line(), "ready")

    def _open(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchcore.launch.attendant"],
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
                        f"what follows the logs ended with status {process.returncode}; "
                        "its last words are above"
                    )
                # In short steps: a stop from another thread closes the pipe under the selector.
                ready = selector.select(_STEP_SECONDS)
                if not ready and time.monotonic() >= deadline:
                    raise TargetError(
                        f"what follows the logs did not answer within {_ANSWER_SECONDS:g} s; "
                        "is the machine busy?"
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
