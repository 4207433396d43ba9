"""Logs: what a command says on standard error, as text or as JSON lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

import orjson

from benchcore.logs import RESULT

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
