"""Terminal: what a command writes to stdout and stderr, which never ends it."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, TextIO, TypeVar

import click
import orjson

from benchcore.base.logs import RESULT
from benchcore.base.secrets import unhidden

QUIET: Final = "result"
"""The level of `--quiet`: warnings, errors, and where the results are."""
logging.addLevelName(RESULT, QUIET.upper())


class _Lines(logging.Handler):
    def __init__(self, stream: TextIO, *, as_json: bool, before: Callable[[], None]) -> None:
        super().__init__()
        self._stream = stream
        self._json = as_json
        self._before = before

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if self._json:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            line = orjson.dumps(
                {
                    "time": f"{stamp}.{int(record.msecs):03d}Z",
                    "level": record.levelname.lower(),
                    "message": text,
                }
            ).decode()
        elif record.levelno >= logging.WARNING:
            line = f"{record.levelname.lower()}: {text}"
        else:
            line = text
        # Whoever listened, or the terminal, may be gone: no reason to lose what is measured.
        with suppress(OSError):
            self._before()
            self._stream.write(f"{line}\n")
            self._stream.flush()


def set_up(
    stream: TextIO,
    level: str,
    *,
    as_json: bool,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Send the messages of benchcore to a stream.

    Args:
        stream: standard error.
        level: `debug`, `info`, `result`, `warning` or `error`.
        as_json: a JSON object per line.
        before: called before each line, to take a live line away.
    """
    logger = logging.getLogger("benchcore")
    logger.handlers[:] = [_Lines(stream, as_json=as_json, before=before)]
    logger.setLevel(level.upper())
    logger.propagate = False


F = TypeVar("F", bound=Callable[..., Any])


class Output(io.TextIOBase):
    """A stream that can be full, closed, or of few characters without ending the command.

    What its encoding lacks is replaced, what is hidden is masked, and the first failure to write is
    kept; what is written after that goes nowhere.

    Args:
        stream: to write to; `None`: the process was started with a closed one.
    """

    encoding = "utf-8"  # whatever is written is taken

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream
        self.failure: OSError | None = None

    @property
    def buffer(self) -> Any:
        """The bytes below, for a file that is written to stdout."""
        return io.BytesIO() if self._stream is None else self._stream.buffer

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def draws(self, characters: str) -> bool:
        """Whether somebody looks at it on a terminal that moves its cursor and has these."""
        if not self.isatty() or os.environ.get("TERM") == "dumb":
            return False
        try:
            characters.encode(getattr(self._stream, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def fileno(self) -> int:
        """Return the descriptor.

        Raises:
            OSError: there is none.
        """
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write text, as far as that can be done."""
        if self._stream is not None and self.failure is None:
            encoding = getattr(self._stream, "encoding", None) or "utf-8"
            shown = unhidden(text).encode(encoding, "replace").decode(encoding)
            self._try(lambda stream: stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Give everything to the operating system."""
        self._try(lambda stream: stream.flush())

    def _try(self, call: Callable[[TextIO], Any]) -> None:
        if self._stream is None or self.failure is not None:
            return
        try:
            call(self._stream)
        except OSError as error:
            self.failure = error
            # What is left in its buffer would fail once more when the interpreter ends.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
        except ValueError as error:  # closed by whoever calls us
            self.failure = OSError(errno.EBADF, str(error))


def hold_standard_streams() -> None:
    """Let no socket have the number of a stream that was closed before the process was started.

    What is written to standard error would go into it, and libuv aborts where it is to close it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


@contextmanager
def guarded() -> Iterator[Output]:
    """Put guarded streams in the place of stdout and stderr; yields that of stdout."""
    before = sys.stdout, sys.stderr
    out = Output(sys.stdout)
    sys.stdout, sys.stderr = out, Output(sys.stderr)
    try:
        yield out
        out.flush()
    finally:
        sys.stdout, sys.stderr = before


def draws(stream: TextIO | Output, characters: str = "") -> bool:
    """Return whether something can be drawn on a stream that is written over again.

    Args:
        stream: stdout or stderr.
        characters: of the drawing.
    """
    return (stream if isinstance(stream, Output) else Output(stream)).draws(characters)


def json_option(what: str = "JSON instead of text") -> Callable[[F], F]:
    """Return the option `--json`.

    Args:
        what: it prints.
    """
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


class InterruptedBeforeError(KeyboardInterrupt):
    """Ctrl-C before a command handles signals itself.

    Python counts a plain KeyboardInterrupt that passes through `exec` of a text as unhandled,
    though it is handled further out, and kills itself by SIGINT where it should exit with its code;
    making a dataclass is such an `exec`, and imports do it all the time.
    """


def interrupt_before(_number: int, _frame: object) -> NoReturn:
    """Handle SIGINT until a command handles it itself."""
    raise InterruptedBeforeError


def show_json(value: Any) -> None:
    """Write an object of JSON to stdout."""
    from benchcore.runs.run_json import dump

    sys.stdout.write(dump(value).decode())
    sys.stdout.flush()


def show(result: Any, render: Callable[..., str], *, as_json: bool) -> None:
    """Write a report to stdout: as JSON, or as text with colours where a terminal shows them.

    Args:
        result: has `to_json`.
        render: takes it and `color`.
        as_json: write JSON.
    """
    if as_json:
        show_json(result.to_json())
        return
    sys.stdout.write(render(result, color=colored()))
    sys.stdout.flush()


def colored() -> bool:
    """Return whether stdout shows colours, and nobody has asked it not to."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")
