"""Jobs: runs that were asked for over HTTP, each a command in a process of its own.

A process of its own, since what serves pages must not share an event loop with what measures. What
a request asks is a command and its options, as the command line has them: an option that is added
there can be asked for here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import orjson

from benchcore.base.clock import utc_now
from benchcore.base.errors import BenchcoreError, ConfigError
from benchcore.base.plugins import nearest
from benchcore.base.secrets import masked_arguments
from benchcore.show.feed import DESCRIPTOR

NOT_ASKED: Final = frozenset(
    {
        *("output", "json", "quiet", "log_format", "log_level", "no_progress", "folder"),
        *("progress_interval", "print_request", "dry_run", "with_parent", "lock", "help"),
        *("metrics_port", "resume", "plain"),
    }
)
"""Options that are ours to give, or that have no meaning here."""
TOKEN: Final = "BENCHCORE_SERVE_TOKEN"
"""The variable that holds the service's token; nothing that is started here has it."""
_MOST_EVENTS: Final = 5000
_MOST_JOBS: Final = 100
"""That are remembered, each with its events."""
_LONGEST_LINE: Final = 1 << 20
_STOP_SECONDS: Final = 30.0


class BusyError(BenchcoreError):
    """A run goes on already."""


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options of a command that can be asked for, by their names without `--`."""
    return {
        _name(option): option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in NOT_ASKED and not option.hidden
    }


def _name(option: click.Option) -> str:
    longest: str = max(option.opts, key=len)
    return longest.removeprefix("--")


def arguments(command: click.Command, asked: Mapping[str, Any]) -> list[str]:
    """Return what is asked as arguments of a command line, each checked as it would be there.

    Args:
        command: which.
        asked: by option: a text or a number, true or false of a flag, or a list where an option
            may be given several times, or takes a list.

    Raises:
        ConfigError: an option is not known, or cannot have this value.
    """
    known = options_of(command)
    args: list[str] = []
    for name, value in asked.items():
        option = known.get(name)
        if option is None:
            raise ConfigError(f"options.{name}: is not known; {nearest(name, known)}")
        args += _argument(name, option, value)
    try:
        # Parsed and thrown away: what is wrong is told before a process is started.
        with command.make_context(command.name, list(args)):
            pass
    except click.UsageError as error:
        raise ConfigError(error.format_message()) from None
    return args


def _argument(name: str, option: click.Option, value: object) -> list[str]:
    if value is None:
        return []
    if option.is_flag:
        if not isinstance(value, bool):
            raise ConfigError(f"options.{name}: is true or false")
        if value:
            return [f"--{name}"]
        return [option.secondary_opts[0]] if option.secondary_opts else []
    values = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list, bool)) or item is None for item in values):
        raise ConfigError(f"options.{name}: is a text or a number, or a list of them")
    texts = [str(item) for item in values]
    if any("\0" in text for text in texts):
        # An argument ends there: what stands behind it would be lost without a word.
        raise ConfigError(f"options.{name}: has a character that no option can have, U+0000")
    if not option.multiple:
        texts = [",".join(texts)]
    return [f"--{name}={text}" for text in texts]


def shown(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as they may be shown: without the keys in headers and bodies."""
    return {
        name: [_shown(name, part) for part in value]
        if isinstance(value, list)
        else _shown(name, value)
        for name, value in asked.items()
    }


def _shown(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    (argument,) = masked_arguments([f"--{name}={value}"])
    return argument.removeprefix(f"--{name}=")


@dataclass
class Job:
    """A run that was asked for.

    Args:
        number: by which it is asked about.
        kind: its command.
        asked: its options, as they may be shown.
    """

    number: str
    kind: str
    asked: dict[str, Any]
    started_at: str = field(default_factory=utc_now)
    ended_at: str | None = None
    folder: Path | None = None
    exit_code: int | None = None
    error: str | None = None
    events: deque[tuple[int, str, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=_MOST_EVENTS)
    )
    told: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    stops: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.ended_at is not None

    def tell(self, kind: str, told: dict[str, Any]) -> None:
        """Keep what has happened for whoever follows."""
        self.told += 1
        self.events.append((self.told, kind, told))
        if kind == "begin" and told.get("folder"):
            self.folder = Path(told["folder"])
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        """Yield what has happened and what happens, until it is over.

        Args:
            after: the number of the last event that is known already.
        """
        while True:
            changed = self.changed
            for number, kind, told in list(self.events):
                if number > after:
                    after = number
                    yield number, kind, told
            if self.is_over and after >= self.told:
                return
            if changed is self.changed:
                await changed.wait()

    def to_json(self) -> dict[str, Any]:
        """Return how it stands."""
        state = "running" if not self.is_over else "stopped" if self.stops else "ended"
        return {
            "id": self.number,
            "command": self.kind,
            "options": self.asked,
            "state": state,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "exit_code": self.exit_code,
            "error": self.error,
            "run": None if self.folder is None else self.folder.name,
        }


class Jobs:
    """Starts runs, one at a time.

    Args:
        commands: that can be asked for, by their names.
        results: where their folders are made.
        listen: is told what each of them tells.
        over: is called when one has ended.
    """

    def __init__(
        self,
        commands: Mapping[str, click.Command],
        results: Path,
        listen: Callable[[str, dict[str, Any]], None],
        over: Callable[[], None],
    ) -> None:
        self.commands = commands
        self.results = results
        self._listen = listen
        self._over = over
        self._task: asyncio.Task[None] | None = None
        self.all: dict[str, Job] = {}

    @property
    def running(self) -> Job | None:
        """The one that goes on; `None`: none does."""
        return next((job for job in self.all.values() if not job.is_over), None)

    async def start(self, kind: str, asked: dict[str, Any], scenario: object = None) -> Job:
        """Start a run.

        Args:
            kind: its command.
            asked: its options, by their names without `--`.
            scenario: of `run`, the document of the scenario.

        Raises:
            BusyError: one goes on already.
            ConfigError: it cannot be asked so.
        """
        running = self.running
        if running is not None:
            raise BusyError(f"run {running.number} goes on: wait for its end, or stop it")
        command = self.commands.get(kind)
        if command is None:
            raise ConfigError(f"command: {kind!r} is none of {', '.join(self.commands)}")
        if (scenario is not None) != (kind == "run"):
            raise ConfigError("scenario: is the document of a run, and of nothing else")
        if kind == "run":
            if "scenario" in asked:
                raise ConfigError("options.scenario: the scenario is given as a document")
            file = self._write(scenario)
            args = arguments(command, {**asked, "scenario": str(file)})
        else:
            file = None
            args = arguments(command, asked)
        job = Job(uuid.uuid4().hex[:12], kind, shown(asked))
        self.all[job.number] = job
        while len(self.all) > _MOST_JOBS:
            del self.all[next(iter(self.all))]
        self._task = asyncio.create_task(self._run(job, args, file))
        return job

    def _write(self, scenario: object) -> Path:
        from benchcore.scenario.scenario_file import load_scenario

        if not isinstance(scenario, dict):
            raise ConfigError("scenario: is an object, as the YAML of a scenario has it")
        try:
            self.results.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(".yaml", ".scenario-", self.results)
        except OSError as error:
            raise ConfigError(f"{self.results}: cannot be written ({error.strerror})") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(scenario, option=orjson.OPT_INDENT_2))
        path = Path(name)
        try:
            load_scenario(path, "pr")
        except ConfigError as error:
            path.unlink()
            raise ConfigError(str(error).replace(str(path), "scenario")) from None
        return path

    async def _run(self, job: Job, args: list[str], file: Path | None) -> None:
        reading, writing = os.pipe()
        flags = ["--log-format", "json", f"--output={self.results}"]
        environment = {**os.environ, DESCRIPTOR: str(writing)}
        environment.pop(TOKEN, None)
        try:
            job.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchcore", job.kind, *args, *flags),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(writing,),
                env=environment,
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
            os.close(writing)
            if job.stops:
                job.process.send_signal(signal.SIGINT)
            assert job.process.stderr is not None
            await asyncio.gather(
                self._listen_to(job, await _stream(reading)),
                self._log(job, job.process.stderr),
            )
            job.exit_code = await job.process.wait()
        except OSError as error:
            job.error = f"cannot be started: {error.strerror}"
        finally:
            if job.process is None:
                os.close(reading)
                os.close(writing)
            if file is not None:
                _remove(file)
            job.ended_at = utc_now()
            job.tell("end", {"exit_code": job.exit_code, "error": job.error})
            self._over()

    async def _listen_to(self, job: Job, stream: asyncio.StreamReader) -> None:
        async for line in _lines(stream):
            try:
                told: dict[str, Any] = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # the end of a line that was too long
            kind = told.pop("event")
            job.tell(kind, told)
            self._listen(kind, told)

    async def _log(self, job: Job, stream: asyncio.StreamReader) -> None:
        prefix, where = "benchcore: ", "results are in "
        async for line in _lines(stream):
            text = line.decode(errors="replace").rstrip()
            try:
                said: dict[str, Any] = orjson.loads(text)
            except orjson.JSONDecodeError:
                # The last line of a command that fails says why.
                if text.startswith(prefix):
                    job.error = text.removeprefix(prefix)
                said = {"level": "error", "message": text}
            message = str(said.get("message", ""))
            if message.startswith(where):
                job.folder = Path(message.removeprefix(where))
            job.tell("log", said)

    def stop(self, job: Job) -> None:
        """Let a run end soon; a second time: at once."""
        if job.is_over:
            return
        job.stops += 1
        if job.process is not None and job.process.returncode is None:
            job.process.send_signal(signal.SIGINT)

    async def close(self) -> None:
        """End what goes on."""
        job = self.running
        if job is None or self._task is None:
            return
        for _ in range(2):
            self.stop(job)
            done, _ = await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
            if done:
                return
        if job.process is not None:
            job.process.kill()
        await asyncio.gather(self._task, return_exceptions=True)


def _remove(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        file.unlink()


async def _stream(descriptor: int) -> asyncio.StreamReader:
    """Return a reader of a pipe."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield lines; what is too long for the reader is left out, and what follows is read on."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line
