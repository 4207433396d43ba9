"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from pydantic import SecretStr

from benchcore.base.errors import TargetError
from benchcore.sim.options import SimOptions

if TYPE_CHECKING:
    from types import TracebackType

_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 3.0


class SimulatorProcess:
    """Starts ``python -m benchcore.sim`` and stops it; a context manager, sync and async.

    The process ends by itself when this one does, however it ends: it watches a pipe that
    the kernel closes then.

    Attributes:
        options: what the process is started with.
        base_url: where it listens, once started.
        pid: its process id, once started.
    """

    def __init__(self, options: SimOptions | None = None) -> None:
        self.options = SimOptions() if options is None else options
        self.base_url = ""
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"SimulatorProcess(base_url={self.base_url!r}, pid={self.pid})"

    def start(self) -> Self:
        """Starts the process and returns when it takes requests.

        Raises:
            TargetError: it did not come up; the message says why.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchcore.sim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the one who started it, and stops it in time.
            start_new_session=True,
            # It trusts nobody, and aiohttp would read the system's certificates for 50 ms.
            env={**os.environ, "SSL_CERT_FILE": os.devnull},
        )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_options_line(self.options))
            self._process.stdin.flush()
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
    payload = options.model_dump(mode="json")
    for name in ("api_key", "expired_key"):
        if isinstance(key := getattr(options, name), SecretStr):
            payload[name] = key.get_secret_value()
    return json.dumps(payload).encode() + b"\n"
