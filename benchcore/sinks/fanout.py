"""Fan-out: several sinks as one, of which a broken one does not stop the run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path

from benchcore.errors import ConfigError
from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.metrics.timeline import Row
from benchcore.sinks.folder import FilesError
from benchcore.sinks.protocol import LevelHead, RequestRow, Sink, SinkOptions


def installed_sinks(wanted: Collection[str] = ()) -> dict[str, Sink]:
    """Return a new sink of every kind that is installed, by the entry points' names.

    Args:
        wanted: names of optional ones; these are left out otherwise. Others may be named, too.

    Raises:
        ConfigError: a name is not known, or a sink cannot work as things are.
    """
    found = sorted(entry_points(group="benchcore.sinks"), key=lambda entry: entry.name)
    known = [entry.name for entry in found]
    for name in wanted:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"--sink {name}: is not known; {hint}")
    sinks: dict[str, Sink] = {}
    for entry in found:
        make = entry.load()
        # Whatever makes a sink will do as an entry point: it need not have heard of `optional`.
        if entry.name in wanted or not getattr(make, "optional", False):
            sinks[entry.name] = make()
    return sinks


class FanOut:
    """Passes everything to each sink; keeps what went wrong.

    Args:
        sinks: by name.
        on_problem: told of the first problem of each, and of each of its files.
    """

    def __init__(
        self, sinks: dict[str, Sink], on_problem: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._sinks = sinks
        self._on_problem = on_problem
        self.problems: dict[str, str] = {}
        """Per sink, what went wrong: of each of its files the first thing."""
        self._told: set[tuple[str, str]] = set()

    def _each(self, call: Callable[[Sink], None]) -> None:
        for name, sink in self._sinks.items():
            self._guarded(name, sink, call)

    def _guarded(self, name: str, sink: Sink, call: Callable[[Sink], None]) -> bool:
        try:
            call(sink)
        except OSError as error:
            faults = error.faults if isinstance(error, FilesError) else {}
            for file, fault in (faults or {"": error.strerror or str(error)}).items():
                if (name, file) not in self._told:
                    self._told.add((name, file))
                    self._note(name, f"{name}: {file}: {fault}" if file else f"{name}: {fault}")
            return False
        return True

    def _note(self, name: str, problem: str) -> None:
        before = self.problems.get(name)
        self.problems[name] = problem if before is None else f"{before}; {problem}"
        self._on_problem(problem)

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
        """Begin.

        Raises:
            ConfigError: a sink cannot work as things are.
        """
        # A sink that was never opened cannot be closed: it hears of nothing more.
        waiting, self._sinks = self._sinks, {}
        for name, sink in waiting.items():
            if self._guarded(name, sink, lambda one: one.open(run, folder, options)):
                self._sinks[name] = sink

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
