"""Fan-out: several sinks as one, of which a broken one does not stop the run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.metrics.timeline import Row
from benchcore.sinks.protocol import LevelHead, RequestRow, Sink, SinkOptions


def installed_sinks() -> dict[str, Sink]:
    """Return a new sink of every kind that is installed, by the entry points' names."""
    found = entry_points(group="benchcore.sinks")
    return {entry.name: entry.load()() for entry in sorted(found, key=lambda entry: entry.name)}


class FanOut:
    """Passes everything to each sink; keeps what went wrong.

    Args:
        sinks: by name.
        on_problem: told of the first problem of each.
    """

    def __init__(
        self, sinks: dict[str, Sink], on_problem: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._sinks = sinks
        self._on_problem = on_problem
        self.problems: dict[str, str] = {}
        """Per sink, the first thing that went wrong."""

    def _each(self, call: Callable[[Sink], None]) -> None:
        for name, sink in self._sinks.items():
            try:
                call(sink)
            except OSError as error:
                if name not in self.problems:
                    self.problems[name] = f"{name}: {error.strerror or error}"
                    self._on_problem(self.problems[name])

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Begin."""
        self._each(lambda sink: sink.open(run, folder, options))

    def requests(self, rows: list[RequestRow]) -> None:
        """Pass on requests that have ended."""
        self._each(lambda sink: sink.requests(rows))

    def second(self, head: LevelHead, row: Row) -> None:
        """Pass on a second that is over."""
        self._each(lambda sink: sink.second(head, row))

    def flush(self) -> None:
        """Give everything to the operating system."""
        self._each(lambda sink: sink.flush())

    def level(self, run: RunResult, level: LevelResult) -> None:
        """Pass on a level that is over."""
        self._each(lambda sink: sink.level(run, level))

    def close(self, run: RunResult) -> None:
        """End."""
        self._each(lambda sink: sink.close(run))
