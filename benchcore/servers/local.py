"""Local: a server as a command on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchcore.base.errors import ConfigError, ResultsError, TargetError
from benchcore.base.secrets import masked_environment, masked_text, secret_values
from benchcore.config.servers import LocalLaunch
from benchcore.servers.guard import living, signal_group
from benchcore.servers.health import Served

_GUARD: Final = Path(__file__).with_name("guard.py")
_TAIL_BYTES: Final = 65536
_LONGEST_LINE: Final = 500
"""Of the last lines, in characters: a progress bar or a dump would bury the others."""
_GUARD_SECONDS: Final = 10.0
"""How much longer than its server the guard may take to end."""
_KILL_SECONDS: Final = 5.0
"""How long the kernel may take to end what was killed."""
_POLL_SECONDS: Final = 0.05


class LocalServer:
    """A server that is started as a command, under a guard that ends it whatever happens.

    Args:
        config: what the scenario says of it.
        base: the folder of the scenario's file.
        logs: where its log goes.
        tell: takes a line for people.
        environ: the variables that it gets besides its own.
        secrets: values that are shown nowhere, besides those that a variable's name gives away.
    """

    def __init__(
        self,
        config: LocalLaunch,
        *,
        base: Path,
        logs: Path,
        tell: Callable[[str], None] = lambda _line: None,
        environ: Mapping[str, str] | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        self._config = config
        self._base = base
        self._log = logs / "service_local.log"
        self._tell = tell
        self._environ = {**(os.environ if environ is None else environ), **config.environment}
        self._secrets = secret_values(self._environ, secrets)
        self._guard: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ended: str | None = None
        self._group: int | None = None
        """The server's process group, as long as the guard has not said that it ended it."""
        self._left: list[int] = []

    def kept(self) -> Mapping[str, bytes]:
        """Return the command and the environment, the values of secrets masked."""
        config = self._config
        launch = {
            "command": [self._masked(word) for word in config.command],
            "environment": self._masked_environment(config.environment),
            "directory": None if config.directory is None else self._masked(str(self._directory())),
            "port": config.port,
            "base_url": self._masked(config.base_url),
        }
        inherited = self._masked_environment(self._environ)
        lines = [f"{name}={value}" for name, value in sorted(inherited.items())]
        return {
            "launch.json": json.dumps(launch, indent=2).encode() + b"\n",
            "environment.txt": "\n".join(lines).encode(errors="replace") + b"\n",
        }

    async def start(self) -> Served:
        """Start the command; it need not listen yet.

        Raises:
            ConfigError: the command or its folder is not there, or the port is taken.
            TargetError: the guard did not start.
        """
        config = self._config
        directory = self._directory()
        if directory is not None and not directory.is_dir():
            raise ConfigError(f"launch.local.directory: {directory}: is not a folder")
        port = _free_port() if config.port is None else _checked(config.port)
        command = [_put(word, port) for word in config.command]
        environment = {name: _put(value, port) for name, value in config.environment.items()}
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"{self._log.parent}: cannot be made ({error.strerror})") from None
        asked = {
            "command": command,
            "environment": {**self._environ, **environment},
            "directory": None if directory is None else str(directory),
            "log": str(self._log),
            "secrets": self._secrets,
            "stop_seconds": config.stop_seconds,
        }
        self._guard = guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_GUARD),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._listen())
        assert guard.stdin is not None
        with suppress(ConnectionError):  # it has ended, which we hear below
            guard.stdin.write(json.dumps(asked).encode() + b"\n")
            await guard.stdin.drain()
        said = await self._said.get()
        if "error" in said:
            fault = self._masked(said["error"])
            raise ConfigError(f"launch.local.command: {fault}; is it installed?")
        if "pid" not in said:
            raise TargetError("launch.local: the process that guards the server ended at once")
        shown = self._masked(" ".join(command))
        self._tell(f"started process {said['pid']}: {shown}")
        return Served(_put(config.base_url, port), {"pid": said["pid"], "port": port})

    def ended(self) -> str | None:
        """Return how the command has ended; `None` while it runs."""
        return self._ended

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the last lines of its log that are not empty, the long ones cut."""
        try:
            with self._log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                text = file.read(_TAIL_BYTES).decode(errors="replace")
        except OSError:  # it is not there, or what stands there cannot be read
            return []
        # A progress bar ends its lines with a carriage return.
        lines = [line for line in re.split(r"[\r\n]+", text) if line]
        return [_cut(line) for line in lines[-count:]]

    async def stop(self) -> list[str]:
        """End the server with all that it has started, and return what is left of it."""
        guard = self._guard
        if guard is None or self._listening is None:
            return []
        assert guard.stdin is not None
        guard.stdin.close()
        left = []
        if not await _ends(guard, self._config.stop_seconds + _GUARD_SECONDS):
            # Its pipe is closed and it kills the server itself: it can only hang on a dead disk.
            with suppress(ProcessLookupError):
                guard.kill()
            if not await _ends(guard, _KILL_SECONDS):
                left.append(f"process {guard.pid}, the guard of the server, does not end")
                self._listening.cancel()
        await asyncio.wait({self._listening})
        if self._group is not None:
            self._left = await self._end_group(self._group)
        left += [f"process {pid} of the server does not end" for pid in self._left]
        self._guard = self._group = None
        return left

    async def _end_group(self, group: int) -> list[int]:
        """End what a guard that died has left; returns what no signal ends."""
        found: list[int] = sorted(living(group))
        stop_seconds = self._config.stop_seconds
        for number, seconds in ((signal.SIGTERM, stop_seconds), (signal.SIGKILL, _KILL_SECONDS)):
            if found:
                signal_group(group, number)
            deadline = time.monotonic() + seconds
            while found and time.monotonic() < deadline:
                await asyncio.sleep(_POLL_SECONDS)
                found = sorted(living(group))
        return found

    def _masked(self, text: str) -> str:
        return masked_text(text, self._secrets)

    def _masked_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        # A value may hold the secret of another variable, such as in a list of options.
        shown = masked_environment(environment)
        return {name: self._masked(value) for name, value in shown.items()}

    def _directory(self) -> Path | None:
        return None if self._config.directory is None else self._base / self._config.directory

    async def _listen(self) -> None:
        assert self._guard is not None
        assert self._guard.stdout is not None
        async for line in self._guard.stdout:
            said = json.loads(line)
            if "note" in said:
                self._tell(said["note"])
                continue
            if "pid" in said:
                self._group = said["pid"]
            if "ended" in said:
                self._ended = _how(said["ended"], behind=said["behind"])
                self._left = said["left"]
                self._group = None
            self._said.put_nowait(said)
        self._ended = self._ended or "its guard has ended"
        self._said.put_nowait({})


def _put(text: str, port: int) -> str:
    return text.replace("{port}", str(port))


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"


def _how(status: int | None, *, behind: bool) -> str:
    if status is None:
        return "it does not end"
    if status < 0:
        return f"it was ended by signal {-status}"
    more = " and left processes behind: a server must stay in the foreground" if behind else ""
    return f"it ended with status {status}{more}"


async def _ends(process: asyncio.subprocess.Process, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _checked(port: int) -> int:
    with socket.socket() as probe, suppress(ConnectionRefusedError):
        probe.settimeout(1.0)
        probe.connect(("127.0.0.1", port))
        raise ConfigError(
            f"launch.local.port: something is already listening on {port}; stop it, "
            "or leave out port"
        )
    return port
