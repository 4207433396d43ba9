"""Sink: somewhere that results go while and after a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from benchcore.client.records import Record
from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult
from benchcore.metrics.timeline import Row


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

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:
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

    def level(self, run: RunResult, level: LevelResult) -> None:
        """Take a level that is over; it is the last of `run.levels`."""
        ...

    def close(self, run: RunResult) -> None:
        """End: the run's status is final."""
        ...


@dataclass(slots=True)
class QuietSink:
    """A sink that ignores everything; the base of those that care for some of it."""

    optional: ClassVar[bool] = False
    """Whether it is left out unless somebody names it."""

    folder: Path = field(default_factory=Path)
    options: SinkOptions = field(default_factory=SinkOptions)

    def open(self, run: RunResult, folder: Path, options: SinkOptions) -> None:  # noqa: ARG002
        """Remember where to write."""
        self.folder = folder
        self.options = options

    def requests(self, rows: list[RequestRow]) -> None:
        """Ignore them."""

    def second(self, head: LevelHead, row: Row) -> None:
        """Ignore it."""

    def flush(self) -> None:
        """Hold nothing back."""

    def level(self, run: RunResult, level: LevelResult) -> None:
        """Ignore it."""

    def close(self, run: RunResult) -> None:
        """Leave nothing open."""
