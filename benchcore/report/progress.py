"""Progress: what a climb tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from benchcore.client.records import Record
from benchcore.metrics.level import LevelResult
from benchcore.metrics.run import RunResult


@dataclass(frozen=True, slots=True)
class Live:
    """How a running level stands; latencies in seconds, `None`: nothing yet."""

    level: str
    stage: str
    elapsed_seconds: float
    done_share: float | None
    eta_seconds: float | None
    in_flight: int
    tokens_per_second: float | None
    ttft_p50_seconds: float | None
    ttft_p99_seconds: float | None
    ok: int
    failed: int


class Progress(Protocol):
    """Whoever wants to know."""

    def begin(self, run: RunResult, levels: int) -> None:
        """The target answers; so many levels are to come."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line has happened."""
        ...

    def failure(self, level: str, record: Record) -> None:
        """A request failed; of each kind the first few."""
        ...

    def live(self, live: Live) -> None:
        """A level runs; about twice a second."""
        ...

    def level(self, level: LevelResult) -> None:
        """A level is over."""
        ...


class Silent:
    """Tells nobody."""

    def begin(self, run: RunResult, levels: int) -> None:
        """Ignore it."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def failure(self, level: str, record: Record) -> None:
        """Ignore it."""

    def live(self, live: Live) -> None:
        """Ignore it."""

    def level(self, level: LevelResult) -> None:
        """Ignore it."""
