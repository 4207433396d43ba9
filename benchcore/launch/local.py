"""Local: a server as a command on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchcore.config.launch import LocalLaunch
from benchcore.errors import ConfigError, TargetError
from benchcore.launch.protocol import Served
from benchcore.launch.secrets import masked_environment, masked_text, secret_values

_GUARD: Final = Path(__file__).with_name("guard.py")
_TAIL_BYTES: Final = 65536
_GUARD_SECONDS: Final = 10.0
"""How much longer than its server the guard may take to end."""


class LocalServer:
    """A server that is started as a command, under a guard that ends it whatever happens.

    Args:
        config: what the scenario says of it.
        base: the folder of the scenario's file.
        logs: where its log goes.
        tell: takes a line for people.
        environ: the variables that it gets besides its own.
    """

    def __init__(
        self,
        config: LocalLaunch,
        *,
        base: Path,
        logs: Path,
        tell: Callable[[str], None] = lambda _line: None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._base = base
        self._log = logs / "service_local.log"
        self._tell = tell
        self._environ = {**(os.environ if environ is None else environ), **config.environment}
        self._secrets = secret_values(self._environ)
        self._guard: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ended: str | None = None

    def kept(self) -> Mapping[str, bytes]:
        """Return the command and the environment, the values of secrets masked."""
        config = self._config
        launch = {
            "command": [masked_text(word, self._secrets) for word in config.command],
            "environment": masked_environment(config.environment),
            "directory": None if config.directory is None else str(self._directory()),
            "port": config.port,
            "base_url": config.base_url,
        }
        inherited = masked_environment(self._environ)
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
            raise ConfigError(f"launch.local.directory: {directory}: is no folder")
        port = _free_port() if config.port is None else _checked(config.port)
        command = [_put(word, port) for word in config.command]
        environment = {name: _put(value, port) for name, value in config.environment.items()}
        self._log.parent.mkdir(parents=True, exist_ok=True)
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
        assert guard.stdin is not None
        guard.stdin.write(json.dumps(asked).encode() + b"\n")
        await guard.stdin.drain()
        self._listening = asyncio.create_task(self._listen())
        said = await self._said.get()
        if "error" in said:
            raise ConfigError(f"launch.local.command: {said['error']}; is it installed?")
        if "pid" not in said:
            raise TargetError("launch.local: the guard of the server ended at once")
        shown = masked_text(" ".join(command), self._secrets)
        self._tell(f"started process {said['pid']}: {shown}")
        return Served(_put(config.base_url, port), {"pid": said["pid"], "port": port})

    def ended(self) -> str | None:
        """Return how the command has ended; `None` while it runs."""
        return self._ended

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the last lines of its log."""
        try:
            with self._log.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-count:]

    async def stop(self) -> list[str]:
        """End the whole process group and return what is left of it."""
        guard = self._guard
        if guard is None or self._listening is None:
            return []
        assert guard.stdin is not None
        guard.stdin.close()
        left = []
        try:
            async with asyncio.timeout(self._config.stop_seconds + _GUARD_SECONDS):
                await guard.wait()
        except TimeoutError:
            # Its pipe is closed and it kills the group itself: it can only hang on a dead disk.
            left.append(f"process {guard.pid}, the guard of the server, does not end")
            guard.kill()
            await guard.wait()
        await self._listening
        self._guard = None
        return left

    def _directory(self) -> Path | None:
        return None if self._config.directory is None else self._base / self._config.directory

    async def _listen(self) -> None:
        assert self._guard is not None
        assert self._guard.stdout is not None
        async for line in self._guard.stdout:
            said = json.loads(line)
            if "ended" in said:
                self._ended = _how(said["ended"])
            self._said.put_nowait(said)
        self._ended = self._ended or "its guard has ended"
        self._said.put_nowait({})


def _put(text: str, port: int) -> str:
    return text.replace("{port}", str(port))


def _how(status: int) -> str:
    return f"it was ended by signal {-status}" if status < 0 else f"it ended with status {status}"


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
            f"launch.local.port: something listens on {port} already; stop it, or leave port out"
        )
    return port
