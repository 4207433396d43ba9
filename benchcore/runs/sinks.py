"""Sinks: somewhere that results go while and after a run; those of histograms and single events."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import orjson
from pydantic import PrivateAttr

from benchcore.base.clock import stamp_of
from benchcore.base.errors import ConfigError, ResultsError
from benchcore.base.files import FilesError, GrowingFile, each_file, make_folder, replace_file
from benchcore.base.plugins import Group, nearest
from benchcore.client.records import Record
from benchcore.metrics.throughput import Row
from benchcore.observe.scraper import Page
from benchcore.runs.run import Level, Run


@dataclass(frozen=True, slots=True)
class LevelHead:
    """Which level rows belong to; `start_ns` is the zero of its offsets."""

    level: str
    repeat: int
    start_ns: int


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request that has ended, and the part of the level it was scheduled in."""

    head: LevelHead
    record: Record
    stage: str
    data: bytes | None = None
    """The record as it came from another process, where it is still what that holds."""


@dataclass(slots=True)
class SinkOptions:
    """What the user wants kept besides."""

    save_events: bool = False
    save_text: bool = False
    allow_simulator: bool = False
    """Let the simulator's figures leave the run folder, such as for a dashboard."""


class Sink(Protocol):
    """Takes results as they come. Any call may raise `OSError`; the run goes on without it.

    What is wrong from the start, such as a package that is missing, is a `ConfigError` of making
    the sink or of `open`: nothing has been measured yet.

    A class with `optional = True` is used only where it is named.
    """

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Begin: the run has started and nothing is measured yet."""
        ...

    def requests(self, rows: list[RequestRow]) -> None:
        """Take requests that have ended."""
        ...

    def second(self, head: LevelHead, row: Row) -> None:
        """Take a second that is over."""
        ...

    def flush(self) -> None:
        """Give everything to the operating system; called every second."""
        ...

    def level(self, run: Run, level: Level) -> None:
        """Take a level that is over; it is the last of `run.levels`."""
        ...

    def close(self, run: Run) -> None:
        """End: the run's status is final."""
        ...


@dataclass(slots=True)
class QuietSink:
    """A sink that ignores everything; the base of those that care for some of it."""

    optional: ClassVar[bool] = False
    """Whether it is left out unless somebody names it."""

    folder: Path = field(default_factory=Path)
    options: SinkOptions = field(default_factory=SinkOptions)

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:  # noqa: ARG002
        """Remember where to write."""
        self.folder = folder
        self.options = options

    def requests(self, rows: list[RequestRow]) -> None:
        """Ignore them."""

    def second(self, head: LevelHead, row: Row) -> None:
        """Ignore it."""

    def server_metrics(self, page: Page, unix_seconds: float) -> None:
        """Ignore what is new on a page of metrics."""

    def flush(self) -> None:
        """Hold nothing back."""

    def level(self, run: Run, level: Level) -> None:
        """Ignore it."""

    def close(self, run: Run) -> None:
        """Leave nothing open."""


SINKS: Final = Group("benchcore.sinks", "sink")


def installed_sinks(wanted: Collection[str] = ()) -> dict[str, Sink]:
    """Return a new sink of every kind that is installed, by the entry points' names.

    Args:
        wanted: names of optional ones; these are left out otherwise. Others may be named, too.

    Raises:
        ConfigError: a name is not known, or a sink cannot work as things are.
    """
    known = SINKS.points()
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--sink {name}: is not known; {nearest(name, known)}")
    sinks: dict[str, Sink] = {}
    for name, point in known.items():
        make = SINKS.loaded(point)
        # Whatever makes a sink will do as an entry point: it need not have heard of `optional`.
        if name in wanted or not getattr(make, "optional", False):
            sinks[name] = make()
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

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
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

    def server_metrics(self, page: Page, unix_seconds: float) -> None:
        """Pass on what is new on a page of metrics, to the sinks that may care for it."""

        def pass_on(sink: Sink) -> None:
            if isinstance(sink, QuietSink):
                sink.server_metrics(page, unix_seconds)

        self._each(pass_on)

    def flush(self) -> None:
        """Give everything to the operating system."""
        self._each(lambda sink: sink.flush())

    def level(self, run: Run, level: Level) -> None:
        """Pass on a level that is over."""
        self._each(lambda sink: sink.level(run, level))

    def close(self, run: Run) -> None:
        """End."""
        self._each(lambda sink: sink.close(run))


class ClimbRun(Run):
    """A climb, with what it takes to write it down."""

    _options: SinkOptions = PrivateAttr(default_factory=SinkOptions)

    @property
    def options(self) -> SinkOptions:
        """What the user wants kept besides."""
        return self._options

    @options.setter
    def options(self, options: SinkOptions) -> None:
        self._options = options

    def save(self, results: str | Path, name: str = "climb") -> Path:
        """Write the run folder after the fact and return it.

        Of the unmeasured requests no rows are kept in memory, so `requests.csv` has only the
        measured ones.

        Raises:
            ConfigError: the folder cannot be written.
            ResultsError: a file in it cannot.
        """
        assert self.started_at is not None
        folder = make_folder(Path(results), stamp_of(self.started_at), name)
        sinks = FanOut(installed_sinks())
        sinks.open(self, folder, self.options)
        for level in self.levels:
            head = LevelHead(level.level, level.repeat, level.start_ns)
            sinks.requests([RequestRow(head, record, "window") for record in level.records])
            for row in level.rows:
                sinks.second(head, row)
        sinks.close(self)
        raise_problems(sinks, folder)
        self.folder = folder
        return folder


def raise_problems(sinks: FanOut, folder: Path) -> None:
    """Raise what the sinks could not write.

    Raises:
        ResultsError: with every problem.
    """
    if sinks.problems:
        what = "; ".join(dict.fromkeys(sinks.problems.values()))
        raise ResultsError(
            f"{folder} is not complete ({what}); what was measured is printed; free some room or "
            "name another folder with --output"
        )


# Every arrival and every text of a run, and its histograms.


class EventsSink(QuietSink):
    """Writes a line per request: its arrivals in ns of CLOCK_MONOTONIC, and its text."""

    _events: GrowingFile | None = None
    _texts: GrowingFile | None = None

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Begin the files that were asked for."""
        super().open(run, folder, options)
        if options.save_events:
            self._events = GrowingFile(folder / "events.jsonl")
        if options.save_text:
            self._texts = GrowingFile(folder / "texts.jsonl")

    def requests(self, rows: list[RequestRow]) -> None:
        """Keep their lines for the next flush."""
        for row in rows:
            record = row.record
            head: dict[str, Any] = {
                "level": row.head.level,
                "repeat": row.head.repeat,
                "stage": row.stage,
                "index": record.index,
                "request_id": record.request_id,
                "outcome": record.outcome,
            }
            if self._events is not None:
                line = head | {
                    "scheduled_ns": record.scheduled_ns,
                    "sent_ns": record.sent_ns,
                    "stamps_ns": list(record.stamps),
                    "events": None if record.events is None else list(record.events),
                    "tokens": None if record.tokens is None else list(record.tokens),
                    "choices": None if record.lanes is None else list(record.lanes),
                }
                self._events.write(orjson.dumps(line) + b"\n")
            if self._texts is not None:
                line = head | {"text": record.text}
                self._texts.write(orjson.dumps(line) + b"\n")

    def flush(self) -> None:
        """Write whole lines."""
        each_file({file.path.name: file.flush for file in self._files()})

    def close(self, run: Run) -> None:  # noqa: ARG002
        """Finish the files."""
        each_file({file.path.name: file.close for file in self._files()})

    def _files(self) -> list[GrowingFile]:
        return [file for file in (self._events, self._texts) if file is not None]


def tag(level: Level, metric: str) -> str:
    """Return `level/metric`, with the repeat behind the level where it is not the first."""
    name = level.level if level.repeat == 1 else f"{level.level}.{level.repeat}"
    return f"{name}/{metric}"


def histogram_log(run: Run) -> bytes:
    """Return the log, version 1.2: values in ns, its interval maximum in ms.

    The library's writer knows no tags and rounds the maximum down to a whole millisecond.
    """
    lines = [
        f"#[benchcore run {run.run_id}; values in nanoseconds]",
        f"#[target: {run.target.kind}]",
        "#[Histogram log format version 1.2]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    elapsed = 0.0
    for level in run.levels:
        for metric, summary in level.metrics.items():
            if summary.histogram is None:  # no request has it
                continue
            hdr = summary.histogram.hdr
            lines.append(
                f"Tag={tag(level, metric)},{elapsed:.3f},{level.window_seconds or 0.0:.3f},"
                f"{hdr.get_max_value() / 1e6:.3f},{hdr.encode().decode()}"
            )
        elapsed += level.seconds
    return "\n".join(lines).encode() + b"\n"


class HistogramLogSink(QuietSink):
    """Writes `histograms.hlog` after each level."""

    def open(self, run: Run, folder: Path, options: SinkOptions) -> None:
        """Write it empty."""
        super().open(run, folder, options)
        self._write(run)

    def level(self, run: Run, level: Level) -> None:  # noqa: ARG002
        """Write it with one more level."""
        self._write(run)

    def _write(self, run: Run) -> None:
        replace_file(self.folder / "histograms.hlog", histogram_log(run))
