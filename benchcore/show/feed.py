"""Feed: what a run tells while it goes on, as values: for other processes, and for `/metrics`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

import orjson

from benchcore.base.text import printable
from benchcore.client.records import Record
from benchcore.runs.run import Level, Run
from benchcore.show.progress import Live, Progress

DESCRIPTOR: Final = "BENCHCORE_PROGRESS_FD"
"""The variable that names the descriptor to which a command writes its feed, in lines of JSON."""
_FIGURES: Final = (
    *("request_throughput", "output_token_throughput", "goodput", "failure_rate"),
    *("ttft.p50", "ttft.p99", "itl.p50", "itl.p99", "e2e.p50", "e2e.p99"),
)


class Drawn(Progress, Protocol):
    """Whoever is told, and may have drawn something."""

    def clear(self) -> None:
        """Take away what is drawn, so that something else can be written."""
        ...


class Feed:
    """Tells a listener, and whoever is told besides.

    Args:
        listen: takes the kind of what has happened, and what.
        other: is told the same.
    """

    def __init__(self, listen: Callable[[str, dict[str, Any]], None], other: Drawn) -> None:
        self._listen = listen
        self._other = other

    def clear(self) -> None:
        """Take a live line away, where the other draws one."""
        self._other.clear()

    def begin(self, run: Run, levels: int) -> None:
        """The target answers."""
        self._other.begin(run, levels)
        folder = None if run.folder is None else str(run.folder)
        told = {"run_id": run.run_id, "folder": folder, "levels": levels}
        self._listen("begin", {**told, "model": run.target.model})

    def say(self, text: str) -> None:
        """Something worth a line has happened."""
        self._other.say(text)
        self._listen("note", {"text": printable(text)})

    def failure(self, level: str, record: Record) -> None:
        """A request failed."""
        self._other.failure(level, record)
        told = {"request_id": record.request_id, "outcome": str(record.outcome)}
        self._listen("failure", {"level": level, **told, "error": printable(record.error)})

    def live(self, live: Live) -> None:
        """A level runs."""
        self._other.live(live)
        self._listen("live", asdict(live))

    def level(self, level: Level) -> None:
        """A level is over."""
        self._other.level(level)
        figures = {name: level.figure(name) for name in _FIGURES}
        told = {"level": level.name, "validity": level.verdict, "reasons": level.reasons}
        self._listen("level", {**told, **figures})


class FeedWriter:
    """Writes a feed to a descriptor; once nobody reads it any more, to nowhere.

    Args:
        descriptor: open for writing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._rest = b""
        # A reader that is slow must not hold up a load.
        os.set_blocking(descriptor, False)

    def __call__(self, kind: str, told: dict[str, Any]) -> None:
        """Write what has happened."""
        if self._descriptor is None:
            return
        if self._rest:
            self._rest = self._unwritten(self._rest)
        if self._rest:
            return  # nobody reads for now: one line fewer
        line = orjson.dumps({"event": kind, **told}, option=orjson.OPT_APPEND_NEWLINE)
        rest = self._unwritten(line)
        # A pipe may take the beginning of a long line; the next must not go on in its middle.
        self._rest = rest if len(rest) < len(line) else b""

    def _unwritten(self, data: bytes) -> bytes:
        """Write what can be written now, and return the rest."""
        if self._descriptor is None:
            return b""
        try:
            return data[os.write(self._descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError:
            self._descriptor = None
            return b""
