"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from benchcore.base.errors import TargetError

if TYPE_CHECKING:
    from types import TracebackType

    from benchcore.sim.options import SimOptions

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 3.0


class SimulatorProcess:
    """Starts ``python -m benchcore.sim`` and stops it; a context manager, sync and async.

    The process ends by itself when this one does, however it ends: it watches a pipe that
    the kernel closes then.

    Attributes:
        base_url: where it listens, once started.
        pid: its process id, once started.
    """

    def __init__(self, options: SimOptions | None = None) -> None:
        self._options = options
        self.base_url = ""
        self.pid = 0
        self._begun = False
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"SimulatorProcess(base_url={self.base_url!r}, pid={self.pid})"

    @property
    def options(self) -> SimOptions:
        """What the process is started with; may be set until then."""
        if self._options is None:
            from benchcore.sim.options import SimOptions  # heavy, and `begin` does without

            self._options = SimOptions()
        return self._options

    @options.setter
    def options(self, options: SimOptions) -> None:
        self._options = options

    def begin(self) -> Self:
        """Lets the process import what it needs, beside what is done before ``start``."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchcore.sim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the one who started it, and stops it in time.
            start_new_session=True,
            # It trusts nobody, and aiohttp would read the system's certificates for 50 ms.
            env={**os.environ, "SSL_CERT_FILE": os.devnull},
        )
        self._begun = True
        return self

    def start(self) -> Self:
        """Starts the process and returns when it takes requests.

        Raises:
            TargetError: it did not come up; the message says why.
        """
        if not self._begun:
            self.begin()
        self._begun = False
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended: what it greets with says why
                # Not through its buffer, which would be flushed into the broken pipe at the close.
                os.write(self._process.stdin.fileno(), _options_line(self.options))
            greeting = self._greeting()
        except BaseException:
            self.stop()
            raise
        self.base_url = greeting["base_url"]
        self.pid = self._process.pid
        return self

    def stop(self) -> int | None:
        """Ends the process, by SIGTERM and after a while by SIGKILL; more than once is fine.

        Returns:
            Its exit status, or None where it was never started.
        """
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return process.returncode

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _greeting(self) -> dict[str, str]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        deadline = time.monotonic() + _START_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(deadline - time.monotonic()):
                raise TargetError(
                    f"the simulator did not start within {_START_SECONDS:g} s; is the machine busy?"
                )
        line = process.stdout.readline()
        greeting: dict[str, str] = json.loads(line) if line else {}
        if "base_url" not in greeting:
            why = greeting.get("error", f"it ended with status {process.wait()}")
            raise TargetError(f"the simulator did not start: {why}")
        return greeting


def _options_line(options: SimOptions) -> bytes:
    from pydantic import SecretStr

    payload = options.model_dump(mode="json")
    for name in ("api_key", "expired_key"):
        if isinstance(key := getattr(options, name), SecretStr):
            payload[name] = key.get_secret_value()
    return json.dumps(payload).encode() + b"\n"
